//! JPEG by Pillow's rules.
//!
//! Pillow hands libjpeg what it has read, and takes rows until it has all of them. When libjpeg asks for more and there is no more, the
//! file is cut off; warnings count for nothing. Behind the last row the end may be missing, but what is there must not be an error of libjpeg's.
//! (`ImagingJpegDecode` in `src/libImaging/JpegDecode.c`, `load` in `ImageFile.py`.)

#![allow(unsafe_code)] // libjpeg is written in C

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr::NonNull;

use turbojpeg_sys as _; // brings libjpeg

use super::limits::{Limits, invalid, truncated, unsupported};
use super::rows::Rows;
use crate::error::{Error, Result};

/// Scans of a progressive JPEG; cameras and encoders write about ten, only an attack needs hundreds.
const MAX_SCANS: c_int = 500;
/// As libtiff.
const MAX_SCANS_IN_TIFF: c_int = 100;
/// Rows that are asked for at once: as many as libjpeg makes at once at most.
const AT_ONCE: usize = 16;

/// The colours that come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Colours {
    Rgb = 0,
    Cmyk = 1,
    /// Without any conversion.
    AsStored = 2,
}

/// Gives the rows of a JPEG.
pub(super) fn decode(bytes: &[u8], draft: Option<u32>, limits: &Limits, rows: &mut impl Rows) -> Result<()> {
    let mut decoder = Decoder::open(bytes, MAX_SCANS)?;
    let header = decoder.header()?;
    limits.check(header.width.into(), header.height.into())?;
    let colours = match (header.components, header.bits) {
        (1 | 3, 8) => Colours::Rgb,
        (4, 8) => Colours::Cmyk,
        (_, 8) => return Err(unsupported(format!("a JPEG of {} components", header.components))),
        (_, bits) => return Err(unsupported(format!("a JPEG of {bits} bits a component"))),
    };
    let scale = draft.map_or(1, |side| draft_scale(header.width.min(header.height), side));
    let (width, height) = decoder.start(colours, scale)?;
    rows.begin(width, height);
    let stride = width as usize * if colours == Colours::Cmyk { 4 } else { 3 };
    let mut levels = vec![0; stride * AT_ONCE.min(height as usize)];
    let mut left = height as usize;
    while left > 0 {
        let levels = &mut levels[..stride * AT_ONCE.min(left)];
        decoder.rows(levels, stride)?;
        for row in levels.chunks_exact_mut(stride) {
            match colours {
                Colours::Cmyk => rows.row(inverted_cmyk_to_rgb(row)),
                _ => rows.row(row),
            }
        }
        left -= AT_ONCE.min(left);
    }
    decoder.finish()
}

/// A strip or tile of a TIFF as levels of 1, 3 or 4 channels, YCbCr as RGB. libtiff is not interested in what is behind the last row.
pub(super) fn decode_part(bytes: &[u8], width: usize, height: usize, channels: usize) -> Result<Vec<u8>> {
    let mut decoder = Decoder::open(bytes, MAX_SCANS_IN_TIFF)?;
    let header = decoder.header()?;
    let is = (
        header.width as usize,
        header.height as usize,
        header.components as usize,
    );
    if is != (width, height, channels) {
        return Err(invalid("a JPEG of another size in a TIFF"));
    }
    let colours = match channels {
        1 => Colours::AsStored,
        3 => Colours::Rgb,
        4 => Colours::Cmyk,
        _ => return Err(unsupported(format!("a JPEG of {channels} components in a TIFF"))),
    };
    decoder.start(colours, 1)?;
    let stride = width * channels;
    let mut levels = vec![0; stride * height];
    decoder.rows(&mut levels, stride)?;
    Ok(levels)
}

/// By how much libjpeg may shrink a picture whose smaller side shall keep `side` pixels: `draft` in Pillow's `JpegImagePlugin.py`.
fn draft_scale(smaller: u32, side: u32) -> u32 {
    let scales = [8, 4, 2];
    scales.into_iter().find(|scale| smaller / side >= *scale).unwrap_or(1)
}

