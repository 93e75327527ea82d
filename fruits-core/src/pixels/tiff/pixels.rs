//! From a row of samples to RGB.
//!
//! `OPEN_INFO` of Pillow's `TiffImagePlugin.py` says which kinds there are, `Unpack.c` and `Convert.c` what becomes of them.

use crate::error::Result;
use crate::pixels::limits::{invalid, unsupported};

use super::directory::ByteOrder;

/// Pillow reads no file with more samples in a pixel.
pub const MAX_SAMPLES: usize = 6;

/// What the samples of a pixel mean. Those that it does not name, such as alpha, are dropped.
#[derive(Debug, Clone, PartialEq)]
pub enum Colour {
    Grey {
        inverted: bool,
    },
    /// Grey of more than 8 bits, of which Pillow keeps what is between 0 and 255.
    Clipped(Number),
    Palette,
    Rgb,
    /// RGB that was multiplied by the alpha behind it.
    Premultiplied,
    Cmyk,
    YCbCr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Unsigned,
    Signed,
    Float,
}

/// What the tags say about a pixel.
pub struct Format {
    pub colour: Colour,
    /// Those of one sample.
    pub bits: usize,
    pub samples: usize,
    /// How many of the samples Pillow keeps ("bands").
    pub bands: usize,
}

/// The tags that decide the format.
pub struct Key<'a> {
    pub order: ByteOrder,
    pub photometric: i64,
    pub sample_format: &'a [i64],
    pub fill_order: i64,
    pub bits: &'a [i64],
    pub extra: &'a [i64],
}

impl Format {
    pub fn is_palette(&self) -> bool {
        self.colour == Colour::Palette
    }

    /// `OPEN_INFO`.
    pub fn new(key: &Key) -> Result<Format> {
        use Number::{Float, Signed, Unsigned};
        let unknown = || {
            unsupported(format!(
                "TIFF pixels of photometric interpretation {}, {:?} bits",
                key.photometric, key.bits
            ))
        };
        let &[sample_format] = key.sample_format else {
            return Err(unknown());
        };
        let &[bits, ref others @ ..] = key.bits else {
            return Err(unknown());
        };
        if others.iter().any(|&other| other != bits) {
            return Err(unknown());
        }
        let is_little = key.order == ByteOrder::Little;
        let samples = key.bits.len();
        let (colour, bands) = match (key.photometric, sample_format, bits, samples, key.extra) {
            (photometric @ (0 | 1), 1, 1 | 2 | 4 | 8, 1, []) => (
                Colour::Grey {
                    inverted: photometric == 0,
                },
                1,
            ),
            (1, 2, 8, 1, []) | (6, 1, 8, 1, []) => (Colour::Grey { inverted: false }, 1),
            (1, 1, 8, 2, [0]) => (Colour::Grey { inverted: false }, 1),
            (1, 1, 8, 2, [2]) => (Colour::Grey { inverted: false }, 2),
            (1, 1, 12, 1, []) | (0, 1, 16, 1, []) | (1, 1, 32, 1, []) if is_little => (Colour::Clipped(Unsigned), 1),
            (1, 1, 16, 1, []) => (Colour::Clipped(Unsigned), 1),
            (1, 2, 16 | 32, 1, []) => (Colour::Clipped(Signed), 1),
            (0 | 1, 3, 32, 1, []) => (Colour::Clipped(Float), 1),
            (2, 1, 8 | 16, 3, []) | (2, 1, 8 | 16, 4, [0]) | (2, 1, 8, 5, [0, 0]) | (2, 1, 8, 6, [0, 0, 0]) => {
                (Colour::Rgb, 3)
            }
            // 999 is what Corel Draw 10 writes.
            (2, 1, 8 | 16, 4, [] | [2]) | (2, 1, 8, 4, [999]) | (2, 1, 8, 5, [2, 0]) | (2, 1, 8, 6, [2, 0, 0]) => {
                (Colour::Rgb, 4)
            }
            (2, 1, 8 | 16, 4, [1]) | (2, 1, 8, 5, [1, 0]) | (2, 1, 8, 6, [1, 0, 0]) => (Colour::Premultiplied, 4),
            (3, 1, 1 | 2 | 4 | 8, 1, []) | (3, 1, 8, 2, [0]) => (Colour::Palette, 1),
            (3, 1, 8, 2, [2]) => (Colour::Palette, 2),
            (5, 1, 8 | 16, 4, []) | (5, 1, 8, 5, [0]) | (5, 1, 8, 6, [0, 0]) => (Colour::Cmyk, 4),
            (6, 1, 8, 3, []) => (Colour::YCbCr, 3),
            (8, 1, 8, 3, []) => return Err(unsupported("TIFF pixels in the Lab colour space")),
            _ => return Err(unknown()),
        };
        let may_be_reversed = match (&colour, samples) {
            (Colour::Grey { .. }, 1) => key.photometric < 2 && sample_format == 1,
            (Colour::Palette, 1) => true,
            (Colour::Clipped(Unsigned), 1) => is_little && key.photometric == 1 && bits == 16,
            (Colour::Rgb, 3) => bits == 8,
            _ => false,
        };
        match key.fill_order {
            1 => {}
            2 if may_be_reversed => {}
            other => return Err(invalid(format!("a TIFF of fill order {other}"))),
        }
        Ok(Format {
            colour,
            bits: bits as usize,
            samples,
            bands,
        })
    }
}

