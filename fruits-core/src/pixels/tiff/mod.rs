//! TIFF to RGB, as Pillow 13 reads it.
//!
//! Pillow reads the tags in Python (`TiffImagePlugin.py`), uncompressed pixels with its own decoder, and compressed ones with libtiff. The
//! three take damage differently: [`directory`], [`raw`] and [`coded`] follow one each. Of several pages the first one counts, and unlike
//! other photos it is turned as its orientation says.
//!
//! In a few places Pillow's answer depends on whether it is given a path or bytes: then this is the answer for bytes.

mod codec;
mod coded;
mod directory;
mod jpeg;
mod pixels;
mod raw;

use crate::error::Result;
use crate::pixels::RgbImage;
use crate::pixels::limits::{Limits, invalid};
use crate::pixels::orientation::{of_xmp, upright};

use codec::Compression;
use directory::Directory;
use pixels::{BANDS, Format, Key, MAX_SAMPLES, Unpacker};

/// TIFF 6.0, appendix A; the last but one is Adobe's.
mod tag {
    pub const IMAGE_WIDTH: u16 = 256;
    pub const IMAGE_LENGTH: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC_INTERPRETATION: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTE_COUNTS: u16 = 279;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const COLOR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTE_COUNTS: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const XMP: u16 = 700;
}

/// The photo in `bytes`.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    let directory = Directory::read(bytes)?;
    let header = Header::read(&directory, limits)?;
    let image = match header.compression {
        Compression::None => raw::decode(bytes, &directory, header)?,
        _ => coded::decode(bytes, &directory, header)?,
    };
    turned(image, &directory)
}

/// What the tags say about the picture.
struct Header {
    width: u32,
    height: u32,
    compression: Compression,
    photometric: i64,
    format: Format,
    palette: Vec<[u8; 3]>,
    /// Whether each channel lies for itself.
    is_planar: bool,
    /// Whether bytes begin with the lowest bit.
    is_reversed: bool,
    /// Whether there may be a channel more than the tags explain.
    has_unknown_alpha: bool,
    /// Those of the colours and those that the tags explain.
    channels: usize,
    samples_in_file: usize,
}

impl Header {
    /// `TiffImageFile._setup`.
    fn read(directory: &Directory, limits: &Limits) -> Result<Header> {
        let compression = Compression::new(directory.number(tag::COMPRESSION)?.unwrap_or(1))?;
        // With several values it is as if there were none.
        let photometric = directory
            .numbers(tag::PHOTOMETRIC_INTERPRETATION)
            .filter(|numbers| numbers.len() == 1);
        let photometric = photometric.and_then(|mut numbers| numbers.next()).unwrap_or(0);
        let side = |tag| match directory.number(tag)?.map(u64::try_from) {
            Some(Ok(side)) => Ok(side),
            _ => Err(invalid("a TIFF without a size")),
        };
        let (width, height) = limits.check(side(tag::IMAGE_WIDTH)?, side(tag::IMAGE_LENGTH)?)?;

        let is_planar = directory
            .numbers(tag::PLANAR_CONFIGURATION)
            .and_then(|mut numbers| numbers.next())
            == Some(2);
        let fill_order = directory.number(tag::FILL_ORDER)?.unwrap_or(1);
        let list = |tag, default: &[i64]| match directory.numbers(tag) {
            // More than there may be would be no other answer.
            Some(numbers) => numbers.take(MAX_SAMPLES + 1).collect(),
            None => default.to_vec(),
        };
        let mut sample_format = list(tag::SAMPLE_FORMAT, &[1]);
        if sample_format.iter().all(|format| Some(format) == sample_format.first()) {
            sample_format.truncate(1);
        }
        let mut bits = list(tag::BITS_PER_SAMPLE, &[1]);
        let mut extra = list(tag::EXTRA_SAMPLES, &[]);
        let has_unknown_alpha = extra.is_empty();
        let samples_in_file = match directory.number(tag::SAMPLES_PER_PIXEL)?.unwrap_or(1) {
            samples @ 1..=0xffff => samples as usize,
            other => return Err(invalid(format!("{other} samples in a pixel"))),
        };
        let mut samples = samples_in_file;
        if is_planar && extra.iter().max() == Some(&0) {
            bits.truncate(bits.len().saturating_sub(extra.len()));
            samples = samples.saturating_sub(extra.len());
            extra.clear();
        }
        if samples > MAX_SAMPLES {
            return Err(invalid(format!("{samples} samples in a pixel")));
        }
        match *bits {
            [bits_of_all] => bits = vec![bits_of_all; samples],
            _ => bits.truncate(samples),
        }
        if bits.len() != samples {
            return Err(invalid(format!(
                "{samples} samples in a pixel, the sizes of {} of them",
                bits.len()
            )));
        }
        let format = Format::new(&Key {
            order: directory.order,
            photometric,
            sample_format: &sample_format,
            fill_order,
            bits: &bits,
            extra: &extra,
        })?;
        let colours = match photometric {
            2 | 6 => 3,
            5 => 4,
            _ => 1,
        };
        Ok(Header {
            width,
            height,
            compression,
            photometric,
            palette: palette(directory, &format)?,
            format,
            is_planar,
            is_reversed: fill_order == 2,
            has_unknown_alpha,
            channels: colours + extra.len(),
            samples_in_file,
        })
    }
}

