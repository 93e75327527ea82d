//! What the pixels of a PNG mean, and where they go.

use super::scanlines::Scanlines;
use super::{Area, Header};
use crate::error::Result;
use crate::pixels::rows::Rows;

/// What a pixel is in the file.
pub(super) enum Format {
    /// Levels or indices of 1, 2, 4 or 8 bits, and the colours that they stand for.
    Indexed(u8, Box<[[u8; 3]; 256]>),
    Grey,
    Grey16,
    GreyAlpha,
    GreyAlpha16,
    Rgb,
    Rgb16,
    Rgba,
    Rgba16,
}

impl Format {
    fn bits(&self) -> usize {
        match *self {
            Format::Indexed(bits, _) => bits.into(),
            Format::Grey => 8,
            Format::Grey16 | Format::GreyAlpha => 16,
            Format::Rgb => 24,
            Format::GreyAlpha16 | Format::Rgba => 32,
            Format::Rgb16 => 48,
            Format::Rgba16 => 64,
        }
    }

    /// Bytes of a row without its filter type.
    pub fn length(&self, pixels: usize) -> usize {
        pixels.saturating_mul(self.bits()).div_ceil(8)
    }

    /// What Pillow leaves where no pixel was drawn: zeros.
    fn blank(&self) -> [u8; 3] {
        match self {
            Format::Indexed(_, colours) => colours[0],
            _ => [0; 3],
        }
    }

    /// A row to RGB.
    fn unpack(&self, row: &[u8], levels: &mut [[u8; 3]]) {
        match self {
            Format::Indexed(8, colours) => {
                for (level, &index) in levels.iter_mut().zip(row) {
                    *level = colours[usize::from(index)];
                }
            }
            Format::Indexed(bits, colours) => {
                let (bits, mask) = (u32::from(*bits), u8::MAX >> (8 - bits));
                let per_byte = 8 / bits as usize;
                for (levels, &byte) in levels.chunks_mut(per_byte).zip(row) {
                    let mut byte = byte;
                    for level in levels {
                        byte = byte.rotate_left(bits);
                        *level = colours[usize::from(byte & mask)];
                    }
                }
            }
            Format::Grey => pick(row, levels, |&[grey]| [grey; 3]),
            Format::Grey16 => pick(row, levels, |&[high, low]| [if high > 0 { 255 } else { low }; 3]),
            Format::GreyAlpha => pick(row, levels, |&[grey, _]| [grey; 3]),
            Format::GreyAlpha16 => pick(row, levels, |&[grey, _, _, _]| [grey; 3]),
            Format::Rgb => pick(row, levels, |&rgb| rgb),
            Format::Rgb16 => pick(row, levels, |&[r, _, g, _, b, _]| [r, g, b]),
            Format::Rgba => pick(row, levels, |&[r, g, b, _]| [r, g, b]),
            Format::Rgba16 => pick(row, levels, |&[r, _, g, _, b, _, _, _]| [r, g, b]),
        }
    }
}

fn pick<const BYTES: usize>(row: &[u8], levels: &mut [[u8; 3]], colour: impl Fn(&[u8; BYTES]) -> [u8; 3]) {
    for (level, pixel) in levels.iter_mut().zip(row.as_chunks().0) {
        *level = colour(pixel);
    }
}

/// One of the seven passes of an interlaced picture, PNG specification, section 8.1: where its first pixel is, and how many there are
/// from one to the next.
struct Pass {
    x: usize,
    y: usize,
    columns: usize,
    rows: usize,
}

const ADAM7: [Pass; 7] = [
    pass(0, 0, 8, 8),
    pass(4, 0, 8, 8),
    pass(0, 4, 4, 8),
    pass(2, 0, 4, 4),
    pass(0, 2, 2, 4),
    pass(1, 0, 2, 2),
    pass(0, 1, 1, 2),
];

const fn pass(x: usize, y: usize, columns: usize, rows: usize) -> Pass {
    Pass { x, y, columns, rows }
}

/// Draws row by row.
pub(super) fn draw(
    lines: &mut Scanlines,
    header: &Header,
    area: &Area,
    format: &Format,
    rows: &mut impl Rows,
) -> Result<()> {
    let blank = vec![format.blank(); header.width as usize];
    let mut levels = blank.clone();
    let columns = area.x as usize..area.x as usize + area.width as usize;
    let length = format.length(columns.len());
    for y in 0..header.height {
        let is_drawn = y >= area.y && y - area.y < area.height && !lines.is_at_end;
        if is_drawn {
            format.unpack(lines.next(length)?, levels.get_mut(columns.clone()).unwrap_or_default());
        }
        rows.row(if is_drawn { &levels } else { &blank }.as_flattened());
    }
    Ok(())
}

/// Draws an interlaced picture, of which no row is known until all are. Pillow draws it at the top left, even if it is a frame that
/// belongs elsewhere.
pub(super) fn draw_interlaced(
    lines: &mut Scanlines,
    header: &Header,
    area: &Area,
    format: &Format,
    rows: &mut impl Rows,
) -> Result<()> {
    let width = header.width as usize;
    let mut picture = vec![format.blank(); width * header.height as usize];
    let mut levels = vec![[0; 3]; area.width as usize];
    for pass in ADAM7 {
        let pixels = (area.width as usize).saturating_sub(pass.x).div_ceil(pass.columns);
        let levels = levels.get_mut(..pixels).unwrap_or_default();
        lines.start_pass();
        for y in (pass.y..area.height as usize).step_by(pass.rows) {
            if pixels == 0 || lines.is_at_end {
                break;
            }
            format.unpack(lines.next(format.length(pixels))?, levels);
            let targets = picture.iter_mut().skip(y * width + pass.x).step_by(pass.columns);
            targets.zip(&*levels).for_each(|(target, level)| *target = *level);
        }
    }
    picture.chunks_exact(width).for_each(|row| rows.row(row.as_flattened()));
    Ok(())
}
