//! The first frame of a GIF to RGB.
//!
//! Names are those of CompuServe's GIF89a specification; the rules are Pillow's, from `GifImagePlugin.py` and `GifDecode.c`:
//!
//! - The picture is the logical screen, made larger where the frame sticks out. What the frame does not cover has the transparent index,
//!   or 0; the background colour plays no part. Transparency changes nothing else.
//! - A palette whose every entry is its own number in grey counts as none. The local palette wins over the global one; without both, indices
//!   are grey levels. Indices behind the end of a palette are black.
//! - The frame is done with its last pixel: nothing behind it is looked at. Before that, neither end codes nor block terminators end it, and
//!   of a sub-block that is cut off nothing counts. A frame with too few pixels is therefore refused.
//! - Damaged extensions are read as Pillow does, which decides whether a frame is found behind them. Other bytes between blocks are skipped.
//!
//! The LZW decoder is our own, because it has to go on after an end code: in a file of more than 64 KiB, Pillow does. The crate weezl agrees
//! with it on whole, cut and damaged codes, but stops there, and refuses a code size of 0.

use std::ops::Range;

use super::RgbImage;
use super::limits::{Limits, invalid, truncated};
use crate::error::Result;

/// `_accept` of Pillow's plugin.
const SIGNATURES: [&[u8]; 2] = [b"GIF87a", b"GIF89a"];

const EXTENSION_INTRODUCER: u8 = b'!';
const IMAGE_SEPARATOR: u8 = b',';
const TRAILER: u8 = b';';
const GRAPHIC_CONTROL: u8 = 0xf9;
const COMMENT: u8 = 0xfe;
const APPLICATION: u8 = 0xff;

/// Flags of the logical screen and of the frame.
const HAS_PALETTE: u8 = 0x80;
const IS_INTERLACED: u8 = 0x40;
/// A palette has two to the power of this plus one colours.
const PALETTE_SIZE: u8 = 7;
/// A flag of the graphic control extension.
const IS_TRANSPARENT: u8 = 1;

/// The largest LZW code has 12 bits. Pillow accepts as much for the smallest, where the specification says 8.
const MAX_CODE_BITS: u8 = 12;

/// `MAXBLOCK` of Pillow's `ImageFile.py`: it reads a file in pieces of as many bytes.
const PIECE: usize = 65536;

/// Where each pass over an interlaced frame begins, and the distance of its rows (appendix E of the specification).
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

type Colour = [u8; 3];

/// Whether Pillow takes this for a GIF.
pub(super) fn is_gif(bytes: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| bytes.starts_with(signature))
}

/// The first frame on its logical screen.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    let frame = Frame::read(bytes).ok_or_else(|| invalid("there is no frame in the GIF"))?;
    let (columns, rows) = (&frame.columns, &frame.rows);
    let (width, height) = limits.check(
        frame.screen.0.max(columns.end) as u64,
        frame.screen.1.max(rows.end) as u64,
    )?;
    if columns.is_empty() || rows.is_empty() {
        return Err(invalid(format!("a frame of {}x{} pixels", columns.len(), rows.len())));
    }
    let indices = lzw(frame.data, frame.min_code_size, columns.len() * rows.len())?;

    let colours = frame.colours();
    let colour = |&index: &u8| colours[usize::from(index)];
    let size = width as usize * height as usize;
    let mut levels = colour(&frame.transparent.unwrap_or(0)).repeat(size);
    let stride = width as usize * 3;
    for (y, indices) in frame.order_of_rows().zip(indices.chunks_exact(columns.len())) {
        let row = levels.chunks_exact_mut(stride).nth(y).unwrap_or_default();
        let pixels = row.chunks_exact_mut(3).skip(columns.start);
        for (pixel, index) in pixels.zip(indices) {
            pixel.copy_from_slice(&colour(index));
        }
    }
    RgbImage::from_raw(width, height, levels).ok_or_else(truncated)
}

