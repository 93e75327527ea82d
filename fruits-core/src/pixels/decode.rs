//! JPEG and PNG to RGB.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, RgbImage};
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

use crate::error::{Error, ErrorKind, Result, Step};

/// Scans of a progressive JPEG; cameras and encoders write about ten, only an attack needs hundreds.
const MAX_JPEG_SCANS: u32 = 500;

/// Bytes that a decoder keeps between photos: those of 20 million pixels.
const MAX_SPARE: usize = 60_000_000;

/// Where a PNG's header says how many bits a channel has, and which channels: (16, 0) is 16-bit grey.
const PNG_DEPTH_AND_COLOUR: std::ops::Range<usize> = 24..26;

/// How large a photo may be. Both are checked before the memory is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The file, in bytes. Default: 64 MiB.
    pub bytes: u64,
    /// Width times height. Default: 89,478,485, above which Pillow warns of a decompression bomb.
    pub pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 64 << 20,
            pixels: 89_478_485,
        }
    }
}

/// The photo in `bytes` as RGB pixels, in the size it has. The content decides the format, not a name.
///
/// As Pillow's `convert("RGB")`: grey is repeated in each channel, palettes are looked up, alpha is dropped, CMYK is taken as
/// Adobe writes it (inverted), 16-bit colour keeps its high byte and 16-bit grey is clipped at 255.
///
/// # Errors
/// [`ErrorKind::TooLarge`] beyond the limits, [`ErrorKind::Unsupported`] if it is neither JPEG nor PNG, [`ErrorKind::Invalid`]
/// if it is damaged or cut off. Damage that libjpeg can step over (stray bytes before a marker) is accepted, as Pillow does.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    Decoder::default().decode(bytes, limits)
}

/// Decodes one photo after the other.
#[derive(Default)]
pub(super) struct Decoder {
    jpeg: Option<Decompressor>,
    /// Memory for the next photo.
    spare: Vec<u8>,
}

impl Decoder {
    /// Takes back the memory of a photo, unless it was a huge one.
    pub fn recycle(&mut self, photo: RgbImage) {
        self.spare = photo.into_raw();
        if self.spare.capacity() > MAX_SPARE {
            self.spare = Vec::new();
        }
    }

    /// As [`decode`].
    pub fn decode(&mut self, bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
        if bytes.len() as u64 > limits.bytes {
            let message = format!("{} bytes, the limit is {}", bytes.len(), limits.bytes);
            return Err(Error::new(ErrorKind::TooLarge, Step::Decode, "", message));
        }
        match image::guess_format(bytes) {
            _ if bytes.is_empty() => Err(invalid("the file is empty")),
            Ok(ImageFormat::Jpeg) => self.jpeg(bytes, limits),
            Ok(ImageFormat::Png) => png(bytes, limits),
            Ok(other) => {
                let name = other.extensions_str().first().unwrap_or(&"unknown").to_uppercase();
                Err(unsupported(format!("the content is {name}; JPEG and PNG can be read")))
            }
            Err(_) => Err(unsupported(format!(
                "not an image; the file begins with \"{}\"",
                bytes[..bytes.len().min(12)].escape_ascii()
            ))),
        }
    }

    fn jpeg(&mut self, bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
        // After an error it is not used again.
        let mut decoder = match self.jpeg.take() {
            Some(decoder) => decoder,
            None => jpeg_decoder()?,
        };
        let mut pixels = std::mem::take(&mut self.spare);
        let header = decoder.read_header(bytes).map_err(jpeg_error)?;
        let (width, height) = checked_size(header.width as u64, header.height as u64, limits)?;
        let is_cmyk = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
        let format = if is_cmyk { PixelFormat::CMYK } else { PixelFormat::RGB };
        let pitch = width as usize * format.size();
        pixels.resize(pitch * height as usize, 0);
        let target = Image {
            pixels: pixels.as_mut_slice(),
            width: width as usize,
            pitch,
            height: height as usize,
            format,
        };
        match decoder.decompress(bytes, target) {
            Err(error) if !is_harmless(&error) => return Err(jpeg_error(error)),
            _ => self.jpeg = Some(decoder),
        }
        if is_cmyk {
            pixels = pixels
                .chunks_exact(4)
                .flat_map(|ink| inverted_cmyk_to_rgb([ink[0], ink[1], ink[2], ink[3]]))
                .collect();
        }
        rgb_image(width, height, pixels)
    }
}

fn jpeg_decoder() -> Result<Decompressor> {
    let mut decoder = Decompressor::new().map_err(damaged)?;
    decoder.set_scan_limit(MAX_JPEG_SCANS).map_err(damaged)?;
    Ok(decoder)
}

/// A file of tables without an image passes for a header: a fresh decoder then has no size, and a used one still has that of the image
/// before. Both are said alike, so that failures do not depend on what came before.
fn jpeg_error(error: turbojpeg::Error) -> Error {
    match &error {
        turbojpeg::Error::IntegerOverflow(_) => invalid("there is no image in it"),
        turbojpeg::Error::TurboJpegError(message) if message.contains("contains no image") => {
            invalid("there is no image in it")
        }
        _ => damaged(error),
    }
}

