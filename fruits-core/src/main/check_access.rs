//! `fruits check-access`.

use clap::Args;
use fruits_core::error::printable;
use fruits_core::{Error, Result};

use crate::say;

#[derive(Args)]
pub struct CheckAccessArgs {
    /// Location of photos or of outputs
    location: String,
    /// Write nothing
    #[arg(long)]
    read_only: bool,
}

pub async fn check_access(args: CheckAccessArgs) -> Result<()> {
    let tell = |step: &str, found: std::result::Result<&str, &Error>| match found {
        Ok(found) => say(format!("{step:<13} {found}")),
        Err(error) => say(format!("{step:<13} FAILED: {}", printable(error.message()))),
    };
    fruits_core::check_access(&args.location, args.read_only, tell).await
}
