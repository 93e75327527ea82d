//! The program `fruits` as notebooks need it: what Spark starts in its tasks, linked to the library that cells have.

use std::process::ExitCode;

use fruits_core::tokio::runtime::Runtime;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("worker") {
        eprintln!("fruits: the notebook kernel's, for tasks of Spark; `cargo install --path fruits-core` brings the command");
        return ExitCode::FAILURE;
    }
    fruits_core::log::show(0);
    let work = Runtime::new().map(|runtime| runtime.block_on(fruits_core::spark::work()));
    match work {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => eprintln!("fruits: {error}"),
        Err(error) => eprintln!("fruits: no threads can be started: {error}"),
    }
    ExitCode::FAILURE
}
