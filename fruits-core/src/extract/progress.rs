//! How far an extraction is.

use std::time::Duration;

/// How far an extraction is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Photos that have features.
    pub done: usize,
    /// Photos of these whose features an earlier run had computed.
    pub reused: usize,
    /// Photos that failed.
    pub failed: usize,
    /// Photos found so far.
    pub found: usize,
    /// Whether more may be found.
    pub is_listing: bool,
    /// Time since the start.
    pub elapsed: Duration,
}

impl Progress {
    /// Photos that are finished, with features or without.
    pub fn finished(&self) -> usize {
        self.done + self.failed
    }

    /// Photos a second, failed ones too, but not those that an earlier run had computed.
    pub fn rate(&self) -> f64 {
        (self.finished() - self.reused) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Time left at this rate; nothing before the first photo is done, or as long as more may be found.
    pub fn remaining(&self) -> Option<Duration> {
        if self.is_listing {
            return None;
        }
        let left = self.found.saturating_sub(self.finished());
        Duration::try_from_secs_f64(left as f64 / self.rate()).ok()
    }
}

/// `320 of 344 photos, 1 failed, 38.2 photos/s, 1 s left`.
impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let more = if self.is_listing { "more than " } else { "" };
        write!(f, "{} of {more}{} photos", self.finished(), self.found)?;
        if self.reused > 0 {
            write!(f, ", {} from an earlier run", self.reused)?;
        }
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        write!(f, ", {:.1} photos/s", self.rate())?;
        match self.remaining() {
            Some(left) if self.finished() < self.found => write!(f, ", {:.0} s left", left.as_secs_f64().ceil()),
            _ => Ok(()),
        }
    }
}