/// The high bytes of the colour map, which holds the red of all colours, the green and the blue.
fn palette(directory: &Directory, format: &Format) -> Result<Vec<[u8; 3]>> {
    if !format.is_palette() {
        return Ok(Vec::new());
    }
    let wrong = || invalid("the colour map is missing or too large");
    let levels = directory.numbers(tag::COLOR_MAP).ok_or_else(wrong)?;
    if levels.len() > 3 * 256 + 2 {
        return Err(wrong());
    }
    let levels = levels
        .map(|level| u8::try_from(level >> 8))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| wrong())?;
    let (red, rest) = levels.split_at(levels.len() / 3);
    let (green, blue) = rest.split_at(levels.len() / 3);
    Ok(red
        .iter()
        .zip(green)
        .zip(blue)
        .map(|((&r, &g), &b)| [r, g, b])
        .collect())
}

/// A picture that is being drawn.
struct Canvas {
    width: usize,
    height: usize,
    unpacker: Unpacker,
    /// RGB, or the bands of a picture that has them one after the other.
    pixels: Vec<u8>,
    has_bands: bool,
}

impl Canvas {
    /// `bands` lie one after the other.
    fn new(header: &Header, unpacker: Unpacker, bands: usize) -> Self {
        let (width, height) = (header.width as usize, header.height as usize);
        let pixels = match bands {
            1 => unpacker.background().repeat(width * height),
            _ => vec![0; width * height * BANDS],
        };
        Canvas {
            width,
            height,
            unpacker,
            pixels,
            has_bands: bands > 1,
        }
    }

    /// Draws a part of row `y`; what lies outside the picture is left out.
    fn draw(&mut self, row: &[u8], x: usize, y: usize, width: usize, band: usize) {
        let channels = if self.has_bands { BANDS } else { 3 };
        let start = (y * self.width + x) * channels;
        let Some(pixels) = self.pixels.get_mut(start..start + width * channels) else {
            return;
        };
        match self.has_bands {
            true => self.unpacker.unpack_band(row, band, pixels),
            false => self.unpacker.unpack(row, pixels),
        }
    }

    fn finish(self) -> Result<RgbImage> {
        let (width, height) = (self.width, self.height);
        let pixels = match self.has_bands {
            true => {
                let mut rgb = Vec::with_capacity(width * height * 3);
                rgb.extend(
                    self.pixels
                        .chunks_exact(BANDS)
                        .flat_map(|pixel| self.unpacker.rgb(pixel)),
                );
                rgb
            }
            false => self.pixels,
        };
        let image = RgbImage::from_raw(width as u32, height as u32, pixels);
        image.ok_or_else(|| invalid("fewer pixels than the header says"))
    }
}

/// `TiffImageFile.load_end`: `exif_transpose` of `ImageOps.py`.
fn turned(image: RgbImage, directory: &Directory) -> Result<RgbImage> {
    let orientation = if directory.has(tag::ORIENTATION) {
        directory
            .numbers(tag::ORIENTATION)
            .and_then(|mut numbers| numbers.next())
    } else if directory.has(tag::XMP) {
        // `Image.getexif` fails where it is a text.
        let xmp = directory
            .bytes(tag::XMP)
            .ok_or_else(|| invalid("the XMP is not given as bytes"))?;
        of_xmp(xmp).map(i64::from)
    } else {
        None
    };
    let orientation = orientation.and_then(|number| u8::try_from(number).ok());
    Ok(upright(image, orientation.unwrap_or(1)))
}
