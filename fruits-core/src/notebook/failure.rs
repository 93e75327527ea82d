//! How a cell fails: for evcxr, which says "ok" of every cell that runs, its error is a value like others. The relay between Jupyter and evcxr
//! knows it by its type.

use std::panic::{Location, PanicHookInfo};
use std::path::PathBuf;
use std::sync::Once;

use serde_json::json;

use crate::{interrupt, log};

/// The type that the relay knows.
const TYPE: &str = "application/x-fruits-error+json";
/// Where evcxr compiles cells.
const FOLDER: &str = "EVCXR_TMPDIR";
/// The cell as a file, as the compiler names it.
const CELL: &str = "src/lib.rs";

/// Says that the cell has ended by `?`, with this error. The compiler's stand-in puts this call where evcxr prints the error.
#[track_caller]
pub fn cell_failed(error: &str) {
    emit("Error", error, Some(Location::caller()));
}

/// What comes before a cell's own code: from now on, interrupts are for this cell. In a process that has just begun, it has panics said as what
/// they say and in which line, without what Rust was doing; and what happens told, if `RUST_LOG` asks for it. The compiler's stand-in puts this
/// call into every cell, since a second interrupt ends the process.
pub fn begin_cell() {
    static BEGUN: Once = Once::new();
    interrupt::begin_cell();
    BEGUN.call_once(|| {
        log::show(0);
        std::panic::set_hook(Box::new(say_panic));
    });
}

fn say_panic(panic: &PanicHookInfo) {
    let message = panic.payload_as_str().unwrap_or("a panic that says nothing");
    // What panics in a task is for whoever waits for the task.
    match std::thread::current().name() {
        Some(name) if name.starts_with("tokio") => eprintln!("a task panicked: {message}"),
        _ => emit("Panic", message, panic.location()),
    }
}

fn emit(kind: &str, message: &str, place: Option<&Location>) {
    // Whatever it ended with, it was to end.
    let kind = if interrupt::is_requested() { "Interrupted" } else { kind };
    let line = place.and_then(line_of_cell).unwrap_or_default();
    let failure = json!({ "kind": kind, "message": message, "line": line });
    // The text is for who speaks to evcxr without the relay.
    println!("EVCXR_BEGIN_CONTENT {TYPE}\n{failure}\nEVCXR_END_CONTENT");
    println!(
        "EVCXR_BEGIN_CONTENT text/plain\n{kind}: {}\nEVCXR_END_CONTENT",
        printed(message)
    );
}

/// The text of the line, if it is one of the cell.
fn line_of_cell(place: &Location) -> Option<String> {
    if place.file() != CELL {
        return None;
    }
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let source = std::fs::read_to_string(folder.join(CELL)).ok()?;
    let line = source.lines().nth(place.line() as usize - 1)?;
    Some(line.trim().to_owned())
}

/// Lines that evcxr would take for its own are told apart.
fn printed(message: &str) -> String {
    message.replace("EVCXR_", "EVCXR ")
}
