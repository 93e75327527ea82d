//! What a photo may cost, and how one is refused.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, Step};

/// How large a photo may be. Both are checked before memory is allocated for its pixels.
///
/// While it is decoded and resized, a photo within these limits costs at most 12 bytes for each of its pixels, 100 for each pixel of its longest
/// side, which has 1,048,576 pixels at most, and twice its file. That is what progressive JPEG, lossless WebP and very high photos cost; JPEG and PNG
/// that come from top to bottom cost as good as nothing, the others 3 to 7 bytes a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The file, in bytes. Default: 64 MiB.
    pub bytes: u64,
    /// Width times height. Default: 178,956,970, above which Pillow refuses a photo as a decompression bomb.
    pub pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 64 << 20,
            pixels: 178_956_970,
        }
    }
}

/// The longest side of a photo: the weights of a resize grow with it.
const MAX_SIDE: u64 = 1 << 20;

impl Limits {
    pub(super) fn check_bytes(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 <= self.bytes {
            return Ok(());
        }
        Err(too_large(format!("{} bytes, the limit is {}", bytes.len(), self.bytes)))
    }

    /// The size that a header says, if memory may be allocated for it.
    pub(super) fn check(&self, width: u64, height: u64) -> Result<(u32, u32)> {
        match (width, height) {
            (0, _) | (_, 0) => Err(invalid(format!("{width}x{height} pixels"))),
            _ if width.max(height) > MAX_SIDE => Err(too_large(format!(
                "{width}x{height} pixels, the limit is {MAX_SIDE} for a side"
            ))),
            _ if width * height > self.pixels => Err(too_large(format!(
                "{width}x{height} pixels, the limit is {} in all",
                self.pixels
            ))),
            _ => Ok((width as u32, height as u32)),
        }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Step::Decode, "", message)
}

pub(super) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, Step::Decode, "", message)
}

pub(super) fn too_large(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::TooLarge, Step::Decode, "", message)
}

/// What Pillow calls "image file is truncated".
pub(super) fn truncated() -> Error {
    invalid("the file is cut off")
}

pub(super) fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::from_source(Step::Decode, "", error)
}
