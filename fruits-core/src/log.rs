//! What happens, told to who asks: requests with their status, tries, bytes and time; waits; parts written; tasks of Spark.
//!
//! It is told through [`tracing`], by events whose targets begin with `fruits_core`, and costs nothing while nobody listens. Levels: what may
//! need somebody's attention is a warning; what a run does and what it has to do again is information; single requests are for debugging.
//! Credentials, signatures and the bytes of photos are in none of them.

use std::io::Write;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::fmt::time::uptime;
use tracing_subscriber::prelude::*;

/// The variable that says what is told, where nothing else does: `debug`, or `fruits_core::store=debug`.
pub(crate) const VARIABLE: &str = "RUST_LOG";
/// Whose events are written. Those of the crates below may hold what was signed.
const OURS: &str = "fruits";

/// Writes what happens to standard error from now on, in a notebook to standard output: warnings; with a `verbosity` of 1 what a run does, with 2 each request. 0 leaves it
/// to the variable `RUST_LOG`. If the process has a subscriber of its own, that one stays.
///
/// ```
/// fruits_core::log::show(1); // as `fruits -v` does
/// ```
pub fn show(verbosity: u8) {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let (targets, is_understood) = match verbosity {
        0 if asked.is_empty() => (Targets::new().with_default(LevelFilter::WARN), true),
        0 => match asked.parse::<Targets>() {
            Ok(targets) => (targets, true),
            Err(_) => (Targets::new().with_default(LevelFilter::WARN), false),
        },
        1 => (Targets::new().with_default(LevelFilter::INFO), true),
        _ => (Targets::new().with_default(LevelFilter::DEBUG), true),
    };
    let ours = Targets::new().with_target(OURS, LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stream)
        .with_timer(uptime())
        .with_target(false)
        .with_filter(targets.and(ours));
    let is_first = tracing_subscriber::registry().with(lines).try_init().is_ok();
    if is_first && !is_understood {
        tracing::warn!("{VARIABLE}={asked:?} is not understood; say `debug`, or `fruits_core::store=debug`");
    }
}

/// evcxr's variable of a process that runs cells.
pub(crate) const IN_NOTEBOOK: &str = "EVCXR_IS_RUNTIME";

/// In a notebook, standard error is for errors.
pub(crate) fn stream() -> Box<dyn Write> {
    match std::env::var_os(IN_NOTEBOOK) {
        Some(_) => Box::new(std::io::stdout()),
        None => Box::new(std::io::stderr()),
    }
}
