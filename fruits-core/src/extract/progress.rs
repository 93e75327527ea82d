//! How far an extraction is.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::log;

/// A line comes when the time since the start has grown by this factor.
const SELDOM: f64 = 1.5;

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

/// Shows progress as [`Extraction::show_progress`](super::Extraction::show_progress) says.
pub(crate) fn show() -> Box<dyn FnMut(&Progress) + Send> {
    match std::io::stderr().is_terminal() {
        true => Box::new(bar()),
        false => Box::new(lines()),
    }
}

fn bar() -> impl FnMut(&Progress) + Send {
    let style = ProgressStyle::with_template("{bar:32} {msg}").expect("the template is valid");
    let bar = ProgressBar::new(1).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    move |progress| {
        bar.set_length(progress.found as u64);
        bar.set_position(progress.finished() as u64);
        bar.set_message(progress.to_string());
    }
}

fn lines() -> impl FnMut(&Progress) + Send {
    let mut next = Duration::ZERO;
    move |progress| {
        let is_last = !progress.is_listing && progress.finished() == progress.found;
        if is_last || progress.elapsed >= next {
            next = progress.elapsed.mul_f64(SELDOM);
            // A reader that is gone is no reason to fail.
            let _ = writeln!(log::stream(), "{progress}");
        }
    }
}
