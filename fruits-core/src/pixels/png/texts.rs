//! Texts and colour profiles of a PNG: Pillow refuses a file in which they are too long.

use zlib_rs::{Inflate, InflateFlush, Status};

use super::WINDOW_BITS;
use crate::error::Result;
use crate::pixels::limits::{invalid, too_large};

/// How long one compressed text or colour profile may be, and all texts together: constants of the same name in `PngImagePlugin.py`.
const MAX_TEXT_CHUNK: usize = 1 << 20;
const MAX_TEXT_MEMORY: usize = 64 * MAX_TEXT_CHUNK;

/// How many bytes all texts and profiles together may inflate to. Pillow counts characters, which have four bytes at most, so this only
/// ever refuses files of which Pillow inflates the same without counting.
const MAX_INFLATED: usize = 4 * MAX_TEXT_MEMORY;

/// Inflates texts and colour profiles, for nothing but their lengths: beyond these, Pillow refuses a file.
#[derive(Default)]
pub(super) struct Texts {
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
    pub fn profile(&mut self, content: &[u8]) -> Result<()> {
        match split(content) {
            Some((_name, [0, profile @ ..])) => self.inflate(profile).map(drop),
            _ => Err(invalid("the colour profile is compressed in an unknown way")),
        }
    }

    /// `tEXt`.
    pub fn text(&mut self, content: &[u8]) -> Result<()> {
        match split(content) {
            Some((keyword, text)) if !keyword.is_empty() => self.add(text.len()),
            _ => Ok(()),
        }
    }

    /// `zTXt`.
    pub fn compressed(&mut self, content: &[u8]) -> Result<()> {
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
    pub fn international(&mut self, content: &[u8]) -> Result<()> {
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
