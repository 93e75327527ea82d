//! PNG to RGB, row by row.
//!
//! Which chunks are read, which checksums count and when a file is refused is Pillow's `PngImagePlugin.py`, with the loading loop of its
//! `ImageFile.py`; how scanlines are inflated, unfiltered and deinterlaced is its `ZipDecode.c`; what becomes of a pixel is its `Unpack.c`
//! and `Convert.c`. Pillow reads a file in three parts, and so does this module: up to the image data it is strict, and every checksum
//! counts; of the image data it takes what the rows need, and leaves the rest; behind the image data it only minds that chunks are whole.

mod picture;
mod scanlines;
mod texts;

use zlib_rs::crc32::crc32;

use super::limits::{Limits, invalid, truncated, unsupported};
use super::rows::Rows;
use crate::error::Result;
use picture::{Format, draw, draw_interlaced};
use scanlines::Scanlines;
use texts::Texts;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// How much of a chunk of image data Pillow inflates at once: `MAXBLOCK` of `ImageFile.py`. It shows in damaged files: the checksum of the
/// whole stream counts only if it arrives along with the end of the last row.
const MAX_PIECE: usize = 1 << 16;

/// Bits of the window of a zlib stream, RFC 1950: the largest.
const WINDOW_BITS: u8 = 15;

/// The frames that an APNG may claim to have: `chunk_acTL` of `PngImagePlugin.py`.
const MAX_FRAMES: u32 = 1 << 31;

/// Gives the picture in `bytes` to `rows`: the default image, or the first frame of an APNG if that comes first.
pub(super) fn decode(bytes: &[u8], limits: &Limits, rows: &mut impl Rows) -> Result<()> {
    let rest = bytes.strip_prefix(SIGNATURE).ok_or_else(|| invalid("not a PNG file"))?;
    let mut file = File {
        rest,
        limits,
        header: None,
        palette: None,
        has_one_transparent: false,
        frames: None,
        sequence: None,
        area: None,
        has_default_image: false,
        texts: Texts::default(),
    };
    let length = file.read_to_image_data()?;
    let header = file.header.ok_or_else(|| invalid("the header is missing"))?;
    let format = header.format(file.palette)?;
    let area = file.area.unwrap_or_else(|| header.whole());
    if area.width == 0 || area.height == 0 || !area.is_within(&header) {
        return Err(invalid("the first frame is empty or larger than the picture"));
    }
    rows.begin(header.width, header.height);
    let mut lines = Scanlines::new(&mut file, length, &format, area.width);
    match header.is_interlaced {
        false => draw(&mut lines, &header, &area, &format, rows)?,
        true => draw_interlaced(&mut lines, &header, &area, &format, rows)?,
    }
    let unread = lines.unread;
    file.read_to_end(unread)
}

/// `IHDR`.
#[derive(Clone, Copy)]
struct Header {
    width: u32,
    height: u32,
    bit_depth: u8,
    colour_type: u8,
    is_interlaced: bool,
}

impl Header {
    fn whole(&self) -> Area {
        Area {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        }
    }

    fn is_indexed(&self) -> bool {
        self.colour_type == 3
    }

    /// `_MODES` of `PngImagePlugin.py`. Alpha is dropped, and of two bytes the high one is kept, but 16-bit grey is clipped at 255.
    fn format(&self, palette: Option<&[u8]>) -> Result<Format> {
        let depth = self.bit_depth;
        let grey = |step: u8| {
            Format::Indexed(
                depth,
                Box::new(std::array::from_fn(|i| [step.wrapping_mul(i as u8); 3])),
            )
        };
        Ok(match (depth, self.colour_type) {
            (1, 0) => grey(255),
            (2, 0) => grey(85),
            (4, 0) => grey(17),
            (8, 0) => Format::Grey,
            (16, 0) => Format::Grey16,
            (8, 2) => Format::Rgb,
            (16, 2) => Format::Rgb16,
            (1 | 2 | 4 | 8, 3) => Format::Indexed(depth, Box::new(colours(palette.unwrap_or_default())?)),
            (8, 4) => Format::GreyAlpha,
            (16, 4) => Format::GreyAlpha16,
            (8, 6) => Format::Rgba,
            (16, 6) => Format::Rgba16,
            (_, colour) => return Err(unsupported(format!("PNG of colour type {colour} with {depth} bits"))),
        })
    }
}

/// Part of the picture: `fcTL`.
#[derive(Clone, Copy)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Area {
    fn is_within(&self, header: &Header) -> bool {
        let fits = |at: u32, length: u32, all: u32| at.checked_add(length).is_some_and(|end| end <= all);
        fits(self.x, self.width, header.width) && fits(self.y, self.height, header.height)
    }
}

