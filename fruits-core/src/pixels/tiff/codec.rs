//! The compressions, and the differences between neighbours that some files hold. The rules are those of libtiff 4.7, to which Pillow leaves
//! compressed files: `tif_lzw.c`, `tif_zip.c`, `tif_packbits.c`, `tif_predict.c`.

use flate2::{Decompress, FlushDecompress, Status};
use weezl::{BitOrder, LzwStatus, decode::Decoder};

use crate::error::Result;
use crate::pixels::limits::{damaged, invalid, truncated, unsupported};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
}

impl Compression {
    /// `COMPRESSION_INFO` of `TiffImagePlugin.py`, of which some are left out.
    pub fn new(tag: i64) -> Result<Self> {
        let other = match tag {
            1 => return Ok(Compression::None),
            5 => return Ok(Compression::Lzw),
            7 => return Ok(Compression::Jpeg),
            8 | 32946 => return Ok(Compression::Deflate),
            32773 => return Ok(Compression::PackBits),
            2 | 3 | 4 | 32771 => "fax",
            6 => "old-style JPEG",
            32809 => "ThunderScan",
            34676 | 34677 => "SGILog",
            34925 => "LZMA",
            50000 => "Zstandard",
            50001 => "WebP",
            _ => return Err(invalid(format!("unknown TIFF compression {tag}"))),
        };
        Err(unsupported(format!("a TIFF with {other} compression")))
    }
}

/// Decompresses one strip or tile after the other, row by row.
pub enum Codec {
    Lzw(Decoder, BitOrder),
    Deflate(Decompress),
    PackBits(Run),
}

/// What PackBits has begun to write.
pub enum Run {
    Literal(usize),
    Repeat(usize, u8),
}

impl Codec {
    /// `first` is the first strip or tile of the picture, which shows whether LZW is that of writers before 1993.
    pub fn new(compression: Compression, first: &[u8]) -> Result<Self> {
        match compression {
            Compression::Lzw if begins_with_clear(first, BitOrder::Lsb) => {
                Ok(Codec::Lzw(Decoder::new(BitOrder::Lsb, 8), BitOrder::Lsb))
            }
            Compression::Lzw => Ok(Codec::Lzw(
                Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
                BitOrder::Msb,
            )),
            Compression::Deflate => Ok(Codec::Deflate(Decompress::new(true))),
            Compression::PackBits => Ok(Codec::PackBits(Run::Literal(0))),
            Compression::None | Compression::Jpeg => Err(invalid("not a stream of bytes")),
        }
    }

    /// Gets ready for another strip or tile.
    pub fn start(&mut self, data: &[u8]) -> Result<()> {
        match self {
            Codec::Lzw(_, order) if !begins_with_clear(data, *order) => {
                return Err(invalid("LZW that does not begin with an empty table"));
            }
            Codec::Lzw(decoder, _) => decoder.reset(),
            Codec::Deflate(stream) => stream.reset(true),
            Codec::PackBits(run) => *run = Run::Literal(0),
        }
        Ok(())
    }

    /// Fills the next row, and steps over the input that it takes.
    pub fn read(&mut self, input: &mut &[u8], row: &mut [u8]) -> Result<()> {
        match self {
            Codec::Lzw(decoder, _) => decode_lzw(decoder, input, row),
            Codec::Deflate(stream) => inflate(stream, input, row),
            Codec::PackBits(run) => unpack_bits(run, input, row).ok_or_else(truncated),
        }
    }
}

/// Whether the first nine bits are the code 256.
fn begins_with_clear(data: &[u8], order: BitOrder) -> bool {
    match (order, data) {
        (BitOrder::Msb, [0x80, second, ..]) => second >> 7 == 0,
        (BitOrder::Lsb, [0, second, ..]) => second & 1 == 1,
        _ => false,
    }
}

fn decode_lzw(decoder: &mut Decoder, input: &mut &[u8], mut row: &mut [u8]) -> Result<()> {
    while !row.is_empty() {
        let step = decoder.decode_bytes(input, row);
        *input = input.get(step.consumed_in..).unwrap_or_default();
        row = row.get_mut(step.consumed_out..).unwrap_or_default();
        // The decoder looks ahead: what is wrong behind the row does not matter.
        if !row.is_empty() {
            let is_done = matches!(step.status.map_err(damaged)?, LzwStatus::Done);
            if is_done || (step.consumed_in, step.consumed_out) == (0, 0) {
                return Err(truncated());
            }
        }
    }
    Ok(())
}

fn inflate(stream: &mut Decompress, input: &mut &[u8], mut row: &mut [u8]) -> Result<()> {
    while !row.is_empty() {
        let before = (stream.total_in(), stream.total_out());
        let status = stream.decompress(input, row, FlushDecompress::None).map_err(damaged)?;
        let (taken, made) = (stream.total_in() - before.0, stream.total_out() - before.1);
        *input = input.get(taken as usize..).unwrap_or_default();
        row = row.get_mut(made as usize..).unwrap_or_default();
        if !row.is_empty() && (status == Status::StreamEnd || (taken, made) == (0, 0)) {
            return Err(truncated());
        }
    }
    Ok(())
}

/// TIFF 6.0, section 9; a run may go on in the next row.
fn unpack_bits(run: &mut Run, input: &mut &[u8], mut row: &mut [u8]) -> Option<()> {
    while !row.is_empty() {
        let left = match run {
            Run::Literal(left) | Run::Repeat(left, _) => left,
        };
        let count = (*left).min(row.len());
        *left -= count;
        let (target, rest) = row.split_at_mut_checked(count)?;
        row = rest;
        match *run {
            Run::Literal(_) => target.copy_from_slice(input.split_off(..count)?),
            Run::Repeat(_, byte) => target.fill(byte),
        }
        if !row.is_empty() {
            *run = match *input.split_off_first()? as i8 {
                -128 => Run::Literal(0),
                length @ 0.. => Run::Literal(length as usize + 1),
                length => Run::Repeat(usize::from(length.unsigned_abs()) + 1, *input.split_off_first()?),
            };
        }
    }
    Some(())
}

/// Turns differences from the pixel before into levels; numbers of more than a byte are little-endian. `stride` is a pixel's number of samples.
pub fn accumulate(row: &mut [u8], bits: usize, stride: usize) {
    match bits {
        8 => accumulate_bytes(row, stride),
        _ => accumulate_numbers(row, bits / 8, stride),
    }
}

fn accumulate_bytes(row: &mut [u8], stride: usize) {
    let mut last = [0_u8; crate::pixels::tiff::pixels::MAX_SAMPLES];
    for pixel in row.chunks_exact_mut(stride) {
        for (level, last) in pixel.iter_mut().zip(&mut last) {
            *last = last.wrapping_add(*level);
            *level = *last;
        }
    }
}

fn accumulate_numbers(row: &mut [u8], width: usize, stride: usize) {
    let mut last = [0_u32; crate::pixels::tiff::pixels::MAX_SAMPLES];
    for pixel in row.chunks_exact_mut(width * stride) {
        for (bytes, last) in pixel.chunks_exact_mut(width).zip(&mut last) {
            let difference = bytes
                .iter()
                .rev()
                .fold(0, |number, &byte| number << 8 | u32::from(byte));
            *last = last.wrapping_add(difference);
            for (byte, sum) in bytes.iter_mut().zip(last.to_le_bytes()) {
                *byte = sum;
            }
        }
    }
}
