//! A photo of any format to RGB.

use super::limits::{Limits, invalid, unsupported};
use super::rows::{Rows, Whole, give};
use super::{RgbImage, bmp, gif, jpeg, png, tiff, webp};
use crate::error::{Error, Result};

/// The photo in `bytes` as RGB pixels, in the size it has. The content decides the format, not a name.
///
/// JPEG, PNG, WebP, GIF, BMP and TIFF can be read; of several pictures in a file, the first counts. As Pillow's `convert("RGB")`: grey is
/// repeated in each channel, palettes are looked up, alpha is dropped, CMYK of a JPEG is taken as Adobe writes it (inverted), 16-bit colour keeps its
/// high byte and 16-bit grey is clipped at 255.
///
/// # Errors
/// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) beyond the limits, [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if it is
/// of none of these formats, [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is damaged or cut off. Damage that Pillow steps over is accepted.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    let mut whole = Whole::default();
    decode_rows(bytes, None, limits, &mut whole)?;
    whole.image()
}

/// As [`decode`], row by row. As a draft, a JPEG may be smaller than it is, but no side smaller than `draft`.
pub(super) fn decode_rows(bytes: &[u8], draft: Option<u32>, limits: &Limits, rows: &mut impl Rows) -> Result<()> {
    limits.check_bytes(bytes)?;
    let photo = match Format::of(bytes) {
        Some(Format::Jpeg) => return jpeg::decode(bytes, draft, limits, rows),
        Some(Format::Png) => return png::decode(bytes, limits, rows),
        Some(Format::WebP) => webp::decode(bytes, limits)?,
        Some(Format::Gif) => gif::decode(bytes, limits)?,
        Some(Format::Bmp) => bmp::decode(bytes, limits)?,
        Some(Format::Tiff) => tiff::decode(bytes, limits)?,
        None => return Err(no_photo(bytes)),
    };
    give(&photo, rows);
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Format {
    /// By its first bytes, as Pillow's plugins tell (`_accept`).
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            _ if bmp::is_bmp(bytes) || bmp::is_dib(bytes) => Some(Format::Bmp),
            _ if gif::is_gif(bytes) => Some(Format::Gif),
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
            [b'I', b'I', 42 | 43, 0, ..] | [b'I', b'I', 0, 42, ..] => Some(Format::Tiff),
            [b'M', b'M', 0, 42 | 43, ..] | [b'M', b'M', 42, 0, ..] => Some(Format::Tiff),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::WebP),
            _ => None,
        }
    }
}

/// What is said of other content.
fn no_photo(bytes: &[u8]) -> Error {
    if bytes.is_empty() {
        return invalid("the file is empty");
    }
    // A box of ISO base media files, with the brand behind it.
    let phone = match bytes.get(4..12).and_then(<[u8]>::split_first_chunk) {
        Some((b"ftyp", b"avif" | b"avis")) => Some("AVIF"),
        Some((b"ftyp", b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1")) => Some("HEIC"),
        _ => None,
    };
    unsupported(match phone {
        Some(name) => format!(
            "the content is {name}, which cannot be read; `magick photo.{} photo.jpg` converts it, or heif-convert (libheif), and phones can be told to take JPEG",
            name.to_lowercase()
        ),
        None => format!(
            "no JPEG, PNG, WebP, GIF, BMP or TIFF; the file begins with \"{}\"",
            bytes[..bytes.len().min(12)].escape_ascii()
        ),
    })
}
