//! The JPEG streams of strips and tiles. What libtiff accepts of them is in its `tif_jpeg.c`.

use crate::error::Result;
use crate::pixels::limits::{invalid, truncated, unsupported};

/// Four tables of each kind need less than 3,000 bytes.
const MAX_TABLES: usize = 1 << 14;

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const RESTART_INTERVAL: u8 = 0xdd;
/// The first "start of frame" whose picture comes in several scans, or in another code than Huffman's.
const PROGRESSIVE: u8 = 0xc2;

/// Adobe's marker segment, all but the last byte: the transform, 0 for none or 1 for YCbCr.
const ADOBE: &[u8] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0";

/// What the frame header says.
pub struct Frame {
    pub width: usize,
    pub height: usize,
    precision: u8,
    /// Of each component: how many samples it has horizontally (the high four bits) and vertically.
    sampling: Vec<u8>,
}

impl Frame {
    fn new(segment: &[u8]) -> Option<Frame> {
        let &[precision, h1, h0, w1, w0, count, ref components @ ..] = segment.get(4..)? else {
            return None;
        };
        let components = components.chunks_exact(3).take(count.into());
        Some(Frame {
            width: u16::from_be_bytes([w1, w0]).into(),
            height: u16::from_be_bytes([h1, h0]).into(),
            precision,
            sampling: components.filter_map(|part| part.get(1).copied()).collect(),
        })
    }

    /// Whether it fits to what the directory says.
    pub fn check(&self, samples: usize, is_ycc: bool) -> Result<()> {
        let (count, precision) = (self.sampling.len(), self.precision);
        if precision != 8 || count != samples {
            return Err(invalid(format!(
                "a JPEG of {count} channels of {precision} bits in a TIFF of {samples}"
            )));
        }
        let is_known = |(channel, &sampling): (usize, &u8)| match channel {
            0 if is_ycc => matches!((sampling >> 4, sampling & 15), (1 | 2 | 4, 1 | 2 | 4)),
            _ => sampling == 0x11,
        };
        if !self.sampling.iter().enumerate().all(is_known) {
            return Err(invalid("a JPEG with reduced channels in a TIFF of another kind"));
        }
        match samples {
            1 | 3 | 4 => Ok(()),
            _ => Err(unsupported(format!("a TIFF with {samples} channels of JPEG"))),
        }
    }
}

/// Joins the directory's tables and a strip's or tile's own data to one stream.
///
/// For libtiff it is the directory that says whether there is YCbCr. libjpeg goes by the markers of applications, so those that there are
/// are left out, and Adobe's is put in.
pub fn join(tables: &[u8], data: &[u8], is_ycc: bool) -> Result<(Vec<u8>, Frame)> {
    if tables.len() > MAX_TABLES {
        return Err(invalid(format!("{} bytes of JPEG tables", tables.len())));
    }
    let mut stream = vec![0xff, START_OF_IMAGE];
    stream.reserve_exact(ADOBE.len() + 1 + tables.len() + data.len());
    stream.extend_from_slice(ADOBE);
    stream.push(is_ycc.into());
    if !tables.is_empty() {
        let mut tables = content(tables)?;
        while let Some((marker, segment)) = next_segment(&mut tables) {
            if marker == START_OF_SCAN || is_frame(marker) {
                return Err(invalid("an image among the JPEG tables"));
            }
            stream.extend_from_slice(segment);
        }
    }
    let mut data = content(data)?;
    let (mut frame, mut is_simple) = (None, true);
    while let Some((marker, mut segment)) = next_segment(&mut data) {
        match marker {
            RESTART_INTERVAL => is_simple = false,
            START_OF_SCAN if is_simple => segment = only_scan(segment, frame.as_ref()).unwrap_or(segment),
            _ if is_frame(marker) => {
                frame = Frame::new(segment);
                is_simple &= marker < PROGRESSIVE;
            }
            _ => {}
        }
        stream.extend_from_slice(segment);
    }
    stream.extend_from_slice(&[0xff, END_OF_IMAGE]);
    Ok((stream, frame.ok_or_else(truncated)?))
}

/// A scan of all channels, without what comes behind it. Damage there does not matter: libtiff takes an error at the end for none.
fn only_scan<'a>(scan: &'a [u8], frame: Option<&Frame>) -> Option<&'a [u8]> {
    let &[_, _, l1, l0, count, ..] = scan else { return None };
    if usize::from(count) != frame?.sampling.len() {
        return None;
    }
    let start = 2 + usize::from(u16::from_be_bytes([l1, l0]));
    let length = scan
        .get(start..)?
        .windows(2)
        .position(|pair| matches!(pair, [0xff, 1..=0xfe]))?;
    scan.get(..start + length)
}

fn content(stream: &[u8]) -> Result<&[u8]> {
    stream
        .strip_prefix(&[0xff, START_OF_IMAGE])
        .ok_or_else(|| invalid("JPEG data that does not begin as such"))
}

/// Any "start of frame".
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf)
}

/// The next marker and its segment, but none of an application's. With the first scan comes all that follows.
fn next_segment<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    loop {
        let start = rest.windows(2).position(|pair| matches!(pair, [0xff, 1..=0xfe]))?;
        let found = rest.get(start..)?;
        let &[_, marker, ref behind @ ..] = found else {
            return None;
        };
        let length = match marker {
            END_OF_IMAGE => return None,
            START_OF_SCAN => found.len(),
            // These have no content.
            0x01 | 0xd0..=START_OF_IMAGE => 2,
            _ => 2 + usize::from(u16::from_be_bytes(*behind.first_chunk()?)),
        };
        let (segment, behind) = found.split_at_checked(length)?;
        *rest = behind;
        if !matches!(marker, 0xe0..=0xef) {
            return Some((marker, segment));
        }
    }
}