/// The colours of a palette. A last one that is cut does not count, those that are missing are black.
fn colours(palette: &[u8]) -> Result<[[u8; 3]; 256]> {
    let (given, _) = palette.as_chunks::<3>();
    let mut colours = [[0; 3]; 256];
    match colours.get_mut(..given.len()) {
        Some(colours) => colours.copy_from_slice(given),
        None => return Err(invalid("the palette has more than 256 colours")),
    }
    Ok(colours)
}

enum Chunk<'a> {
    /// Image data of this length, which was not read.
    ImageData(usize),
    /// `IEND`, which was not read.
    End,
    /// Any other, with its content, which was read.
    Other(&'a [u8]),
}

/// A file and what its chunks said so far: `PngStream` of `PngImagePlugin.py`.
struct File<'a> {
    /// What was not read.
    rest: &'a [u8],
    limits: &'a Limits,
    header: Option<Header>,
    palette: Option<&'a [u8]>,
    /// Whether exactly one colour of the palette is transparent, and that wholly.
    has_one_transparent: bool,
    /// Of an animation.
    frames: Option<u32>,
    sequence: Option<u32>,
    area: Option<Area>,
    /// Whether the image data came before the first frame of an animation.
    has_default_image: bool,
    texts: Texts,
}

impl<'a> File<'a> {
    /// `_open` of `PngImagePlugin.py`: the length of the first chunk of image data, with everything before it read.
    fn read_to_image_data(&mut self) -> Result<usize> {
        loop {
            let (kind, length) = self.chunk()?;
            match self.read(kind, length)? {
                Chunk::ImageData(length) => return Ok(length),
                Chunk::End => return Err(invalid("there is no image in it")),
                Chunk::Other(content) => self.check(kind, content)?,
            }
        }
    }