/// Makes RGB of samples.
pub struct Unpacker {
    colour: Colour,
    bits: usize,
    samples: usize,
    order: ByteOrder,
    palette: Vec<[u8; 3]>,
    ycbcr: YCbCr,
    /// One for each sample of a row.
    levels: Vec<u8>,
}

impl Unpacker {
    /// `order` is that of samples of more than 8 bits. Pixels beyond the palette are black.
    pub fn new(format: &Format, order: ByteOrder, palette: &[[u8; 3]]) -> Self {
        Unpacker {
            colour: format.colour.clone(),
            bits: format.bits,
            samples: format.samples,
            order,
            palette: palette.to_vec(),
            ycbcr: YCbCr::new(),
            levels: Vec::new(),
        }
    }

    /// Those of pixels that the file does not have: all bands are zero.
    pub fn background(&self) -> [u8; 3] {
        match self.colour {
            Colour::Grey { .. } => [0; 3],
            _ => self.rgb(&[0; MAX_SAMPLES]),
        }
    }

    /// The pixels of a row in which those of a pixel lie side by side.
    pub fn unpack(&mut self, row: &[u8], rgb: &mut [u8]) {
        self.read_levels(row);
        for (pixel, rgb) in self.levels.chunks_exact(self.samples).zip(rgb.chunks_exact_mut(3)) {
            rgb.copy_from_slice(&self.rgb(pixel));
        }
    }

    /// One band of the pixels of a row.
    pub fn unpack_band(&mut self, row: &[u8], band: usize, pixels: &mut [u8]) {
        self.read_levels(row);
        for (&level, pixel) in self.levels.iter().zip(pixels.chunks_exact_mut(BANDS)) {
            if let Some(sample) = pixel.get_mut(band) {
                *sample = level;
            }
        }
    }

    /// One byte for each sample. Colours of 16 bits keep the high byte.
    fn read_levels(&mut self, row: &[u8]) {
        let order = self.order;
        self.levels.clear();
        match (&self.colour, self.bits) {
            (Colour::Clipped(_), 12) => {
                self.levels.extend(row.chunks(3).flat_map(|bytes| {
                    let [a, b, c] = [0, 1, 2].map(|i| bytes.get(i).copied().map_or(0, u16::from));
                    [a << 4 | b >> 4, (b & 15) << 8 | c].map(|number| number.min(255) as u8)
                }));
            }
            (&Colour::Clipped(number), bits) => {
                let clip = |bytes| clipped(order.number(bytes), number, bits);
                self.levels.extend(row.chunks_exact(bits / 8).map(clip));
            }
            (_, 16) => {
                let high = match order {
                    ByteOrder::Little => 1,
                    ByteOrder::Big => 0,
                };
                self.levels.extend(row.iter().skip(high).step_by(2));
            }
            (_, 8) => self.levels.extend_from_slice(row),
            (_, bits) => {
                let mask = u8::MAX >> (8 - bits);
                let shifts = || (0..8).step_by(bits).rev();
                self.levels.extend(
                    row.iter()
                        .flat_map(|byte| shifts().map(move |shift| byte >> shift & mask)),
                );
            }
        }
    }

