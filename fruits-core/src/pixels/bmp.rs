//! BMP and DIB to RGB.
//!
//! Names are those of Microsoft's `BITMAPINFOHEADER` and its successors; the rules are Pillow's, from `BmpImagePlugin.py`, `RawDecode.c` and
//! `Unpack.c`:
//!
//! - A DIB is a BMP without the 14 bytes of its file header.
//! - Bit fields only in the layouts of [`BIT_FIELDS`]. Alpha is dropped, and so is the fourth byte of 32-bit pixels.
//! - A palette of the grey levels 0, 1, 2... turns the pixels into bytes of grey, one of black and white turns them into bits, whatever depth
//!   the header says: Pillow reads an 8-bit picture of these two colours as a 1-bit one.
//! - Indices behind the end of a palette are black. A palette may reach into the pixels, or end with the file.
//! - Rows are padded to four bytes, only the last one need not be. A file that is cut earlier is refused; so are run-length data that
//!   end before the last pixel.

use super::RgbImage;
use super::limits::{Limits, invalid, truncated, unsupported};
use crate::error::Result;

/// `_accept` of Pillow's plugin.
const SIGNATURE: &[u8] = b"BM";

/// `BITMAPFILEHEADER`: the signature, the size, four unused bytes, and where the pixels begin.
const FILE_HEADER_SIZE: usize = 14;
const PIXELS_OFFSET: usize = 10;

/// `BITMAPCOREHEADER`, with sizes of 16 bits and palettes of three bytes for a colour.
const CORE_HEADER_SIZE: u32 = 12;
/// `BITMAPINFOHEADER`, its versions 2 and 3, OS/2's second one, and Windows' versions 4 and 5.
const INFO_HEADER_SIZES: [u32; 6] = [40, 52, 56, 64, 108, 124];

const RGB: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;

/// The longest palette that Pillow reads, and the longest it makes an image of.
const MAX_COLOURS: u64 = 65536;
const MAX_PALETTE: usize = 256;

type Colour = [u8; 3];

/// Where red, green and blue are in a pixel of whole bytes.
const BGR: [usize; 3] = [2, 1, 0];

/// The masks of red, green, blue and alpha that Pillow knows for 32 bits, and where these three are then: its `MASK_MODES`.
const BIT_FIELDS: [([u32; 4], [usize; 3]); 8] = [
    ([0xff0000, 0xff00, 0xff, 0], BGR),
    ([0xff000000, 0xff0000, 0xff00, 0], [3, 2, 1]),
    ([0xff000000, 0xff00, 0xff, 0], [3, 1, 0]),
    ([0xff000000, 0xff0000, 0xff00, 0xff], [3, 2, 1]),
    ([0xff, 0xff00, 0xff0000, 0xff000000], [0, 1, 2]),
    ([0xff0000, 0xff00, 0xff, 0xff000000], BGR),
    ([0xff000000, 0xff00, 0xff, 0xff0000], [3, 1, 0]),
    ([0, 0, 0, 0], BGR),
];
/// Those for 24 and 16 bits, where alpha's mask does not count.
const BIT_FIELDS_888: [u32; 3] = [0xff0000, 0xff00, 0xff];
const BIT_FIELDS_565: [u32; 3] = [0xf800, 0x7e0, 0x1f];
const BIT_FIELDS_555: [u32; 3] = [0x7c00, 0x3e0, 0x1f];

/// Whether Pillow takes this for a BMP.
pub(super) fn is_bmp(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE)
}

/// Whether Pillow takes this for a DIB, which has no signature: it begins with the size of a header.
pub(super) fn is_dib(bytes: &[u8]) -> bool {
    let size = bytes.first_chunk().map(|&size| u32::from_le_bytes(size));
    size.is_some_and(|size| size == CORE_HEADER_SIZE || INFO_HEADER_SIZES.contains(&size))
}

