//! `fruits`: the crate on the command line.

mod check;
mod check_access;
mod features;
mod identify;
mod pca;
mod place;
mod report;
mod train;

use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use fruits_core::IfExists;

use check::CheckArgs;
use check_access::CheckAccessArgs;
use features::FeaturesArgs;
use identify::{IdentifyArgs, ServeArgs};
use pca::{PcaArgs, ProjectArgs};
use report::ReportArgs;
use train::{EvaluateArgs, TrainArgs};

/// Image features, exact PCA and reports for folders of labelled photos.
///
/// A photo's label is the name of the folder it lies in. Photos that cannot be read become rows of a failures table; the run goes on.
///
/// Every location is a folder or s3://bucket/prefix. Credentials, region and endpoint for S3 are found as the AWS command line finds
/// them, proxies and certificates, too; AWS_SKIP_SIGNATURE=true reads public buckets without credentials, AWS_REQUEST_PAYER=requester
/// agrees to pay for requests, AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true or false says whether the bucket's name goes into the host's.
#[derive(Parser)]
#[command(name = "fruits", version, arg_required_else_help = true)]
struct Cli {
    /// Tell what happens on standard error; -vv tells of each request, too [default: as the variable RUST_LOG says]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compute the MobileNetV2 features of all photos in a folder (1280 numbers a photo)
    ///
    /// Writes Parquet files with the columns path, label and features to LOCATION/features, and beside them what failed
    /// (_failures-*.jsonl), a manifest (_manifest.json), and _SUCCESS last. Exits with 0 when every photo is either a row or a listed
    /// failure. What a run that was stopped has written stays: the same command with --resume goes on. All of this holds in Spark (--on), too,
    /// and the rows are the same, bit for bit.
    Features(FeaturesArgs),
    /// Fit an exact PCA to features, and project them
    ///
    /// Writes the components and the projected photos as Parquet to LOCATION/components and LOCATION/projection, a manifest, and
    /// _SUCCESS last. Features are read part by part, twice, so memory does not grow with the number of photos. The first time, for the fit, Spark
    /// can read them (--on); they are projected here.
    Pca(PcaArgs),
    /// Project other photos on a PCA that was saved
    ///
    /// Writes the components and the projected photos to LOCATION/components and LOCATION/projection, as `fruits pca` does.
    Project(ProjectArgs),
    /// Do the work of one task of a Spark job: lines of JSON in, one line out
    ///
    /// Started by Spark, not by people: see the documentation of fruits_core::spark.
    Worker,
    /// Make a report of features and their PCA: one HTML file that needs no network
    Report(ReportArgs),
    /// Look for what may be wrong with photos: duplicates, wrong labels, photos that do not belong
    ///
    /// Writes FOLDER/report.html and FOLDER/issues.parquet, a row a photo and issue: path, label, issue, score, proposal, evidence. Exits with 1 if
    /// there are issues of a kind that --fail-on names.
    Check(CheckArgs),
    /// Train a classifier that tells which fruit is on a photo, and measure how far it can be trusted
    ///
    /// Prints how often it is right about photos like those that it has seen, and, what counts, about photos taken apart. Writes LOCATION/photos, a
    /// table of the photos that it knows, its numbers, a manifest, and _SUCCESS last.
    Train(TrainArgs),
    /// Measure how often a classifier is right about other photos
    Evaluate(EvaluateArgs),
    /// Tell which fruit is on a photo, or on each of many
    ///
    /// Of one photo, prints the most probable labels and the nearest photos. Of many, prints a line each, or writes LOCATION/answers as Parquet with
    /// the columns path, answer, probability, known, is_unknown, answers and probabilities, and beside it what failed.
    Identify(IdentifyArgs),
    /// Serve a page on this machine where a photo is dropped, and answered
    ///
    /// POST /identify with a photo as the body answers JSON. Listens on 127.0.0.1 only, and keeps no photo.
    Serve(ServeArgs),
    /// Try whether a location can be used: which settings lead there, and what may be done
    ///
    /// Lists, reads, measures the line, and writes, copies and deletes one small object of its own. What it prints has no secret in it and can
    /// be sent to whoever runs the network. Exits with 0 if all of it works.
    CheckAccess(CheckAccessArgs),
}

#[derive(Args)]
struct Output {
    /// Location to write; must be new or empty
    #[arg(short, long, value_name = "LOCATION")]
    out: String,
    /// Replace an earlier output there, finished or not
    #[arg(long)]
    overwrite: bool,
    /// Print one line of JSON at the end, alone on standard output
    #[arg(long)]
    json: bool,
}

impl Output {
    fn if_exists(&self) -> IfExists {
        if self.overwrite {
            IfExists::Replace
        } else {
            IfExists::Refuse
        }
    }
}

fn main() -> ExitCode {
    use_one_arena();
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => {
            tell(format!("fruits: no threads can be started: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// glibc gives threads arenas of their own, and tensors that wander from thread to thread leave every one of them large. With one
/// arena, 344 photos take 159 MB instead of 462 MB, and no more time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn use_one_arena() {
    // SAFETY: it sets a number, and no other thread is there yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn use_one_arena() {}

async fn run() -> ExitCode {
    let Cli { verbose, command } = parse();
    fruits_core::log::show(verbose);
    let result = match command {
        Command::Features(args) => features::features(args, verbose == 0).await,
        Command::Pca(args) => pca::pca(args).await,
        Command::Project(args) => pca::project(args).await,
        Command::Report(args) => report::report(args).await,
        Command::Check(args) => check::check(args).await,
        Command::Train(args) => train::train(args).await,
        Command::Evaluate(args) => train::evaluate(args).await,
        Command::Identify(args) => identify::identify(args).await,
        Command::Serve(args) => identify::serve(args).await,
        Command::CheckAccess(args) => check_access::check_access(args).await,
        Command::Worker => fruits_core::spark::work().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format!("fruits: {error}"));
            fruits_core::interrupt::end();
            ExitCode::FAILURE
        }
    }
}

/// What was typed. One name too many is mostly one with a space in it, or a `*` that the shell has expanded.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        let extra = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(argument)) => !argument.starts_with('-'),
            _ => false,
        };
        if extra {
            tell("\nOne location is taken, a folder with all that is below it. A name with spaces needs quotes: \"my photos\".");
        }
        std::process::exit(error.exit_code())
    })
}

/// Prints a line for programs, on standard output; a reader that is gone is no reason to fail.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line for people, on standard error.
fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