/// libjpeg's warning about bytes between segments, which some cameras write. The picture is whole.
fn is_harmless(error: &turbojpeg::Error) -> bool {
    matches!(error, turbojpeg::Error::TurboJpegError(message) if message.contains("extraneous bytes before marker"))
}

/// `cmyk2rgb` of Pillow's `Convert.c`, behind the inversion of its `CMYK;I` raw mode.
fn inverted_cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|ink| {
        let product = (255 - u32::from(ink)) * u32::from(k) + 128;
        let shade = ((product >> 8) + product) >> 8;
        k.saturating_sub(shade as u8)
    })
}

fn png(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    if has_cut_palette(bytes) {
        return Err(invalid("the palette does not end with a whole colour"));
    }
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), png_limits(limits)).map_err(png_error)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = checked_size(width.into(), height.into(), limits)?;
    let is_16_bit_grey = bytes.get(PNG_DEPTH_AND_COLOUR) == Some(&[16, 0]);
    let image = DynamicImage::from_decoder(decoder).map_err(png_error)?;
    let pixels = match image {
        DynamicImage::ImageRgb8(rgb) => return Ok(rgb),
        DynamicImage::ImageLuma8(grey) => grey.pixels().flat_map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageLumaA8(grey) => grey.pixels().flat_map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageRgba8(rgba) => rgba.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect(),
        DynamicImage::ImageLuma16(grey) => grey.pixels().flat_map(|p| [p[0].min(255) as u8; 3]).collect(),
        // 16-bit grey with one transparent level arrives here too; Pillow treats it as 16-bit grey.
        DynamicImage::ImageLumaA16(grey) if is_16_bit_grey => {
            grey.pixels().flat_map(|p| [p[0].min(255) as u8; 3]).collect()
        }
        DynamicImage::ImageLumaA16(grey) => grey.pixels().flat_map(|p| [high_byte(p[0]); 3]).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.pixels().flat_map(|p| p.0.map(high_byte)).collect(),
        DynamicImage::ImageRgba16(rgba) => rgba.pixels().flat_map(|p| [p[0], p[1], p[2]].map(high_byte)).collect(),
        other => {
            return Err(unsupported(format!("PNG pixels of type {:?}", other.color())));
        }
    };
    rgb_image(width, height, pixels)
}

/// Whether a palette's length is not a multiple of three, on which png 0.18.1 panics.
fn has_cut_palette(bytes: &[u8]) -> bool {
    // Behind the signature: length (4 bytes), name (4), content, checksum (4), again and again.
    let mut chunks = bytes.get(8..).unwrap_or_default();
    while let Some(([a, b, c, d, name @ ..], rest)) = chunks.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        match name {
            b"PLTE" if !length.is_multiple_of(3) => return true,
            b"IDAT" => return false,
            _ => chunks = rest.get(length.saturating_add(4)..).unwrap_or_default(),
        }
    }
    false
}

fn high_byte(level: u16) -> u8 {
    (level >> 8) as u8
}

/// Four channels of two bytes at most, and as much again for what the decoder keeps.
fn png_limits(limits: &Limits) -> image::Limits {
    let mut png = image::Limits::default();
    png.max_alloc = Some(limits.pixels.saturating_mul(16));
    png
}

fn checked_size(width: u64, height: u64, limits: &Limits) -> Result<(u32, u32)> {
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(w), Ok(h)) if w > 0 && h > 0 && width * height <= limits.pixels => Ok((w, h)),
        _ if width == 0 || height == 0 => Err(invalid(format!("{width}x{height} pixels"))),
        _ => {
            let message = format!("{width}x{height} pixels, the limit is {} in all", limits.pixels);
            Err(Error::new(ErrorKind::TooLarge, Step::Decode, "", message))
        }
    }
}

fn rgb_image(width: u32, height: u32, pixels: Vec<u8>) -> Result<RgbImage> {
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| invalid("fewer pixels than the header says"))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Step::Decode, "", message)
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, Step::Decode, "", message)
}

fn png_error(error: ImageError) -> Error {
    match error {
        ImageError::Limits(_) => Error::new(ErrorKind::TooLarge, Step::Decode, "", error.to_string()),
        _ => damaged(error),
    }
}

fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::from_source(Step::Decode, "", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decoder_says_does_not_depend_on_the_photo_before() {
        let photo = std::fs::read("../data-sample/Kiwi/view-00.jpg").unwrap();
        let empty = b"\xff\xd8\xff\xe0 no photo";
        let fresh = Decoder::default().decode(empty, &Limits::default()).unwrap_err();
        let mut used = Decoder::default();
        used.decode(&photo, &Limits::default()).unwrap();
        let used = used.decode(empty, &Limits::default()).unwrap_err();
        assert_eq!(
            (fresh.message(), used.message()),
            ("there is no image in it", "there is no image in it")
        );
    }
}