/// The picture of a BMP, or of a DIB.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    let header = Header::read(bytes)?;
    let size = limits.check(header.width, header.height)?;
    let layout = Layout::of(&header, bytes)?;
    let offset = usize::try_from(header.pixels_offset()).unwrap_or(usize::MAX);
    let data = bytes.get(offset..).ok_or_else(truncated)?;
    let columns = size.0 as usize;
    if !matches!(header.compression, RLE8 | RLE4) {
        let stride = (columns * usize::from(header.bit_count)).next_multiple_of(32) / 8;
        return picture(data, stride, &layout, size, header.is_top_down);
    }
    let Layout::Indices { colours, .. } = layout else {
        return Err(unsupported("a run-length BMP without a palette"));
    };
    let indices = run_lengths(bytes, offset, size, header.compression == RLE4)?;
    let layout = Layout::Indices { bits: 8, colours };
    picture(&indices, columns, &layout, size, header.is_top_down)
}

/// The picture whose rows lie `stride` bytes apart.
fn picture(data: &[u8], stride: usize, layout: &Layout, size: (u32, u32), is_top_down: bool) -> Result<RgbImage> {
    let (columns, rows) = (size.0 as usize, size.1 as usize);
    let row_size = layout.row_size(columns);
    // Grey levels of 8 bits do not fit into rows of fewer. `load` of `ImageFile.py` then maps the file into memory and takes one row behind the
    // other; if the file is too short for that, `RawDecode.c` refuses it.
    let stride = stride.max(row_size);
    if (rows - 1) * stride + row_size > data.len() {
        return Err(truncated());
    }
    let mut levels = vec![0; rows * columns * 3];
    for (i, row) in data.chunks(stride).take(rows).enumerate() {
        let y = if is_top_down { i } else { rows - 1 - i };
        let target = levels.chunks_exact_mut(columns * 3).nth(y);
        layout.unpack(row, target.unwrap_or_default());
    }
    RgbImage::from_raw(size.0, size.1, levels).ok_or_else(truncated)
}

/// What both headers say.
struct Header {
    width: u64,
    height: u64,
    is_top_down: bool,
    bit_count: u16,
    compression: u32,
    /// Red, green, blue, alpha; only for bit fields.
    masks: [u32; 4],
    /// Colours of the palette, and the bytes of each.
    colours: u64,
    colour_size: usize,
    /// Where the header ends and the palette begins.
    end: usize,
    /// Where the pixels are said to begin.
    offset: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self> {
        let (start, offset) = if is_bmp(bytes) {
            (FILE_HEADER_SIZE, u32_at(bytes, PIXELS_OFFSET)?)
        } else {
            (0, 0)
        };
        let header = bytes.get(start..).unwrap_or_default();
        let mut read = match u32_at(header, 0)? {
            CORE_HEADER_SIZE => Header::core(header)?,
            size if INFO_HEADER_SIZES.contains(&size) => Header::info(header, size)?,
            size => return Err(unsupported(format!("a BMP header of {size} bytes"))),
        };
        if read.end > header.len() {
            return Err(truncated());
        }
        if read.colours == 0 {
            read.colours = 1 << read.bit_count.min(16);
        }
        read.end += start;
        read.offset = offset as usize;
        Ok(read)
    }

    fn core(header: &[u8]) -> Result<Self> {
        Ok(Header {
            width: u16_at(header, 4)?.into(),
            height: u16_at(header, 6)?.into(),
            is_top_down: false,
            bit_count: u16_at(header, 10)?,
            compression: RGB,
            masks: [0; 4],
            colours: 0,
            colour_size: 3,
            end: CORE_HEADER_SIZE as usize,
            offset: 0,
        })
    }

    fn info(header: &[u8], size: u32) -> Result<Self> {
        let height = u32_at(header, 8)?;
        // Negative heights are for top-down pictures. Pillow looks at the high byte.
        let is_top_down = height >> 24 == 0xff;
        let compression = u32_at(header, 16)?;
        // The masks of red, green and blue follow the first header and are part of later ones, as is that of alpha from version 3 on.
        let (mask_count, end) = match (compression, size) {
            (BITFIELDS, ..52) => (3, 52),
            (BITFIELDS, ..56) => (3, size),
            (BITFIELDS, _) => (4, size),
            _ => (0, size),
        };
        let mut masks = [0; 4];
        for (mask, at) in masks.iter_mut().take(mask_count).zip((40..).step_by(4)) {
            *mask = u32_at(header, at)?;
        }
        Ok(Header {
            width: u32_at(header, 4)?.into(),
            height: if is_top_down { height.wrapping_neg() } else { height }.into(),
            is_top_down,
            bit_count: u16_at(header, 14)?,
            compression,
            masks,
            colours: u32_at(header, 32)?.into(),
            colour_size: 4,
            end: end as usize,
            offset: 0,
        })
    }