    /// `load_read` of `PngImagePlugin.py`: more image data, of a chunk of which `unread` bytes are left. It is empty only if the file ends.
    fn piece(&mut self, unread: &mut usize) -> Result<&'a [u8]> {
        while *unread == 0 {
            self.skip_checksum();
            let (kind, length) = self.chunk()?;
            *unread = match &kind {
                b"IDAT" | b"DDAT" => length,
                b"fdAT" => self.frame_data(length)?,
                _ => return Err(truncated()),
            };
        }
        let length = MAX_PIECE.min(*unread);
        *unread -= length;
        Ok(self.take(length))
    }

    /// `load_end` of `PngImagePlugin.py`: the chunks behind the picture. The file may end with any of them, but not within one.
    fn read_to_end(&mut self, unread: usize) -> Result<()> {
        // The first frame counts, but for a default image before it, which is one more.
        let frames = u64::from(self.frames.unwrap_or(1)) + u64::from(self.has_default_image);
        // A palette behind the picture comes too late.
        let is_palette_missing = self.palette.is_none();
        self.take(unread);
        loop {
            self.skip_checksum();
            let Ok((kind, length)) = self.chunk() else { break };
            if kind == *b"fcTL" && frames > 1 {
                break;
            }
            match self.read(kind, length)? {
                Chunk::ImageData(length) => drop(self.content(length)?),
                Chunk::End => break,
                Chunk::Other(_) => {}
            }
        }
        match self.has_one_transparent && is_palette_missing {
            true => Err(invalid("a transparent colour without a palette")),
            false => Ok(()),
        }
    }

    /// The type and length of the next chunk.
    fn chunk(&mut self) -> Result<([u8; 4], usize)> {
        let (&[a, b, c, d, ref kind @ ..], rest) = self.rest.split_first_chunk::<8>().ok_or_else(truncated)?;
        if !kind.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(invalid(format!("\"{}\" is not a type of chunk", kind.escape_ascii())));
        }
        self.rest = rest;
        Ok((*kind, u32::from_be_bytes([a, b, c, d]) as usize))
    }

    /// As many bytes, or fewer if the file ends.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn content(&mut self, length: usize) -> Result<&'a [u8]> {
        let content = self.take(length);
        (content.len() == length).then_some(content).ok_or_else(truncated)
    }

    fn check(&mut self, kind: [u8; 4], content: &[u8]) -> Result<()> {
        let sum = crc32(crc32(0, &kind), content);
        match self.take(4) == sum.to_be_bytes() {
            true => Ok(()),
            false => Err(invalid(format!("the checksum of \"{}\" is wrong", kind.escape_ascii()))),
        }
    }

    fn skip_checksum(&mut self) {
        self.take(4);
    }

    /// Reads a chunk, but for its checksum: `chunk_IHDR` and the like of `PngImagePlugin.py`.
    fn read(&mut self, kind: [u8; 4], length: usize) -> Result<Chunk<'a>> {
        match &kind {
            b"IDAT" => {
                self.has_default_image |= self.frames.is_some() && self.area.is_none();
                return Ok(Chunk::ImageData(length));
            }
            b"fdAT" => return Ok(Chunk::ImageData(self.frame_data(length)?)),
            b"IEND" => return Ok(Chunk::End),
            _ => {}
        }
        let content = self.content(length)?;
        match &kind {
            b"IHDR" => self.image_header(content)?,
            b"PLTE" if self.header.is_some_and(|header| header.is_indexed()) => self.palette = Some(content),
            b"tRNS" => self.transparency(content)?,
            b"acTL" => self.animation_control(content)?,
            b"fcTL" => self.frame_control(content)?,
            b"gAMA" => at_least(4, content)?,
            b"cHRM" => at_least(32, content)?,
            b"sRGB" => at_least(1, content)?,
            b"pHYs" => at_least(9, content)?,
            b"iCCP" => self.texts.profile(content)?,
            b"tEXt" => self.texts.text(content)?,
            b"zTXt" => self.texts.compressed(content)?,
            b"iTXt" => self.texts.international(content)?,
            _ => {}
        }
        Ok(Chunk::Other(content))
    }

    fn image_header(&mut self, content: &[u8]) -> Result<()> {
        let Some(&[bit_depth, colour_type, _, filter_method, interlace_method]) = content.get(8..13) else {
            return Err(truncated());
        };
        if filter_method != 0 {
            return Err(unsupported(format!("PNG with filter method {filter_method}")));
        }
        let (width, height) = (number(content, 0)?, number(content, 1)?);
        let (width, height) = self.limits.check(width.into(), height.into())?;
        self.header = Some(Header {
            width,
            height,
            bit_depth,
            colour_type,
            is_interlaced: interlace_method != 0,
        });
        Ok(())
    }

    /// Only whether it is whole matters: in RGB there is no transparency.
    fn transparency(&mut self, content: &[u8]) -> Result<()> {
        match self.header.map(|header| header.colour_type) {
            Some(0) => at_least(2, content),
            Some(2) => at_least(6, content),
            Some(3) => {
                let mut others = content.iter().filter(|&&alpha| alpha != 255);
                self.has_one_transparent = others.next() == Some(&0) && others.next().is_none();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn animation_control(&mut self, content: &[u8]) -> Result<()> {
        at_least(8, content)?;
        let frames = number(content, 0)?;
        // A second one makes the first invalid.
        self.frames = match self.frames {
            None if (1..=MAX_FRAMES).contains(&frames) => Some(frames),
            _ => None,
        };
        Ok(())
    }

    fn frame_control(&mut self, content: &[u8]) -> Result<()> {
        at_least(26, content)?;
        self.count(number(content, 0)?)?;
        let area = Area {
            width: number(content, 1)?,
            height: number(content, 2)?,
            x: number(content, 3)?,
            y: number(content, 4)?,
        };
        match self.header {
            Some(header) if area.is_within(&header) => {
                self.area = Some(area);
                Ok(())
            }
            _ => Err(invalid("a frame is larger than the picture")),
        }
    }

    /// Reads the sequence number of a chunk of frame data: the length of what follows.
    fn frame_data(&mut self, length: usize) -> Result<usize> {
        let length = length.checked_sub(4).ok_or_else(truncated)?;
        let sequence = number(self.content(4)?, 0)?;
        match self.sequence {
            None => Err(invalid("frame data without a frame")),
            Some(_) => self.count(sequence).map(|()| length),
        }
    }

    /// Chunks of an animation are numbered.
    fn count(&mut self, sequence: u32) -> Result<()> {
        let expected = self.sequence.map_or(Some(0), |last| last.checked_add(1));
        self.sequence = Some(sequence);
        match expected == Some(sequence) {
            true => Ok(()),
            false => Err(invalid("the frames are out of sequence")),
        }
    }
}

/// One of the big-endian numbers that a chunk begins with.
fn number(content: &[u8], index: usize) -> Result<u32> {
    let (numbers, _) = content.as_chunks();
    numbers
        .get(index)
        .map(|&bytes| u32::from_be_bytes(bytes))
        .ok_or_else(truncated)
}

fn at_least(length: usize, content: &[u8]) -> Result<()> {
    if content.len() < length {
        Err(truncated())
    } else {
        Ok(())
    }
}