/// What the file says of its first frame.
struct Frame<'a> {
    /// Width and height of the logical screen.
    screen: (usize, usize),
    /// Those of the screen that the frame covers. They may lie outside.
    columns: Range<usize>,
    rows: Range<usize>,
    /// Empty if there is none that Pillow uses.
    palette: &'a [u8],
    transparent: Option<u8>,
    is_interlaced: bool,
    min_code_size: u8,
    /// All that follows.
    data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// None if the file ends before, or if Pillow stumbles on an extension.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut blocks = Blocks(bytes);
        if !is_gif(blocks.take(6)) {
            return None;
        }
        let screen = (blocks.number()?, blocks.number()?);
        let &[flags, _background, _aspect_ratio] = blocks.array()?;
        let global = blocks.palette(flags);
        let mut transparent = None;
        loop {
            match blocks.byte()? {
                EXTENSION_INTRODUCER => transparent = blocks.extension()?.or(transparent),
                IMAGE_SEPARATOR => break,
                TRAILER => return None,
                _ => (),
            }
        }
        let (left, top) = (blocks.number()?, blocks.number()?);
        let (width, height) = (blocks.number()?, blocks.number()?);
        let flags = blocks.byte()?;
        let local = blocks.palette(flags);
        Some(Frame {
            screen,
            columns: left..left + width,
            rows: top..top + height,
            palette: local.or(global).unwrap_or_default(),
            transparent,
            is_interlaced: flags & IS_INTERLACED != 0,
            min_code_size: blocks.byte()?,
            data: blocks.0,
        })
    }

    /// The colour of each index.
    fn colours(&self) -> [Colour; 256] {
        if self.palette.is_empty() {
            return std::array::from_fn(|index| [index as u8; 3]);
        }
        let mut colours = [[0; 3]; 256];
        for (colour, entry) in colours.iter_mut().zip(self.palette.chunks_exact(3)) {
            colour.copy_from_slice(entry);
        }
        colours
    }

    /// The rows of the screen in the order in which the file has them.
    fn order_of_rows(&self) -> impl Iterator<Item = usize> {
        let passes = if self.is_interlaced { &PASSES[..] } else { &[(0, 1)] };
        let rows = self.rows.clone();
        passes
            .iter()
            .flat_map(move |&(start, step)| rows.clone().skip(start).step_by(step))
    }
}

/// The bytes that are not read yet.
struct Blocks<'a>(&'a [u8]);

impl<'a> Blocks<'a> {
    /// The next bytes, or as many as there are.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        self.take(N).first_chunk()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|&[byte]| byte)
    }

    fn number(&mut self) -> Option<usize> {
        self.array().map(|&number| u16::from_le_bytes(number).into())
    }

    /// The palette that these flags announce, unless there is none or every entry is its own number in grey.
    fn palette(&mut self, flags: u8) -> Option<&'a [u8]> {
        if flags & HAS_PALETTE == 0 {
            return None;
        }
        let palette = self.take(3 << ((flags & PALETTE_SIZE) + 1));
        let mut entries = (0_u8..=255).zip(palette.chunks(3));
        let is_needed = entries.any(|(index, entry)| entry != [index; 3]);
        is_needed.then_some(palette)
    }

    /// What `data` of Pillow's plugin returns: nothing for a block terminator, and an empty or short block where the file ends.
    fn sub_block(&mut self) -> Option<&'a [u8]> {
        let length = self.byte().filter(|&length| length > 0)?;
        Some(self.take(length.into()))
    }

    fn skip_sub_blocks(&mut self) {
        while self.sub_block().is_some_and(|block| !block.is_empty()) {}
    }

    /// Reads an extension, and says which index it makes transparent, if any. Behind an extension without data, Pillow goes on to skip the
    /// blocks of it.
    fn extension(&mut self) -> Option<Option<u8>> {
        let label = self.byte()?;
        let block = self.sub_block();
        let mut transparent = None;
        match (label, block) {
            (GRAPHIC_CONTROL, Some(block)) => {
                let [flags, _, _, index @ ..] = block else { return None };
                if flags & IS_TRANSPARENT != 0 {
                    transparent = Some(*index.first()?);
                }
            }
            (COMMENT, None) => return Some(None),
            (APPLICATION, Some(block)) if block.starts_with(b"NETSCAPE2.0") => {
                self.sub_block();
            }
            _ => (),
        }
        self.skip_sub_blocks();
        Some(transparent)
    }
}