    /// What `convert("RGB")` makes of a pixel.
    pub fn rgb(&self, pixel: &[u8]) -> [u8; 3] {
        match (&self.colour, pixel) {
            (&Colour::Grey { inverted }, &[level, ..]) => {
                let level = level * (u8::MAX / (u8::MAX >> (8 - self.bits.min(8))));
                [if inverted { !level } else { level }; 3]
            }
            (Colour::Clipped(_), &[level, ..]) => [level; 3],
            (Colour::Palette, &[index, ..]) => self.palette.get(usize::from(index)).copied().unwrap_or_default(),
            (Colour::Rgb, &[r, g, b, ..]) => [r, g, b],
            (Colour::Premultiplied, &[r, g, b, a, ..]) => unpremultiplied([r, g, b], a),
            (Colour::Cmyk, &[c, m, y, k, ..]) => cmyk_to_rgb([c, m, y], k),
            (Colour::YCbCr, &[y, cb, cr, ..]) => self.ycbcr.rgb(y, cb, cr),
            _ => [0; 3],
        }
    }
}

/// Bands of a pixel in a picture whose bands come one after the other.
pub const BANDS: usize = 4;

/// `I16_RGB`, `I16B_L`, `i2rgb` and `f2l` of `Convert.c`. 32 bits without a sign are taken for a number with one.
fn clipped(bits: u64, number: Number, width: usize) -> u8 {
    match (number, width) {
        (Number::Float, _) => f32::from_bits(bits as u32) as u8,
        (Number::Signed, 16) => i64::from(bits as i16).clamp(0, 255) as u8,
        (_, 32) => i64::from(bits as i32).clamp(0, 255) as u8,
        _ => bits.min(255) as u8,
    }
}

/// `unpackRGBa` of `Unpack.c`.
fn unpremultiplied(rgb: [u8; 3], alpha: u8) -> [u8; 3] {
    rgb.map(|level| match alpha {
        0 => 0,
        _ => (u32::from(level) * 255 / u32::from(alpha)).min(255) as u8,
    })
}

/// `cmyk2rgb` of `Convert.c`.
fn cmyk_to_rgb(cmy: [u8; 3], k: u8) -> [u8; 3] {
    let white = 255 - k;
    cmy.map(|ink| {
        let product = u32::from(ink) * u32::from(white) + 128;
        let shade = ((product >> 8) + product) >> 8;
        white.saturating_sub(shade as u8)
    })
}

/// The tables of `ConvertYCbCr.c`: products of the factors of JFIF, with six fractional bits.
struct YCbCr {
    r_cr: Vec<i32>,
    g_cb: Vec<i32>,
    g_cr: Vec<i32>,
    b_cb: Vec<i32>,
}

impl YCbCr {
    fn new() -> Self {
        let table = |factor: f64| {
            (-128..128)
                .map(|level| (f64::from(level) * factor * 64.0 + 0.5) as i32)
                .collect()
        };
        YCbCr {
            r_cr: table(1.402),
            g_cb: table(-0.34414),
            g_cr: table(-0.71414),
            b_cb: table(1.772),
        }
    }

    fn rgb(&self, y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let product = |table: &[i32], level: u8| table.get(usize::from(level)).copied().unwrap_or_default();
        let green = product(&self.g_cb, cb) + product(&self.g_cr, cr);
        [product(&self.r_cr, cr), green, product(&self.b_cb, cb)]
            .map(|product| (i32::from(y) + (product >> 6)).clamp(0, 255) as u8)
    }
}
