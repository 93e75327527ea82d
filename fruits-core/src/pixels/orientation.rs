//! The orientation that a camera has written into its photo, and turning the photo accordingly, as Pillow's `ImageOps.exif_transpose`.
//!
//! Tag 274 of EXIF decides, 1 to 8; where it is missing, `tiff:Orientation` of XMP. (`getexif` in Pillow's `Image.py`.) Pillow's plugins say where both
//! lie: in segments of JPEG, in chunks of PNG and WebP. TIFF is turned whenever it is read.

use image::DynamicImage;
use image::metadata::Orientation;

use super::RgbImage;

const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const TAG: u16 = 274;
/// Types of EXIF, section 4.6.2.
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// What is said of it; 1, as it lies, if nothing is.
pub(super) fn orientation(bytes: &[u8]) -> u8 {
    let mut metadata = Metadata::default();
    if bytes.starts_with(b"\xff\xd8") {
        metadata.add_jpeg(bytes);
    } else if bytes.starts_with(b"\x89PNG") {
        metadata.add_png(bytes);
    } else if bytes.starts_with(b"RIFF") {
        metadata.add_webp(bytes);
    }
    let said = of_exif(&metadata.exif).or_else(|| of_xmp(metadata.xmp));
    said.unwrap_or(1)
}

/// A photo as it is seen by a person.
pub(super) fn upright(photo: RgbImage, orientation: u8) -> RgbImage {
    let mut photo = DynamicImage::ImageRgb8(photo);
    photo.apply_orientation(Orientation::from_exif(orientation).unwrap_or(Orientation::NoTransforms));
    photo.into_rgb8()
}

#[derive(Default)]
struct Metadata<'a> {
    exif: Vec<u8>,
    xmp: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// Segments before the first scan: 0xFF, a marker, a length of two bytes that counts itself, and so many less two.
    fn add_jpeg(&mut self, bytes: &'a [u8]) {
        let mut rest = &bytes[2..];
        while let Some(start) = rest.iter().position(|&byte| byte == 0xff) {
            let Some((head, behind)) = rest[start..].split_first_chunk::<4>() else {
                return;
            };
            let [_, marker, length @ ..] = *head;
            if matches!(marker, 0 | 0xff) {
                rest = &rest[start + 1..];
                continue;
            }
            let length = usize::from(u16::from_be_bytes(length)).saturating_sub(2);
            let Some((content, behind)) = behind.split_at_checked(length) else {
                return;
            };
            match marker {
                0xda => return,
                0xe1 if content.starts_with(EXIF) && self.exif.is_empty() => self.exif.extend(content),
                0xe1 if content.starts_with(EXIF) => self.exif.extend(&content[EXIF.len()..]),
                0xe1 if content.starts_with(XMP) => self.xmp = &content[XMP.len()..],
                _ => {}
            }
            rest = behind;
        }
    }

    /// Chunks: a length, a name, the content, a checksum, of four bytes each but the content.
    fn add_png(&mut self, bytes: &'a [u8]) {
        let mut rest = bytes.get(8..).unwrap_or_default();
        while let Some(([a, b, c, d, name @ ..], behind)) = rest.split_first_chunk::<8>() {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let Some((content, behind)) = behind.split_at_checked(length) else {
                return;
            };
            match name {
                b"eXIf" => self.exif = content.to_vec(),
                b"iTXt" if content.starts_with(b"XML:com.adobe.xmp\0") => self.xmp = content,
                _ => {}
            }
            rest = behind.get(4..).unwrap_or_default();
        }
    }

    /// Chunks of RIFF: a name, a length, the content, and a byte if that has an odd length.
    fn add_webp(&mut self, bytes: &'a [u8]) {
        let mut rest = bytes.get(12..).unwrap_or_default();
        while let Some(([name @ .., a, b, c, d], behind)) = rest.split_first_chunk::<8>() {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            let Some((content, behind)) = behind.split_at_checked(length) else {
                return;
            };
            match name {
                b"EXIF" => self.exif = content.to_vec(),
                b"XMP " => self.xmp = content,
                _ => {}
            }
            rest = behind.get(length % 2..).unwrap_or_default();
        }
    }
}

/// Of the first directory: the byte order, where it lies, and entries of tag, type, count and value.
fn of_exif(exif: &[u8]) -> Option<u8> {
    let tiff = (0..2).fold(exif, |exif, _| exif.strip_prefix(EXIF).unwrap_or(exif));
    let is_big = match tiff.get(..2)? {
        b"MM" => true,
        b"II" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk()?;
        Some(if is_big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    };
    let long = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk()?;
        Some(if is_big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    };
    let directory = long(4)? as usize;
    let entries = (0..usize::from(short(directory)?)).map(|entry| directory + 2 + 12 * entry);
    let entry = entries
        .take_while(|&at| short(at).is_some())
        .filter(|&at| short(at) == Some(TAG))
        .last()?;
    let value = match short(entry + 2)? {
        SHORT => short(entry + 8)?.into(),
        LONG => long(entry + 8)?,
        _ => return None,
    };
    value.try_into().ok()
}

/// `tiff:Orientation="6"`, or an element of this name.
pub(super) fn of_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let values = xmp
        .windows(NAME.len())
        .enumerate()
        .filter(|(_, window)| *window == NAME);
    let mut values = values.filter_map(|(at, _)| match &xmp[at + NAME.len()..] {
        [b'=', b'"', digit, ..] | [b'>', digit, ..] if digit.is_ascii_digit() => Some(digit - b'0'),
        _ => None,
    });
    values.next()
}
