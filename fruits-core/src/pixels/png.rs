//! PNG to RGB, row by row.
//!
//! Which chunks are read, which checksums count and when a file is refused is Pillow's `PngImagePlugin.py`, with the loading loop of its
//! `ImageFile.py`; how scanlines are inflated, unfiltered and deinterlaced is its `ZipDecode.c`; what becomes of a pixel is its `Unpack.c`
//! and `Convert.c`. Pillow reads a file in three parts, and so does this module: up to the image data it is strict, and every checksum
//! counts; of the image data it takes what the rows need, and leaves the rest; behind the image data it only minds that chunks are whole.

use zlib_rs::crc32::crc32;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::limits::{Limits, invalid, too_large, truncated, unsupported};
use super::rows::Rows;
use crate::error::Result;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// How much of a chunk of image data Pillow inflates at once: `MAXBLOCK` of `ImageFile.py`. It shows in damaged files: the checksum of the
/// whole stream counts only if it arrives along with the end of the last row.
const MAX_PIECE: usize = 1 << 16;

/// How long one compressed text or colour profile may be, and all texts together: constants of the same name in `PngImagePlugin.py`.
const MAX_TEXT_CHUNK: usize = 1 << 20;
const MAX_TEXT_MEMORY: usize = 64 * MAX_TEXT_CHUNK;

/// How many bytes all texts and profiles together may inflate to. Pillow counts characters, which have four bytes at most, so this only
/// ever refuses files of which Pillow inflates the same without counting.
const MAX_INFLATED: usize = 4 * MAX_TEXT_MEMORY;

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

/// Inflates texts and colour profiles, for nothing but their lengths: beyond these, Pillow refuses a file.
#[derive(Default)]
struct Texts {
    inflate: Option<Inflate>,
    /// For one of them.
    memory: Vec<u8>,
    /// Characters of all texts.
    characters: usize,
    /// Bytes of all that were inflated.
    inflated: usize,
}

impl Texts {
    /// `iCCP`.
    fn profile(&mut self, content: &[u8]) -> Result<()> {
        match split(content) {
            Some((_name, [0, profile @ ..])) => self.inflate(profile).map(drop),
            _ => Err(invalid("the colour profile is compressed in an unknown way")),
        }
    }

    /// `tEXt`.
    fn text(&mut self, content: &[u8]) -> Result<()> {
        match split(content) {
            Some((keyword, text)) if !keyword.is_empty() => self.add(text.len()),
            _ => Ok(()),
        }
    }

    /// `zTXt`.
    fn compressed(&mut self, content: &[u8]) -> Result<()> {
        match split(content) {
            None | Some((_, [])) => Ok(()),
            Some((keyword, [0, text @ ..])) => {
                let length = self.inflate(text)?.map_or(0, <[u8]>::len);
                if keyword.is_empty() { Ok(()) } else { self.add(length) }
            }
            _ => Err(invalid("a text is compressed in an unknown way")),
        }
    }

    /// `iTXt`. Pillow leaves out those that are damaged, and so those that are not UTF-8.
    fn international(&mut self, content: &[u8]) -> Result<()> {
        let Some((_keyword, [is_compressed, method, rest @ ..])) = split(content) else {
            return Ok(());
        };
        let Some((language, rest)) = split(rest) else {
            return Ok(());
        };
        let Some((keyword, text)) = split(rest) else {
            return Ok(());
        };
        let text = match (is_compressed, method) {
            (0, _) => Some(text),
            (_, 0) => self.inflate(text)?,
            _ => None,
        };
        match [Some(language), Some(keyword), text].map(|part| part.and_then(|part| str::from_utf8(part).ok())) {
            [Some(_), Some(_), Some(text)] => {
                let length = text.chars().count();
                self.add(length)
            }
            _ => Ok(()),
        }
    }

    /// `check_text_memory` of `PngImagePlugin.py`.
    fn add(&mut self, characters: usize) -> Result<()> {
        self.characters = self.characters.saturating_add(characters);
        match self.characters > MAX_TEXT_MEMORY {
            true => Err(too_large(format!("more than {MAX_TEXT_MEMORY} characters of text"))),
            false => Ok(()),
        }
    }

    /// `_safe_zlib_decompress` of `PngImagePlugin.py`: as much as there is of a stream that may be cut; nothing if it is damaged.
    fn inflate(&mut self, stream: &[u8]) -> Result<Option<&[u8]>> {
        let inflate = self.inflate.get_or_insert_with(|| Inflate::new(true, WINDOW_BITS));
        inflate.reset(true);
        self.memory.resize(MAX_TEXT_CHUNK, 0);
        let Ok(status) = inflate.decompress(stream, &mut self.memory, InflateFlush::SyncFlush) else {
            return Ok(None);
        };
        let length = inflate.total_out() as usize;
        self.inflated = self.inflated.saturating_add(length);
        let is_all = status == Status::StreamEnd || inflate.total_in() as usize == stream.len();
        match is_all && self.inflated <= MAX_INFLATED {
            true => Ok(self.memory.get(..length)),
            false => Err(too_large("the texts or colour profiles are too long")),
        }
    }
}

/// What is before and behind the first zero byte.
fn split(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = content.iter().position(|&byte| byte == 0)?;
    Some((content.get(..at)?, content.get(at.checked_add(1)?..)?))
}

/// What a pixel is in the file.
enum Format {
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
    fn length(&self, pixels: usize) -> usize {
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

/// The rows of the image data, one by one: `ImagingZipDecode` of `ZipDecode.c`. As there, no more is inflated than the next row
/// needs: what is wrong behind the last one only counts if it arrives in the same piece.
struct Scanlines<'f, 'a> {
    file: &'f mut File<'a>,
    /// Bytes of the current chunk that were not read.
    unread: usize,
    /// Those that were read, but not inflated.
    piece: &'a [u8],
    inflate: Inflate,
    /// Whether the stream ended with the last row. Pillow then takes the picture as it is.
    is_at_end: bool,
    /// Bytes from a pixel to the next one, but at least one.
    pixel: usize,
    /// The last row and the one above it, with their filter types.
    line: Vec<u8>,
    above: Vec<u8>,
}

impl<'f, 'a> Scanlines<'f, 'a> {
    /// Rows of at most `width` pixels, in image data that begins with a chunk of which `unread` bytes are left.
    fn new(file: &'f mut File<'a>, unread: usize, format: &Format, width: u32) -> Self {
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
    fn start_pass(&mut self) {
        self.line.fill(0);
    }

    /// The next row, of `length` bytes.
    fn next(&mut self, length: usize) -> Result<&[u8]> {
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
fn draw(lines: &mut Scanlines, header: &Header, area: &Area, format: &Format, rows: &mut impl Rows) -> Result<()> {
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
fn draw_interlaced(
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
