//! The header and the first image file directory (IFD) of a TIFF file.
//!
//! What is skipped and where reading stops is `ImageFileDirectory_v2.load` of Pillow's `TiffImagePlugin.py`: a directory that is cut off
//! ends there, and of two entries with the same tag the first one counts.

use std::collections::HashMap;

use crate::error::Result;
use crate::pixels::limits::{invalid, truncated};

/// Which byte of a number comes first in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// "II"
    Little,
    /// "MM"
    Big,
}

impl ByteOrder {
    /// The number in at most eight bytes.
    pub fn number(self, bytes: &[u8]) -> u64 {
        let join = |number, &byte| number << 8 | u64::from(byte);
        match self {
            ByteOrder::Big => bytes.iter().fold(0, join),
            ByteOrder::Little => bytes.iter().rev().fold(0, join),
        }
    }
}

/// The sizes of a file's own numbers, in bytes.
struct Sizes {
    count: usize,
    offset: usize,
}

const CLASSIC: Sizes = Sizes { count: 2, offset: 4 };
const BIG: Sizes = Sizes { count: 8, offset: 8 };

impl Sizes {
    /// Of an entry: its tag and its type have two bytes each.
    fn entry(&self) -> u64 {
        4 + 2 * self.offset as u64
    }
}

/// `TIFFFetchDirectory` of libtiff's `tif_dirread.c`.
const MAX_ENTRIES: u64 = 4096;

/// The values of one tag, as they are in the file.
struct Field<'a> {
    kind: u16,
    values: &'a [u8],
}

pub struct Directory<'a> {
    pub order: ByteOrder,
    /// Whether libtiff reads it. Pillow itself also takes a header whose version is in the wrong byte order, and a part of a directory.
    pub is_sound: bool,
    fields: HashMap<u16, Field<'a>>,
}

impl<'a> Directory<'a> {
    /// The first directory of the file.
    pub fn read(file: &'a [u8]) -> Result<Self> {
        let (order, is_sound, sizes) = match file.get(..4) {
            Some(b"II\x2a\0") => (ByteOrder::Little, true, CLASSIC),
            Some(b"MM\0\x2a") => (ByteOrder::Big, true, CLASSIC),
            Some(b"II\x2b\0") => (ByteOrder::Little, file.get(4..8) == Some(&[8, 0, 0, 0]), BIG),
            Some(b"II\0\x2a") => (ByteOrder::Little, false, CLASSIC),
            // Pillow does not see that the last of them is a BigTIFF.
            Some(b"MM\x2a\0" | b"MM\0\x2b") => (ByteOrder::Big, false, CLASSIC),
            _ => return Err(invalid("not a TIFF file")),
        };
        let first = file.get(sizes.offset..2 * sizes.offset).ok_or_else(truncated)?;
        let mut directory = Directory {
            order,
            is_sound,
            fields: HashMap::new(),
        };
        match usize::try_from(order.number(first)) {
            Ok(0) => Err(invalid("there is no image in it")),
            Ok(first) => {
                directory.read_fields(file, first, &sizes);
                Ok(directory)
            }
            Err(_) => Err(truncated()),
        }
    }

    /// Stops where Pillow does: at the end of the file, and at values that lie behind it.
    fn read_fields(&mut self, file: &'a [u8], first: usize, sizes: &Sizes) -> Option<()> {
        let (count, mut entries) = file.get(first..)?.split_at_checked(sizes.count)?;
        let count = self.order.number(count);
        self.is_sound &= count <= MAX_ENTRIES && count * sizes.entry() <= entries.len() as u64;
        let mut outside = 0_u64;
        for _ in 0..count {
            let (tag, rest) = entries.split_at_checked(2)?;
            let (kind, rest) = rest.split_at_checked(2)?;
            let (count, rest) = rest.split_at_checked(sizes.offset)?;
            let (inside, rest) = rest.split_at_checked(sizes.offset)?;
            entries = rest;
            let (tag, kind) = (self.order.number(tag) as u16, self.order.number(kind) as u16);
            if self.fields.contains_key(&tag) {
                continue;
            }
            let Some(width) = width(kind) else { continue };
            let size = self.order.number(count).saturating_mul(width);
            let values = if size <= sizes.offset as u64 {
                inside.get(..size as usize)?
            } else {
                outside = outside.saturating_add(size);
                if outside > file.len() as u64 {
                    continue;
                }
                let start = usize::try_from(self.order.number(inside)).ok()?;
                file.get(start..start.checked_add(size as usize)?)?
            };
            if !values.is_empty() {
                self.fields.insert(tag, Field { kind, values });
            }
        }
        Some(())
    }

    pub fn has(&self, tag: u16) -> bool {
        self.fields.contains_key(&tag)
    }

    /// The values of a tag that holds whole numbers.
    pub fn numbers(&self, tag: u16) -> Option<impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + 'a> {
        let &Field { kind, values } = self.fields.get(&tag)?;
        let order = self.order;
        let is_number = !matches!(kind, 1 | 2 | 5 | 7 | 10 | 11 | 12);
        let width = width(kind).filter(|_| is_number)? as usize;
        let number = move |bytes| match (kind, order.number(bytes)) {
            (6, number) => i64::from(number as i8),
            (8, number) => i64::from(number as i16),
            (9, number) => i64::from(number as i32),
            (_, number) => i64::try_from(number).unwrap_or(i64::MAX),
        };
        Some(values.chunks_exact(width).map(number))
    }

    /// The first value of a tag that should have only one.
    pub fn number(&self, tag: u16) -> Result<Option<i64>> {
        match self.numbers(tag).and_then(|mut numbers| numbers.next()) {
            None if self.has(tag) => Err(invalid(format!("tag {tag} is not a number"))),
            number => Ok(number),
        }
    }

    /// The value of a tag that holds bytes.
    pub fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        let field = self.fields.get(&tag)?;
        matches!(field.kind, 1 | 7).then_some(field.values)
    }
}

/// The bytes of one value, by its type (TIFF 6.0, section 2; 13 and above: TIFF Technical Note 1 and BigTIFF).
fn width(kind: u16) -> Option<u64> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 => Some(8),
        _ => None,
    }
}