/// A row as `cmyk2rgb` of Pillow's `Convert.c` makes it, behind the inversion of its `CMYK;I` raw mode; in place.
fn inverted_cmyk_to_rgb(row: &mut [u8]) -> &[u8] {
    let pixels = row.len() / 4;
    for pixel in 0..pixels {
        let k = row[4 * pixel + 3];
        for channel in 0..3 {
            let product = (255 - u32::from(row[4 * pixel + channel])) * u32::from(k) + 128;
            let shade = ((product >> 8) + product) >> 8;
            row[3 * pixel + channel] = k.saturating_sub(shade as u8);
        }
    }
    &row[..3 * pixels]
}

struct Header {
    width: c_uint,
    height: c_uint,
    components: c_int,
    bits: c_int,
}

/// What `jpeg.c` knows of a decoder.
#[repr(C)]
struct Raw {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn fruits_jpeg_open(bytes: *const u8, length: usize, max_scans: c_int) -> Option<NonNull<Raw>>;
    fn fruits_jpeg_close(decoder: NonNull<Raw>);
    fn fruits_jpeg_message(decoder: NonNull<Raw>) -> *const c_char;
    fn fruits_jpeg_header(
        decoder: NonNull<Raw>,
        width: &mut c_uint,
        height: &mut c_uint,
        components: &mut c_int,
        bits: &mut c_int,
    ) -> c_int;
    fn fruits_jpeg_start(
        decoder: NonNull<Raw>,
        colours: c_int,
        scale: c_uint,
        width: &mut c_uint,
        height: &mut c_uint,
    ) -> c_int;
    fn fruits_jpeg_rows(decoder: NonNull<Raw>, rows: *mut u8, stride: usize, count: c_uint) -> c_int;
    fn fruits_jpeg_finish(decoder: NonNull<Raw>) -> c_int;
}

/// libjpeg at work on a file: see `jpeg.c`.
struct Decoder<'a> {
    raw: NonNull<Raw>,
    /// What it reads from.
    _bytes: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn open(bytes: &'a [u8], max_scans: c_int) -> Result<Self> {
        // SAFETY: the bytes live as long as the decoder.
        let raw = unsafe { fruits_jpeg_open(bytes.as_ptr(), bytes.len(), max_scans) };
        let raw = raw.ok_or_else(|| invalid("no memory for a JPEG"))?;
        Ok(Decoder { raw, _bytes: bytes })
    }

    fn header(&mut self) -> Result<Header> {
        let mut header = Header {
            width: 0,
            height: 0,
            components: 0,
            bits: 0,
        };
        let Header {
            width,
            height,
            components,
            bits,
        } = &mut header;
        // SAFETY: the decoder is open.
        let outcome = unsafe { fruits_jpeg_header(self.raw, width, height, components, bits) };
        self.outcome(outcome)?;
        Ok(header)
    }

    /// The size that comes out.
    fn start(&mut self, colours: Colours, scale: c_uint) -> Result<(u32, u32)> {
        let (mut width, mut height) = (0, 0);
        // SAFETY: the decoder is open; it refuses what comes out of turn.
        let outcome = unsafe { fruits_jpeg_start(self.raw, colours as c_int, scale, &mut width, &mut height) };
        self.outcome(outcome)?;
        Ok((width, height))
    }

    /// Fills rows of `stride` bytes, which are as wide as what comes out.
    fn rows(&mut self, levels: &mut [u8], stride: usize) -> Result<()> {
        let count = (levels.len() / stride) as c_uint;
        // SAFETY: `levels` holds `count` rows of `stride` bytes, and a row that comes out has no more.
        let outcome = unsafe { fruits_jpeg_rows(self.raw, levels.as_mut_ptr(), stride, count) };
        self.outcome(outcome)
    }

    fn finish(&mut self) -> Result<()> {
        // SAFETY: the decoder is open.
        let outcome = unsafe { fruits_jpeg_finish(self.raw) };
        self.outcome(outcome)
    }

    fn outcome(&self, outcome: c_int) -> Result<()> {
        match outcome {
            0 => Ok(()),
            1 => Err(truncated()),
            _ => Err(self.error()),
        }
    }

    fn error(&self) -> Error {
        // SAFETY: the message is part of the decoder, and ends with a zero.
        let message = unsafe { CStr::from_ptr(fruits_jpeg_message(self.raw)) };
        invalid(message.to_string_lossy())
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        // SAFETY: it is open, and not used any more.
        unsafe { fruits_jpeg_close(self.raw) }
    }
}
