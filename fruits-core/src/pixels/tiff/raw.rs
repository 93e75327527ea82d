//! Uncompressed files, which Pillow reads by itself: `TiffImageFile._setup` in `TiffImagePlugin.py`, `ImageFile.load`, `RawDecode.c`.
//!
//! A strip or tile begins at its offset and takes as many bytes as its pixels need; how many it should have is not looked at. Those that are
//! missing leave their part of the picture empty, and those that are too many are drawn over the first ones.

use crate::error::Result;
use crate::pixels::RgbImage;
use crate::pixels::limits::{invalid, truncated, unsupported};

use super::directory::{ByteOrder, Directory};
use super::pixels::{Colour, Format, Number, Unpacker};
use super::{Canvas, Header, tag};

/// How often a picture may be drawn over, as a limit of time.
const MAX_LAYERS: u64 = 8;

/// A strip or tile, or its part within the picture.
struct Tile {
    x: u64,
    y: u64,
    width: u64,
    height: u64,
    /// Which band it holds, if each lies for itself.
    band: usize,
    offset: u64,
    /// The bytes from row to row; 0 if nothing lies between them.
    stride: u64,
}

impl Tile {
    fn place(&self) -> [u64; 4] {
        [self.x, self.y, self.band as u64, self.stride]
    }
}

pub fn decode(file: &[u8], directory: &Directory, mut header: Header) -> Result<RgbImage> {
    let pixel_bits = header.format.bits * header.format.samples;
    let bands = match header.is_planar {
        true => forget_details(&mut header.format)?,
        false => 1,
    };
    let is_reversed = header.is_reversed && !header.is_planar;
    // Pillow has these formats in `OPEN_INFO`, but nothing in `Unpack.c` that reads them.
    match (&header.format.colour, header.format.bits) {
        (Colour::Grey { inverted: true }, 8) | (Colour::Palette, 1 | 2 | 4) if is_reversed => {
            return Err(unsupported("an uncompressed TIFF of this kind with reversed bits"));
        }
        _ => {}
    }
    let samples = if header.is_planar { 1 } else { header.format.samples };
    let row_bits = (header.format.bits * samples) as u64;
    let tiles = tiles(directory, &header, bands, pixel_bits as u64)?;
    let order = if header.is_planar {
        ByteOrder::Little
    } else {
        directory.order
    };
    let unpacker = Unpacker::new(&header.format, order, &header.palette);
    let mut canvas = Canvas::new(&header, unpacker, bands);
    let mut reversed = Vec::new();
    for tile in &tiles {
        let size = (tile.width * row_bits).div_ceil(8);
        let stride = if tile.stride == 0 { size } else { tile.stride };
        if stride < size {
            return Err(invalid("the rows of a tile overlap"));
        }
        for row in 0..tile.height {
            let start =
                usize::try_from(tile.offset.saturating_add(row.saturating_mul(stride))).map_err(|_| truncated())?;
            let mut bytes = file
                .get(start..)
                .and_then(|rest| rest.get(..size as usize))
                .ok_or_else(truncated)?;
            if is_reversed {
                reversed.clear();
                reversed.extend(bytes.iter().map(|byte| byte.reverse_bits()));
                bytes = &reversed;
            }
            canvas.draw(
                bytes,
                tile.x as usize,
                (tile.y + row) as usize,
                tile.width as usize,
                tile.band,
            );
        }
    }
    canvas.finish()
}

/// How many bands lie one after the other, if each lies for itself.
///
/// What Pillow knows of such a band is one letter of the name of its format. It forgets the rest: samples have eight bits, or one if they
/// are black or white, or 32 if Pillow keeps as many; no grey is inverted.
fn forget_details(format: &mut Format) -> Result<usize> {
    let unsupported = || unsupported("an uncompressed TIFF of this kind with each channel for itself");
    let is_black_or_white = matches!(format.colour, Colour::Grey { .. }) && format.bits == 1;
    let bits = if is_black_or_white { 1 } else { 8 };
    match (&mut format.colour, format.samples) {
        (Colour::Grey { inverted }, 1) => *inverted = false,
        (Colour::Palette, 1) | (Colour::Rgb | Colour::Cmyk, _) => {}
        (Colour::Clipped(Number::Unsigned), _) if format.bits != 32 => return Err(unsupported()),
        (Colour::Clipped(_), _) => {
            format.bits = 32;
            return Ok(1);
        }
        _ => return Err(unsupported()),
    }
    format.bits = bits;
    Ok(format.bands)
}

/// The strips or tiles in the order in which Pillow draws them.
fn tiles(directory: &Directory, header: &Header, bands: usize, pixel_bits: u64) -> Result<Vec<Tile>> {
    let (image_width, image_height) = (u64::from(header.width), u64::from(header.height));
    let required = |number: Option<i64>| match number.map(u64::try_from) {
        Some(Ok(number @ 1..)) => Ok(number),
        _ => Err(invalid("strips or tiles without a size")),
    };
    let (offsets, width, height) = if directory.has(tag::STRIP_OFFSETS) {
        let rows = match directory.number(tag::ROWS_PER_STRIP)? {
            None => image_height,
            rows => required(rows)?,
        };
        (tag::STRIP_OFFSETS, image_width, rows)
    } else {
        let width = required(directory.number(tag::TILE_WIDTH)?)?;
        (tag::TILE_OFFSETS, width, required(directory.number(tag::TILE_LENGTH)?)?)
    };
    let offsets = directory
        .numbers(offsets)
        .ok_or_else(|| invalid("there are no strips or tiles"))?;
    let is_whole = (width, height) == (image_width, image_height) && !header.is_planar;
    let skipped = if is_whole { offsets.len().saturating_sub(1) } else { 0 };
    let divisor = if header.is_planar {
        8 * header.channels as u64
    } else {
        8
    };

    let (mut x, mut y, mut band, mut area) = (0, 0, 0, 0);
    let max_area = image_width * image_height * MAX_LAYERS * bands as u64;
    let mut tiles = Vec::new();
    for offset in offsets.skip(skipped) {
        let (right, bottom) = (width.saturating_add(x), height.saturating_add(y));
        let tile = Tile {
            x,
            y,
            width: right.min(image_width) - x,
            height: bottom.min(image_height) - y,
            band,
            offset: u64::try_from(offset).map_err(|_| truncated())?,
            stride: if right > image_width {
                width.saturating_mul(pixel_bits) / divisor
            } else {
                0
            },
        };
        area += tile.width * tile.height;
        if band >= bands || area > max_area {
            return Err(invalid("more strips or tiles than the picture has"));
        }
        tiles.push(tile);
        x = right;
        if x >= image_width {
            (x, y) = (0, bottom);
            if y >= image_height {
                y = 0;
                band += usize::from(header.is_planar);
            }
        }
    }
    tiles.sort_by_key(|tile| tile.offset);
    // Of those for the same place that follow one another, only the last one is drawn.
    tiles.dedup_by(|next, tile| {
        let is_same = next.place() == tile.place();
        if is_same {
            tile.offset = next.offset;
        }
        is_same
    });
    Ok(tiles)
}
