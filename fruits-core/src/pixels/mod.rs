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

/// Width and height of the network's input, in pixels.
pub const SIDE: u32 = 224;

/// The pixels of a photo as the network takes them: decoded, RGB, resized to 224x224.
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
    Ok(resize(&decode(bytes, limits)?, SIDE, SIDE))
}