    /// Where Pillow looks for the pixels: behind the palette if that is not said, or if they are said to be where the palette is.
    fn pixels_offset(&self) -> u64 {
        let has_palette = self.bit_count <= 8;
        let palette_size = if has_palette {
            self.colours * self.colour_size as u64
        } else {
            0
        };
        if self.offset == 0 || self.offset == self.end {
            self.end as u64 + palette_size
        } else {
            self.offset as u64
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk()
        .map(|&number| u16::from_le_bytes(number))
        .ok_or_else(truncated)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk()
        .map(|&number| u32::from_le_bytes(number))
        .ok_or_else(truncated)
}

/// How the pixels of a row are stored.
enum Layout {
    /// Indices, the first in the high bits, and the colour of each.
    Indices {
        bits: usize,
        colours: Box<[Colour; MAX_PALETTE]>,
    },
    /// 16 bits: 5 of red, 5 or 6 of green, 5 of blue.
    Packed { green_bits: u32 },
    /// Whole bytes, 3 or 4 of them, and where red, green and blue are.
    Bytes { size: usize, places: [usize; 3] },
}

impl Layout {
    fn of(header: &Header, bytes: &[u8]) -> Result<Self> {
        match (header.compression, header.bit_count) {
            (BITFIELDS, bits) => {
                Layout::of_masks(bits, header.masks).ok_or_else(|| unsupported("a BMP with unusual bit fields"))
            }
            (RGB | RLE8 | RLE4, 1 | 4 | 8) => Layout::of_palette(header, bytes),
            (RGB | RLE8 | RLE4, 16) => Ok(Layout::Packed { green_bits: 5 }),
            (RGB | RLE8 | RLE4, 24) => Ok(Layout::Bytes { size: 3, places: BGR }),
            (RGB | RLE8 | RLE4, 32) => Ok(Layout::Bytes { size: 4, places: BGR }),
            (RGB | RLE8 | RLE4, bits) => Err(unsupported(format!("a BMP of {bits} bits for a pixel"))),
            (other, _) => Err(unsupported(format!("a BMP of compression {other}"))),
        }
    }

    fn of_masks(bits: u16, masks: [u32; 4]) -> Option<Self> {
        let [red, green, blue, _] = masks;
        match (bits, [red, green, blue]) {
            (16, BIT_FIELDS_555) => Some(Layout::Packed { green_bits: 5 }),
            (16, BIT_FIELDS_565) => Some(Layout::Packed { green_bits: 6 }),
            (24, BIT_FIELDS_888) => Some(Layout::Bytes { size: 3, places: BGR }),
            (32, _) => {
                let (_, places) = BIT_FIELDS.into_iter().find(|(known, _)| *known == masks)?;
                Some(Layout::Bytes { size: 4, places })
            }
            _ => None,
        }
    }

    fn of_palette(header: &Header, bytes: &[u8]) -> Result<Self> {
        let count = header.colours;
        if count > MAX_COLOURS {
            return Err(unsupported(format!("a BMP palette of {count} colours")));
        }
        let count = count as usize;
        let size = header.colour_size;
        let palette = bytes.get(header.end..).unwrap_or_default();
        let palette = palette.get(..count * size).unwrap_or(palette);
        let step = if count == 2 { 255 } else { 1 };
        let is_grey = (0..count).all(|i| palette.get(i * size..i * size + 3) == Some(&[(i * step) as u8; 3]));
        let entries = palette.chunks_exact(size);
        let mut colours = Box::new([[0; 3]; MAX_PALETTE]);
        let bits = if is_grey && count <= 2 {
            colours.iter_mut().skip(1).for_each(|colour| *colour = [255; 3]);
            1
        } else if is_grey {
            *colours = std::array::from_fn(|level| [level as u8; 3]);
            8
        } else if entries.len() <= MAX_PALETTE {
            for (colour, entry) in colours.iter_mut().zip(entries) {
                *colour = BGR.map(|place| entry[place]);
            }
            header.bit_count.into()
        } else {
            return Err(invalid(format!("a BMP palette of {} colours", entries.len())));
        };
        Ok(Layout::Indices { bits, colours })
    }

    /// Bytes of a row without padding.
    fn row_size(&self, columns: usize) -> usize {
        match self {
            Layout::Indices { bits, .. } => (columns * bits).div_ceil(8),
            Layout::Packed { .. } => columns * 2,
            Layout::Bytes { size, .. } => columns * size,
        }
    }

    fn unpack(&self, row: &[u8], target: &mut [u8]) {
        let target = target.chunks_exact_mut(3);
        match self {
            Layout::Indices { bits: 8, colours } => {
                for (pixel, &index) in target.zip(row) {
                    pixel.copy_from_slice(&colours[usize::from(index)]);
                }
            }
            &Layout::Indices { bits, ref colours } => {
                let indices = row
                    .iter()
                    .flat_map(|&byte| (0..8).step_by(bits).map(move |shift| (byte << shift) >> (8 - bits)));
                for (pixel, index) in target.zip(indices) {
                    pixel.copy_from_slice(&colours[usize::from(index)]);
                }
            }
            Layout::Packed { green_bits } => {
                for (pixel, &bytes) in target.zip(row.as_chunks().0) {
                    let field = |shift: u32, bits: u32| {
                        let max = (1 << bits) - 1;
                        ((u32::from(u16::from_le_bytes(bytes)) >> shift) & max) * 255 / max
                    };
                    let levels = [field(5 + green_bits, 5), field(5, *green_bits), field(0, 5)];
                    pixel.copy_from_slice(&levels.map(|level| level as u8));
                }
            }
            &Layout::Bytes { size, places } => {
                for (pixel, bytes) in target.zip(row.chunks_exact(size)) {
                    pixel.copy_from_slice(&places.map(|place| bytes[place]));
                }
            }
        }
    }
}

/// The indices of run-length data, a byte for each: `BmpRleDecoder` of Pillow's plugin.
fn run_lengths(bytes: &[u8], offset: usize, size: (u32, u32), are_nibbles: bool) -> Result<Vec<u8>> {
    let (columns, rows) = (size.0 as usize, size.1 as usize);
    let count = columns * rows;
    let mut indices = Vec::with_capacity(count);
    let mut rest = bytes.get(offset..).unwrap_or_default();
    let mut x = 0;
    while indices.len() < count {
        let missing = count - indices.len();
        match next_pair(&mut rest)? {
            // The end of the line, and of the bitmap.
            [0, 0] => {
                indices.resize(indices.len().next_multiple_of(columns), 0);
                x = 0;
            }
            [0, 1] => return Err(truncated()),
            // A delta.
            [0, 2] => {
                let [right, up] = next_pair(&mut rest)?.map(usize::from);
                indices.resize(indices.len() + missing.min(right + up * columns), 0);
                x = indices.len() % columns;
            }
            // Absolute mode. Such a run may go on in the next row, and is padded to an even place in the file.
            [0, length] => {
                let kept = missing.min(length.into());
                let size = if are_nibbles { kept.div_ceil(2) } else { kept };
                let (run, behind) = rest.split_at_checked(size).ok_or_else(truncated)?;
                if are_nibbles {
                    indices.extend(run.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(kept));
                } else {
                    indices.extend(run);
                }
                x += usize::from(length);
                let is_padded = !(bytes.len() - behind.len()).is_multiple_of(2);
                rest = behind.get(usize::from(is_padded)..).unwrap_or_default();
            }
            // Encoded mode. Such a run ends with the row.
            [length, value] => {
                let length = usize::from(length).min(columns.saturating_sub(x));
                let pair = if are_nibbles {
                    [value >> 4, value & 15]
                } else {
                    [value; 2]
                };
                indices.extend(pair.into_iter().cycle().take(length));
                x += length;
            }
        }
    }
    Ok(indices)
}

fn next_pair(rest: &mut &[u8]) -> Result<[u8; 2]> {
    let (&pair, behind) = rest.split_first_chunk().ok_or_else(truncated)?;
    *rest = behind;
    Ok(pair)
}
