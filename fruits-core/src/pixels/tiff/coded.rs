//! Compressed files, which Pillow leaves to libtiff: `TiffDecode.c`; libtiff's `tif_dirread.c`, `tif_read.c` and `tif_strip.c`.
//!
//! A strip or tile that is missing or damaged, or of which a part lies behind the end of the file, is an error.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::pixels::RgbImage;
use crate::pixels::jpeg::decode_part;
use crate::pixels::limits::{invalid, too_large, truncated, unsupported};

use super::codec::{Codec, Compression, accumulate};
use super::directory::{ByteOrder, Directory};
use super::jpeg::{Frame, join};
use super::pixels::{Colour, Number, Unpacker};
use super::{Canvas, Header, tag};

/// Pixels that tiles may have beyond the picture: one beyond as many as it has, all together beyond four times as many.
const MAX_PADDING: u64 = 1 << 22;
/// Bytes of a strip or tile, beyond sixteen times those of the file: some may be the same.
const MAX_REPEATED: u64 = 1 << 10;

/// Tags that must have one value: `TIFFReadDirectory`. For Pillow itself, the first one counts.
const SINGLE: [u16; 7] = [
    tag::IMAGE_WIDTH,
    tag::IMAGE_LENGTH,
    tag::SAMPLES_PER_PIXEL,
    tag::ROWS_PER_STRIP,
    tag::PLANAR_CONFIGURATION,
    tag::TILE_WIDTH,
    tag::TILE_LENGTH,
];

/// Rows of a JPEG below the picture.
const MAX_ROWS_BELOW: usize = 64;

/// How the picture is cut up.
struct Grid {
    is_tiled: bool,
    width: usize,
    height: usize,
    across: usize,
    down: usize,
    image_width: usize,
    image_height: usize,
}

impl Grid {
    fn new(directory: &Directory, header: &Header) -> Result<Grid> {
        let (image_width, image_height) = (header.width as usize, header.height as usize);
        let is_tiled = directory.has(tag::TILE_WIDTH) || directory.has(tag::TILE_LENGTH);
        let side = |number: Option<i64>| match number {
            Some(number @ 1..=0x7fff_ffff) => Ok(number as usize),
            _ => Err(invalid("strips or tiles without a size")),
        };
        let (width, height) = if is_tiled {
            (
                side(directory.number(tag::TILE_WIDTH)?)?,
                side(directory.number(tag::TILE_LENGTH)?)?,
            )
        } else {
            let rows = match directory.number(tag::ROWS_PER_STRIP)? {
                None | Some(0xffff_ffff) => image_height,
                rows => side(rows)?.min(image_height),
            };
            (image_width, rows)
        };
        let (across, down) = (image_width.div_ceil(width), image_height.div_ceil(height));
        let area = (across * width) as u64 * (down * height) as u64;
        let image_area = (image_width * image_height) as u64;
        let is_too_large = (width * height) as u64 > image_area + MAX_PADDING;
        if is_too_large || area > 4 * image_area + MAX_PADDING {
            return Err(too_large(format!(
                "tiles of {width}x{height} pixels for a picture of {image_width}x{image_height}"
            )));
        }
        Ok(Grid {
            is_tiled,
            width,
            height,
            across,
            down,
            image_width,
            image_height,
        })
    }

    /// The strips or tiles in the order in which they are read, and what number each is in the file.
    fn places(&self, bands: usize) -> impl Iterator<Item = (usize, Place)> + '_ {
        let rows = (0..self.down).flat_map(move |row| (0..bands).map(move |band| (row, band)));
        rows.flat_map(move |(row, band)| {
            (0..self.across).map(move |column| {
                let (x, y) = (column * self.width, row * self.height);
                let place = Place {
                    x,
                    y,
                    width: self.width.min(self.image_width - x),
                    rows: if self.is_tiled {
                        self.height
                    } else {
                        self.height.min(self.image_height - y)
                    },
                    band,
                };
                ((band * self.down + row) * self.across + column, place)
            })
        })
    }

    /// Whether a JPEG of this size fits into a place. In the last strip it may go on below the picture; how far is our limit, of memory.
    fn has_room(&self, place: &Place, frame: &Frame) -> bool {
        let is_last_strip = !self.is_tiled && place.y + place.rows == self.image_height;
        frame.width <= self.width && frame.height <= place.rows
            || is_last_strip && frame.width == self.width && frame.height <= self.image_height + MAX_ROWS_BELOW
    }
}

/// What a strip or tile shows.
struct Place {
    x: usize,
    y: usize,
    /// That part which is within the picture.
    width: usize,
    /// All rows of a tile, even those below the picture.
    rows: usize,
    band: usize,
}

