//! Interrupts: the user of a notebook stops a cell, and the call that runs in it ends with an error, so that the variables stay; or a scheduler
//! stops a command, which then ends what it has begun elsewhere.
//!
//! A process that runs cells listens for SIGINT, which becomes a flag, and so does a program that [listens](listen). What takes long looks at it
//! about every tenth of a second: loops and threads `check` it, whoever waits has it `race` with that, and what cannot be stopped from within runs
//! `apart`. Two cells never run at the same time, so there is one flag for all; it stays until the next cell begins, so that whatever is begun after
//! an interrupt ends, too. No other process listens: there a signal ends the process, as ever, and all of this is no work.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, Step};

/// Time between two looks of whoever waits.
const LOOK: Duration = Duration::from_millis(50);

static IS_LISTENING: AtomicBool = AtomicBool::new(false);
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// What this process is to end by.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// From now on SIGINT and SIGTERM make what runs fail, so that it ends what it has begun elsewhere, such as a job of Spark; a second one ends
/// the process at once. To be called before anything is begun, by a program that [ends](end) by what it has heard.
#[allow(unsafe_code)] // system calls
pub fn listen() {
    extern "C" fn interrupt(signal: libc::c_int) {
        SIGNAL.store(signal, Relaxed);
        IS_INTERRUPTED.store(true, Relaxed);
        // SAFETY: handlers may call it.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let handler: extern "C" fn(libc::c_int) = interrupt;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler does what a handler may. What was ignored, as in the background of a shell, stays so.
        unsafe {
            if libc::signal(signal, handler as libc::sighandler_t) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
    IS_LISTENING.store(true, Relaxed);
}

/// Ends this process by the signal that it was sent, if there was one since it [listens](listen): whoever waits for it sees what it would see of
/// a process that does not listen.
#[allow(unsafe_code)] // a system call
pub fn end() {
    let signal = SIGNAL.load(Relaxed);
    if signal != 0 {
        // SAFETY: the signal's handler is the system's again.
        unsafe { libc::raise(signal) };
    }
}

/// From now on, an interrupt is for this cell. In a process that has just begun, it begins to listen.
pub(crate) fn begin_cell() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(listen_in_cells);
    IS_INTERRUPTED.store(false, Relaxed);
}

#[allow(unsafe_code)] // a system call
fn listen_in_cells() {
    extern "C" fn interrupt(_: libc::c_int) {
        IS_INTERRUPTED.store(true, Relaxed);
    }
    let handler: extern "C" fn(libc::c_int) = interrupt;
    // SAFETY: the handler does what a handler may: it stores a flag.
    let before = unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
    IS_LISTENING.store(before != libc::SIG_ERR, Relaxed);
}

/// Whether the cell is to end.
pub(crate) fn is_requested() -> bool {
    IS_INTERRUPTED.load(Relaxed)
}

/// Fails if the cell is to end. It costs nothing to speak of.
pub(crate) fn check(step: Step) -> Result<()> {
    match is_requested() {
        true => Err(error(step)),
        false => Ok(()),
    }
}

/// What a call fails with that was to end.
pub(crate) fn error(step: Step) -> Error {
    Error::new(ErrorKind::Interrupted, step, "", "interrupted")
}

/// Waits for a future, or fails if the cell is to end; then the future is dropped where it is.
pub(crate) async fn race<T>(step: Step, work: impl Future<Output = T>) -> Result<T> {
    if !IS_LISTENING.load(Relaxed) {
        return Ok(work.await);
    }
    let interrupted = async {
        loop {
            if let Err(error) = check(step) {
                return error;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    // In this order: work that is never waited for is stopped, too.
    tokio::select! {
        biased;
        error = interrupted => Err(error),
        result = work => Ok(result),
    }
}

/// What cannot be stopped from within, on a thread of its own. If the cell is to end, this fails, and the thread is left to finish what nobody
/// asks for any more.
pub(crate) fn apart<T: Send + 'static>(step: Step, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if !IS_LISTENING.load(Relaxed) {
        return Ok(work());
    }
    check(step)?;
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .spawn(move || _ = sender.send(work()))
        .map_err(|error| Error::from_source(step, "", error))?;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => check(step)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // It sent nothing: it panicked.
    match thread.join() {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(()) => Err(Error::new(ErrorKind::Io, step, "", "a thread ended without a result")),
    }
}
