//! From the bytes of a photo to the pixels that the network sees, bit for bit as Pillow does it.
//!
//! MobileNetV2 amplifies pixels: one level of difference on half the pixels moves its features to a cosine of 0.955. So this
//! module gives exactly what `Image.open(file).convert("RGB").resize((224, 224))` gives in Pillow 13: the pixels of each format, Pillow's
//! conversions to RGB, and its 8-bit bicubic filter. Like Pillow, it does not turn photos by their EXIF orientation, unless it is
//! [asked to](Decoding).
//!
//! JPEG and PNG come row by row, and each row gets its new width as it comes, so that a photo of 12 megapixels takes 2 MB.

mod along_rows;
mod bmp;
mod decode;
mod gif;
mod jpeg;
mod limits;
mod orientation;
mod png;
mod resize;
mod rows;
mod tiff;
mod views;
mod webp;
mod weights;

pub use decode::decode;
pub use image::RgbImage;
pub use limits::Limits;
pub use resize::resize;
pub use views::Views;
pub(crate) use webp::encode as to_webp;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use decode::decode_rows;
use orientation::{orientation, upright};
use resize::{Resizer, Target};
use rows::{Whole, give};

/// Width and height of the network's input, in pixels.
pub const SIDE: u32 = 224;

/// How photos are decoded where there is a choice. The default is Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Decoding {
    /// Turned as a person sees them, by their EXIF orientation: as Pillow's `ImageOps.exif_transpose` does.
    pub upright: bool,
    /// A large JPEG is decoded to a half, a quarter or an eighth of its size, but to no less than twice what the network takes: as Pillow's
    /// `draft("RGB", (448, 448))`. Faster, and not quite the same features.
    pub draft: bool,
}

impl fmt::Display for Decoding {
    /// What is not Pillow's default, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.upright, self.draft) {
            (false, false) => "as they lie",
            (true, false) => "upright",
            (false, true) => "drafts",
            (true, true) => "upright drafts",
        })
    }
}

/// How the names of photos end: as Pillow registers the formats that can be decoded, and the formats of phones, which are refused with a
/// sentence that says what converts them.
pub(crate) const EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "heic", "heif", "avif",
    "avifs",
];

/// The pixels of a photo as MobileNetV2 takes them: decoded, RGB, resized to 224x224.
///
/// ```
/// use fruits_core::pixels::{Limits, network_input};
///
/// let photo = std::fs::read("../data-sample/Lemon/view-00.jpg")?;
/// let pixels = network_input(&photo, &Limits::default())?;
/// assert_eq!(pixels.dimensions(), (224, 224));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`decode`].
pub fn network_input(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    network_input_with(bytes, Decoding::default(), limits)
}

/// As [`network_input`], decoded otherwise.
///
/// # Errors
/// As [`decode`].
pub fn network_input_with(bytes: &[u8], decoding: Decoding, limits: &Limits) -> Result<RgbImage> {
    Preprocessor::new(SIDE, decoding, *limits).run(bytes, RgbImage::default())
}

/// The photo scaled to fit into `side` x `side` pixels.
pub(crate) fn thumbnail(bytes: &[u8], limits: Limits, side: u32) -> Result<RgbImage> {
    let mut preprocessor = Preprocessor {
        decoding: Decoding {
            draft: true,
            ..Decoding::default()
        },
        limits,
        side,
        resizer: Resizer::new(Target::Within(side)),
    };
    preprocessor.run(bytes, RgbImage::default())
}

/// Turns one photo after the other into what a network takes, and keeps what it needs for that: weights and memory.
pub(crate) struct Preprocessor {
    decoding: Decoding,
    limits: Limits,
    side: u32,
    resizer: Resizer,
}

impl Preprocessor {
    /// For a network that takes `side` x `side` pixels.
    pub fn new(side: u32, decoding: Decoding, limits: Limits) -> Self {
        Preprocessor {
            decoding,
            limits,
            side,
            resizer: Resizer::new(Target::Exactly(side, side)),
        }
    }

    /// The pixels of a photo, in the memory of another.
    pub fn run(&mut self, bytes: &[u8], memory: RgbImage) -> Result<RgbImage> {
        // Twice the side: fewer pixels than that would show in the result.
        let draft = self.decoding.draft.then_some(2 * self.side);
        let orientation = if self.decoding.upright { orientation(bytes) } else { 1 };
        if orientation == 1 {
            decode_rows(bytes, draft, &self.limits, &mut self.resizer)?;
        } else {
            let mut photo = Whole::default();
            decode_rows(bytes, draft, &self.limits, &mut photo)?;
            give(&upright(photo.image()?, orientation), &mut self.resizer);
        }
        Ok(self.resizer.finish(memory))
    }
}
