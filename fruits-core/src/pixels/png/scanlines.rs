//! The rows of a PNG, inflated and unfiltered.

use zlib_rs::{Inflate, InflateFlush, Status};

use super::picture::Format;
use super::{File, WINDOW_BITS};
use crate::error::Result;
use crate::pixels::limits::{invalid, truncated};

/// The rows of the image data, one by one: `ImagingZipDecode` of `ZipDecode.c`. As there, no more is inflated than the next row
/// needs: what is wrong behind the last one only counts if it arrives in the same piece.
pub(super) struct Scanlines<'f, 'a> {
    file: &'f mut File<'a>,
    /// Bytes of the current chunk that were not read.
    pub unread: usize,
    /// Those that were read, but not inflated.
    piece: &'a [u8],
    inflate: Inflate,
    /// Whether the stream ended with the last row. Pillow then takes the picture as it is.
    pub is_at_end: bool,
    /// Bytes from a pixel to the next one, but at least one.
    pixel: usize,
    /// The last row and the one above it, with their filter types.
    line: Vec<u8>,
    above: Vec<u8>,
}

impl<'f, 'a> Scanlines<'f, 'a> {
    /// Rows of at most `width` pixels, in image data that begins with a chunk of which `unread` bytes are left.
    pub fn new(file: &'f mut File<'a>, unread: usize, format: &Format, width: u32) -> Self {
        let longest = 1 + format.length(width as usize);
        Scanlines {
            file,
            unread,
            piece: &[],
            inflate: Inflate::new(true, WINDOW_BITS),
            is_at_end: false,
            pixel: format.length(1),
            line: vec![0; longest],
            above: vec![0; longest],
        }
    }

    /// Forgets the last row: above the first one of a pass, all is black.
    pub fn start_pass(&mut self) {
        self.line.fill(0);
    }

    /// The next row, of `length` bytes.
    pub fn next(&mut self, length: usize) -> Result<&[u8]> {
        std::mem::swap(&mut self.line, &mut self.above);
        self.inflate(1 + length)?;
        let (Some((filter, row)), Some((_, above))) = (self.line.split_first_mut(), self.above.split_first()) else {
            return Err(truncated());
        };
        let row = row.get_mut(..length).ok_or_else(truncated)?;
        match self.pixel {
            1 => unfilter::<1>(*filter, row, above)?,
            2 => unfilter::<2>(*filter, row, above)?,
            3 => unfilter::<3>(*filter, row, above)?,
            4 => unfilter::<4>(*filter, row, above)?,
            6 => unfilter::<6>(*filter, row, above)?,
            _ => unfilter::<8>(*filter, row, above)?,
        }
        Ok(row)
    }

    /// Inflates a row into the line.
    fn inflate(&mut self, length: usize) -> Result<()> {
        let mut rest = self.line.get_mut(..length).unwrap_or_default();
        while !rest.is_empty() {
            if self.piece.is_empty() {
                self.piece = self.file.piece(&mut self.unread)?;
            }
            if self.piece.is_empty() || self.is_at_end {
                return Err(truncated());
            }
            let before = (self.inflate.total_in(), self.inflate.total_out());
            self.is_at_end = match self.inflate.decompress(self.piece, rest, InflateFlush::NoFlush) {
                Ok(Status::Ok) => false,
                Ok(Status::StreamEnd) => true,
                Ok(Status::BufError) => return Err(truncated()),
                Err(error) => return Err(invalid(format!("the image data is damaged: {}", error.as_str()))),
            };
            let (read, written) = (self.inflate.total_in() - before.0, self.inflate.total_out() - before.1);
            self.piece = self.piece.get(read as usize..).unwrap_or_default();
            rest = rest.get_mut(written as usize..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Undoes a filter, PNG specification, section 9.2.
fn unfilter<const PIXEL: usize>(filter: u8, row: &mut [u8], above: &[u8]) -> Result<()> {
    match filter {
        0 => {}
        1 => predict::<PIXEL>(row, above, |left, _, _| left),
        2 => row
            .iter_mut()
            .zip(above)
            .for_each(|(byte, &up)| *byte = byte.wrapping_add(up)),
        3 => predict::<PIXEL>(row, above, |left, up, _| ((u16::from(left) + u16::from(up)) / 2) as u8),
        4 => predict::<PIXEL>(row, above, paeth),
        other => return Err(invalid(format!("filter {other} is not defined"))),
    }
    Ok(())
}

/// Adds to each byte what its neighbours predict: those to the left, above, and above to the left.
fn predict<const PIXEL: usize>(row: &mut [u8], above: &[u8], predictor: impl Fn(u8, u8, u8) -> u8) {
    let (mut left, mut corner) = ([0; PIXEL], [0; PIXEL]);
    for (pixel, up) in row
        .as_chunks_mut::<PIXEL>()
        .0
        .iter_mut()
        .zip(above.as_chunks::<PIXEL>().0)
    {
        for i in 0..PIXEL {
            pixel[i] = pixel[i].wrapping_add(predictor(left[i], up[i], corner[i]));
        }
        (left, corner) = (*pixel, *up);
    }
}

/// Of the three, the one that is nearest to left + up - corner; the first of those that are equally near.
fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let [a, b, c] = [left, up, corner].map(i16::from);
    let (to_left, to_up, to_corner) = ((b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs());
    if to_left <= to_up && to_left <= to_corner {
        left
    } else if to_up <= to_corner {
        up
    } else {
        corner
    }
}