/// Where the strips or tiles lie.
struct Chunks<'a> {
    file: &'a [u8],
    offsets: Vec<i64>,
    /// Missing if they have to be guessed.
    sizes: Option<Vec<i64>>,
    /// Whether their bytes begin with the lowest bit.
    is_reversed: bool,
    /// The bytes of one when it is decompressed.
    max_size: usize,
}

impl<'a> Chunks<'a> {
    fn get(&self, index: usize) -> Result<Cow<'a, [u8]>> {
        let (start, size) = self.range(index)?;
        let rest = usize::try_from(start).ok().and_then(|start| self.file.get(start..));
        let data = match (rest, size) {
            (Some(rest), Some(size)) => rest.get(..size),
            (rest, None) => rest,
            (None, _) => None,
        };
        let data = data.filter(|data| !data.is_empty()).ok_or_else(truncated)?;
        Ok(match self.is_reversed {
            true => data.iter().map(|byte| byte.reverse_bits()).collect(),
            false => Cow::Borrowed(data),
        })
    }

    /// The offset, and the size if it is known. `TIFFFillStrip` takes an enormous size for a mistake.
    fn range(&self, index: usize) -> Result<(i64, Option<usize>)> {
        let &start = self.offsets.get(index).ok_or_else(truncated)?;
        let Some(sizes) = &self.sizes else {
            return Ok((start, None));
        };
        let size = sizes
            .get(index)
            .and_then(|&size| usize::try_from(size).ok())
            .ok_or_else(truncated)?;
        let most = self.max_size.saturating_mul(10).saturating_add(4096);
        let is_enormous = size > 1 << 20 && (size - 4096) / 10 > self.max_size;
        Ok((start, Some(if is_enormous { most } else { size })))
    }
}

fn chunks<'a>(
    file: &'a [u8],
    directory: &Directory,
    header: &Header,
    grid: &Grid,
    max_size: usize,
) -> Result<Chunks<'a>> {
    let planes = if header.is_planar { header.samples_in_file } else { 1 };
    let count = grid.across.saturating_mul(grid.down).saturating_mul(planes);
    let list = |tile_tag, strip_tag| {
        let numbers = directory.numbers(tile_tag).or_else(|| directory.numbers(strip_tag))?;
        Some(numbers.take(count).collect::<Vec<_>>())
    };
    let Some(offsets) = list(tag::TILE_OFFSETS, tag::STRIP_OFFSETS) else {
        return Err(invalid("there are no strips or tiles"));
    };
    let sizes = list(tag::TILE_BYTE_COUNTS, tag::STRIP_BYTE_COUNTS);
    let is_empty = !grid.is_tiled && count == 1 && sizes.as_deref() == Some(&[0]);
    if sizes.is_none() && count != 1 {
        return Err(invalid("the strips or tiles have no sizes"));
    }
    let chunks = Chunks {
        file,
        offsets,
        sizes: sizes.filter(|_| !is_empty),
        is_reversed: header.is_reversed && header.compression != Compression::Jpeg,
        max_size,
    };
    let sum = (0..chunks.offsets.len()).try_fold(0_u64, |sum, index| {
        let (_, size) = chunks.range(index)?;
        Ok::<_, Error>(sum.saturating_add(size.unwrap_or(file.len()) as u64))
    })?;
    match sum > 16 * file.len() as u64 + MAX_REPEATED * count as u64 {
        true => Err(truncated()),
        false => Ok(chunks),
    }
}

/// Where the rows of a strip or tile come from.
enum Source<'a> {
    Coded(Codec),
    Jpeg {
        tables: &'a [u8],
        is_ycc: bool,
        samples: usize,
    },
}

impl Source<'_> {
    /// Hands on the rows, and what number each is.
    fn read(
        &mut self,
        mut data: &[u8],
        row: &mut [u8],
        place: &Place,
        grid: &Grid,
        mut put: impl FnMut(&mut [u8], usize),
    ) -> Result<()> {
        match self {
            Source::Coded(codec) => {
                codec.start(data)?;
                for y in 0..place.rows {
                    codec.read(&mut data, row)?;
                    put(row, y);
                }
            }
            Source::Jpeg {
                tables,
                is_ycc,
                samples,
            } => {
                let (stream, frame) = join(tables, data, *is_ycc)?;
                frame.check(*samples, *is_ycc)?;
                if !grid.has_room(place, &frame) {
                    return Err(invalid("a JPEG that is larger than its strip or tile"));
                }
                let pixels = decode_part(&stream, frame.width, frame.height, *samples)?;
                // If it is smaller, the rest is black.
                let mut lines = pixels.chunks_exact((frame.width * *samples).max(1));
                for y in 0..place.rows {
                    row.fill(0);
                    if let Some((part, line)) = lines.next().and_then(|line| Some((row.get_mut(..line.len())?, line))) {
                        part.copy_from_slice(line);
                    }
                    put(row, y);
                }
            }
        }
        Ok(())
    }
}

