//! From the bytes of a photo to the pixels that the network sees, bit for bit as Pillow does it.
//!
//! MobileNetV2 amplifies pixels: one level of difference on half the pixels moves its features to a cosine of 0.955. So this
//! module gives exactly what `Image.open(file).convert("RGB").resize((224, 224))` gives in Pillow 13: libjpeg-turbo's decoder,
//! Pillow's conversions to RGB, and its 8-bit bicubic filter. Like Pillow, it does not turn photos by their EXIF orientation.

mod decode;
mod resize;

pub use decode::{Limits, decode};
pub use image::RgbImage;
pub use resize::resize;

use crate::error::Result;
use decode::Decoder;
use resize::Resizer;

/// Width and height of the network's input, in pixels.
pub const SIDE: u32 = 224;

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
    Preprocessor::new(SIDE, *limits).run(bytes, RgbImage::default())
}

/// Turns one photo after the other into what a network takes, and keeps what it needs for that: decoder, weights and memory.
pub(crate) struct Preprocessor {
    limits: Limits,
    decoder: Decoder,
    resizer: Resizer,
}

impl Preprocessor {
    /// For a network that takes `side` x `side` pixels.
    pub fn new(side: u32, limits: Limits) -> Self {
        Preprocessor {
            limits,
            decoder: Decoder::default(),
            resizer: Resizer::new(side, side),
        }
    }

    /// The pixels of a photo, in the memory of another.
    pub fn run(&mut self, bytes: &[u8], memory: RgbImage) -> Result<RgbImage> {
        let photo = self.decoder.decode(bytes, &self.limits)?;
        let pixels = self.resizer.resize(&photo, memory);
        self.decoder.recycle(photo);
        Ok(pixels)
    }
}