/// The first `count` pixels of LZW data.
///
/// Each code stands for a string of pixels. A new one is the string before and the first pixel of the string now, and these lie side by side in
/// the output: the table only says where.
fn lzw(data: &[u8], min_code_size: u8, count: usize) -> Result<Vec<u8>> {
    if min_code_size > MAX_CODE_BITS {
        return Err(invalid(format!("an LZW code size of {min_code_size} bits")));
    }
    let clear = 1_usize << min_code_size;
    let end = clear + 1;
    let first_free = clear + 2;
    let max_strings = (1_usize << MAX_CODE_BITS).saturating_sub(first_free);

    let mut codes = Codes::new(data);
    let mut code_size = min_code_size + 1;
    let mut strings: Vec<Range<usize>> = Vec::with_capacity(max_strings);
    let mut previous: Option<Range<usize>> = None;
    // The last string may be longer than what is missing.
    let mut pixels = Vec::with_capacity(count + max_strings);
    while pixels.len() < count {
        let code = codes.next(code_size)?;
        if code == clear {
            strings.clear();
            previous = None;
            code_size = min_code_size + 1;
            continue;
        }
        if code == end {
            codes.read_on()?;
            continue;
        }
        let start = pixels.len();
        if let Some(string) = previous
            && strings.len() < max_strings
        {
            if first_free + strings.len() == (1 << code_size) - 1 && code_size < MAX_CODE_BITS {
                code_size += 1;
            }
            strings.push(string.start..string.end + 1);
        }
        if code < clear {
            pixels.push(code as u8);
        } else {
            let string = code.checked_sub(first_free).and_then(|index| strings.get(index));
            let string = string.ok_or_else(|| invalid("the LZW data is damaged"))?;
            pixels.extend_from_within(string.start..string.end.min(start));
            if string.end > start {
                // The newest string, whose last pixel is its own first one.
                pixels.extend_from_within(string.start..=string.start);
            }
        }
        previous = Some(start..pixels.len());
    }
    pixels.truncate(count);
    Ok(pixels)
}

/// Takes codes out of sub-blocks, the low bits first.
struct Codes<'a> {
    data: &'a [u8],
    /// Bytes of the data that are taken.
    at: usize,
    /// Bytes that are left of the sub-block.
    left: usize,
    /// How far Pillow has read.
    read: usize,
    bits: u32,
    bit_count: u8,
}

impl<'a> Codes<'a> {
    fn new(data: &'a [u8]) -> Self {
        Codes {
            data,
            at: 0,
            left: 0,
            read: PIECE,
            bits: 0,
            bit_count: 0,
        }
    }

    fn next(&mut self, size: u8) -> Result<usize> {
        while self.bit_count < size {
            let byte = *self.data.get(self.at).ok_or_else(truncated)?;
            self.at += 1;
            if self.left > 0 {
                self.left -= 1;
                self.bits |= u32::from(byte) << self.bit_count;
                self.bit_count += 8;
            } else {
                self.begin(byte.into())?;
            }
        }
        let code = self.bits & ((1 << size) - 1);
        self.bits >>= size;
        self.bit_count -= size;
        Ok(code as usize)
    }

    /// Begins a sub-block. Pillow takes nothing of one that is cut off, and one of no bytes does not end the data.
    fn begin(&mut self, length: usize) -> Result<()> {
        let end = self.at + length;
        if end > self.data.len() {
            return Err(truncated());
        }
        if end > self.read {
            self.read += PIECE;
        }
        self.left = length;
        Ok(())
    }

    /// After an end code, Pillow reads another piece of the file and goes on; it gives up if there is none.
    fn read_on(&mut self) -> Result<()> {
        if self.read >= self.data.len() {
            return Err(truncated());
        }
        self.read += PIECE;
        Ok(())
    }
}