/// Whether rows hold differences from the pixel before.
fn is_predicted(directory: &Directory, header: &Header) -> Result<bool> {
    if !matches!(header.compression, Compression::Lzw | Compression::Deflate) {
        return Ok(false);
    }
    match (directory.number(tag::PREDICTOR)?.unwrap_or(1), header.format.bits) {
        (1, _) => Ok(false),
        (2, 8 | 16 | 32) => Ok(true),
        (3, 32) => Err(unsupported("a TIFF with the predictor of floating-point numbers")),
        (other, bits) => Err(invalid(format!("a TIFF with predictor {other} for {bits} bits"))),
    }
}

/// What libtiff and Pillow's call of it read in another way than the tags say, or not at all.
fn check(directory: &Directory, header: &mut Header) -> Result<()> {
    let Header {
        compression,
        is_planar,
        ref mut format,
        ..
    } = *header;
    let is_jpeg = compression == Compression::Jpeg;
    if !directory.is_sound {
        return Err(invalid("the directory of the TIFF is damaged"));
    }
    let colours = directory.numbers(tag::COLOR_MAP).map_or(0, |numbers| numbers.len());
    if format.colour == Colour::Palette && format.bits < 8 && colours != 3 << format.bits {
        return Err(invalid(format!(
            "a colour map of {colours} numbers for {} bits",
            format.bits
        )));
    }
    if SINGLE
        .iter()
        .any(|&tag| directory.numbers(tag).is_some_and(|numbers| numbers.len() > 1))
    {
        return Err(invalid("a tag of the TIFF has more than its one value"));
    }
    if !matches!(directory.number(tag::PLANAR_CONFIGURATION)?, None | Some(1 | 2)) {
        return Err(invalid("a TIFF of an unknown planar configuration"));
    }
    if header.photometric == 6 && !(is_jpeg && format.samples == 3 && !is_planar) {
        return Err(unsupported(
            "a TIFF with YCbCr that is not in JPEG with all channels together",
        ));
    }
    if is_jpeg && format.bits != 8 {
        return Err(invalid(format!("JPEG of {} bits", format.bits)));
    }
    if is_planar && format.bands != format.samples {
        return Err(unsupported(
            "a compressed TIFF of this kind with each channel for itself",
        ));
    }
    match format.colour {
        Colour::YCbCr => format.colour = Colour::Rgb,
        // A fourth channel that nothing is said of is taken for alpha that the colours were multiplied by.
        Colour::Rgb if is_planar && format.bands == 4 && header.has_unknown_alpha => {
            format.colour = Colour::Premultiplied
        }
        _ => {}
    }
    Ok(())
}

pub fn decode(file: &[u8], directory: &Directory, mut header: Header) -> Result<RgbImage> {
    check(directory, &mut header)?;
    let is_predicted = is_predicted(directory, &header)?;
    let (bits, samples) = (
        header.format.bits,
        if header.is_planar { 1 } else { header.format.samples },
    );
    let grid = Grid::new(directory, &header)?;
    let row_size = (grid.width * samples * bits).div_ceil(8);
    let chunks = chunks(file, directory, &header, &grid, row_size.saturating_mul(grid.height))?;
    let mut source = match header.compression {
        Compression::Jpeg => Source::Jpeg {
            tables: directory.bytes(tag::JPEG_TABLES).unwrap_or_default(),
            is_ycc: header.photometric == 6,
            samples,
        },
        other => Source::Coded(Codec::new(other, &chunks.get(0)?)?),
    };

    // libtiff makes numbers little-endian. Pillow forgets that for some kinds.
    let is_swapped = directory.order == ByteOrder::Big && matches!(bits, 16 | 32);
    let order = match header.format.colour {
        Colour::Clipped(Number::Signed | Number::Float) => directory.order,
        _ => ByteOrder::Little,
    };
    let bands = if header.is_planar { header.format.bands } else { 1 };
    let mut canvas = Canvas::new(&header, Unpacker::new(&header.format, order, &header.palette), bands);
    let mut row = vec![0; row_size];
    for (index, place) in grid.places(bands) {
        let data = chunks.get(index)?;
        source.read(&data, &mut row, &place, &grid, |row, y| {
            if is_swapped {
                row.chunks_exact_mut(bits / 8).for_each(<[u8]>::reverse);
            }
            if is_predicted {
                accumulate(row, bits, samples);
            }
            canvas.draw(row, place.x, place.y + y, place.width, place.band);
        })?;
    }
    canvas.finish()
}
