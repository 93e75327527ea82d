//! `fruits`: the crate on the command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fruits_core::figure::THRESHOLDS;
use fruits_core::{Features, IfExists, ImageFolder, MobileNetV2, Pca, Progress, Report, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Shares of the variance in the JSON of `fruits pca`.
const JSON_SHARES: [&str; 5] = ["0.9", "0.95", "0.99", "0.999", "0.9999"];

/// Image features, exact PCA and reports for folders of labelled photos.
///
/// A photo's label is the name of the folder it lies in. Photos that cannot be read become rows of a failures table; the run goes on.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compute the MobileNetV2 features of all photos in a folder (1280 numbers a photo)
    ///
    /// Writes Parquet files with the columns path, label and features, the failures (_failures.jsonl), a manifest
    /// (_manifest.json), and _SUCCESS last. Exits with 0 when every photo is either a row or a listed failure.
    Features(FeaturesArgs),
    /// Fit an exact PCA to features, and project them
    ///
    /// Writes the components and the projected photos as Parquet, a manifest, and _SUCCESS last.
    Pca(PcaArgs),
    /// Make a report of features and their PCA: one HTML file that needs no network
    Report(ReportArgs),
}

#[derive(Args)]
struct FeaturesArgs {
    /// Folder with photos (.jpg, .jpeg, .png) in folders named by label
    source: String,
    #[command(flatten)]
    output: Output,
    /// Stop with an error when more photos than this fail [default: never]
    #[arg(long, value_name = "N")]
    max_failures: Option<usize>,
    /// Weights of the network, a safetensors file [default: what bootstrap/weights.sh made, or $FRUITS_WEIGHTS]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

#[derive(Args)]
struct PcaArgs {
    /// Folder that `fruits features` wrote
    features: String,
    #[command(flatten)]
    output: Output,
    /// Keep so many components [default: all that the data have]
    #[arg(long, value_name = "K")]
    components: Option<usize>,
    /// Divide each feature by its standard deviation first
    #[arg(long)]
    standardize: bool,
}

#[derive(Args)]
struct Output {
    /// Folder to write; must be new or empty
    #[arg(long, value_name = "FOLDER")]
    out: String,
    /// Replace an earlier output in the folder
    #[arg(long)]
    overwrite: bool,
    /// End with one line of JSON
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

#[derive(Args)]
struct ReportArgs {
    /// Folder that `fruits features` wrote
    features: String,
    /// HTML file to write; replaced if it exists
    #[arg(long, value_name = "FILE")]
    out: String,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Features(args) => features(args).await,
        Command::Pca(args) => pca(args).await,
        Command::Report(args) => report(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fruits: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn features(args: FeaturesArgs) -> Result<()> {
    let model = match &args.weights {
        Some(path) => MobileNetV2::from_file(path)?,
        None => MobileNetV2::imagenet()?,
    };
    let photos = ImageFolder::open(&args.source).await?;
    let bar = progress_bar(photos.len());
    let mut extraction = photos.extraction(&model).on_progress({
        let bar = bar.clone();
        move |progress| show(&bar, progress)
    });
    if let Some(max_failures) = args.max_failures {
        extraction = extraction.max_failures(max_failures);
    }
    let manifest = extraction.run_to(&args.output.out, args.output.if_exists()).await?;
    bar.finish_and_clear();

    let elapsed = manifest.timings.elapsed;
    let rate = (manifest.photos + manifest.failures) as f64 / elapsed;
    say(format!(
        "{} photos with features, {} failures, {elapsed:.1} s, {rate:.1} photos/s: {}",
        manifest.photos, manifest.failures, args.output.out
    ));
    if args.output.json {
        say(json!({
            "photos": manifest.photos,
            "failures": manifest.failures,
            "photos_per_second": rate,
            "seconds": elapsed,
            "out": args.output.out,
        }));
    }
    Ok(())
}

async fn pca(args: PcaArgs) -> Result<()> {
    let features = Features::read(&args.features).await?;
    let mut params = Pca::params().standardize(args.standardize);
    if let Some(components) = args.components {
        params = params.components(components);
    }
    let pca = params.fit_features(&features)?;
    pca.write(&args.output.out, &features, args.output.if_exists()).await?;

    let ratios = pca.explained_variance_ratio();
    say(format!(
        "{} photos, {} features, {} components",
        pca.n(),
        pca.mean().len(),
        ratios.len()
    ));
    for share in THRESHOLDS {
        say(format!(
            "{:>6} % of the variance: {} components",
            100.0 * share,
            pca.components_for(share)
        ));
    }
    if args.output.json {
        let shares = JSON_SHARES
            .iter()
            .filter_map(|share| Some((share.to_string(), share.parse::<f64>().ok()?)));
        let components_for: serde_json::Map<String, Value> = shares
            .map(|(name, share)| (name, pca.components_for(share).into()))
            .collect();
        say(json!({
            "n": pca.n(),
            "features": pca.mean().len(),
            "rank": ratios.len(),
            "components": pca.components().nrows(),
            "total_variance": pca.total_variance(),
            "explained_variance": pca.explained_variance().to_vec(),
            "explained_variance_ratio": ratios.to_vec(),
            "components_for": components_for,
            "out": args.output.out,
        }));
    }
    Ok(())
}

async fn report(args: ReportArgs) -> Result<()> {
    let features = Features::read(&args.features).await?;
    let pca = Pca::fit(&features)?;
    Report::new(&features, &pca).await?.write(&args.out).await?;
    say(format!("report: {}", args.out));
    if args.json {
        say(json!({ "photos": features.len(), "failures": features.failures().len(), "out": args.out }));
    }
    Ok(())
}

/// A bar on a terminal; nothing where standard error is a file or a pipe.
fn progress_bar(photos: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32} {msg}").expect("the template is valid");
    let bar = ProgressBar::new(photos as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_position((progress.done + progress.failed) as u64);
    bar.set_message(progress.to_string());
}

/// Prints a line; a reader that is gone is no reason to fail.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
