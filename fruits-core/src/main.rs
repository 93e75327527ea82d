//! `fruits`: the crate on the command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use fruits_core::alike::{Groups, IssueKind};
use fruits_core::error::{counted, printable};
use fruits_core::figure::THRESHOLDS;
use fruits_core::mobilenet::Precision;
use fruits_core::pixels::{Decoding, Limits};
use fruits_core::{Error, Extraction, Features, IfExists, ImageFolder, MobileNetV2, Pca, Report, Result, read_table};
use serde_json::{Value, json};

/// Shares of the variance in the JSON of `fruits pca`.
const JSON_SHARES: [&str; 5] = ["0.9", "0.95", "0.99", "0.999", "0.9999"];

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
    /// failure. What a run that was stopped has written stays: the same command with --resume goes on.
    Features(FeaturesArgs),
    /// Fit an exact PCA to features, and project them
    ///
    /// Writes the components and the projected photos as Parquet to LOCATION/components and LOCATION/projection, a manifest, and
    /// _SUCCESS last.
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
    /// Try whether a location can be used: which settings lead there, and what may be done
    ///
    /// Lists, reads, measures the line, and writes, copies and deletes one small object of its own. What it prints has no secret in it and can
    /// be sent to whoever runs the network. Exits with 0 if all of it works.
    CheckAccess(CheckAccessArgs),
}

#[derive(Args)]
struct FeaturesArgs {
    /// Location of photos in folders named by label: JPEG, PNG, WebP, GIF, BMP and TIFF
    source: String,
    #[command(flatten)]
    output: Output,
    /// Go on where earlier runs stopped, or bring a finished output up to date: only photos that are new, have changed or failed
    /// are computed
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Write what there is every so many seconds: what a run loses at most when it is killed
    #[arg(long, value_name = "SECONDS", default_value = "15")]
    checkpoint: u64,
    /// Stop with an error after so many seconds (with --labels, after the listing); --resume goes on [default: never]
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Stop with an error when more photos than this fail [default: never]
    #[arg(long, value_name = "N")]
    max_failures: Option<usize>,
    /// Take only the files with these endings, such as jpg,png [default: those of all photos]
    #[arg(long, value_name = "ENDINGS", value_delimiter = ',')]
    only: Vec<String>,
    /// Take the photos and labels that are in this file, CSV or Parquet with the columns path and label, instead of the folders' names; a
    /// path is one below the source, or a whole one
    #[arg(long, value_name = "FILE")]
    labels: Option<String>,
    /// Turn photos as their EXIF orientation says, as Pillow's ImageOps.exif_transpose does
    #[arg(long)]
    upright: bool,
    /// Decode large JPEGs to a half, a quarter or an eighth of their size, as Pillow's draft("RGB", (448, 448)): faster, and not quite
    /// the same features
    #[arg(long)]
    draft: bool,
    /// Width times height of a photo at most; a larger one fails
    #[arg(long, value_name = "N", default_value_t = Limits::default().pixels)]
    max_pixels: u64,
    /// Bytes of a photo's file at most; a larger one fails
    #[arg(long, value_name = "N", default_value_t = Limits::default().bytes)]
    max_bytes: u64,
    /// Numbers that the network multiplies: f32 gives Keras' features to 2e-4; bf16 is faster where the processor has it, and gives features
    /// of nearly the same direction
    #[arg(long, value_parser = PossibleValuesParser::new(["f32", "bf16"]), default_value = "f32")]
    precision: String,
    /// Weights of the network, a safetensors file [default: what bootstrap/weights.sh made, or $FRUITS_WEIGHTS]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

#[derive(Args)]
struct PcaArgs {
    /// Location that `fruits features` wrote
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
struct ProjectArgs {
    /// Location that `fruits pca` wrote
    pca: String,
    /// Location that `fruits features` wrote, of the photos to project
    features: String,
    #[command(flatten)]
    output: Output,
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

#[derive(Args)]
struct ReportArgs {
    /// Location that `fruits features` wrote
    features: String,
    /// Location that `fruits pca` wrote, for a PCA other than the exact one of all these features
    #[arg(long, value_name = "PCA")]
    pca: Option<String>,
    /// HTML file to write; an earlier report is replaced
    #[arg(short, long, value_name = "FILE")]
    out: String,
    /// Print one line of JSON at the end, alone on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CheckArgs {
    /// Location that `fruits features` wrote
    features: String,
    /// Folder or prefix for report.html and issues.parquet; earlier ones are replaced
    #[arg(short, long, value_name = "FOLDER")]
    out: String,
    /// Look also for what of the photos is in these: a location that `fruits features` wrote, such as of the photos for training
    #[arg(long, value_name = "FEATURES")]
    against: Option<String>,
    /// Photos that are not independent of each other: series (names that differ in their numbers only, as those of a video's frames), folders,
    /// photos (each by itself), found (chains of near duplicates), pattern:REGEX (paths in which it matches the same), or a FILE, CSV or
    /// Parquet with the columns path and group
    #[arg(long, value_name = "RULE", default_value = "series")]
    groups: String,
    /// Take labels that differ in a number at their end for one, such as Apple Golden 1 and Apple Golden 2
    #[arg(long)]
    varieties: bool,
    /// Exit with 1 if there are issues of these kinds: duplicate, "near duplicate", suspect, "suspect group", outlier, leak
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    fail_on: Vec<IssueKind>,
    /// Print one line of JSON at the end, alone on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CheckAccessArgs {
    /// Location of photos or of outputs
    location: String,
    /// Write nothing
    #[arg(long)]
    read_only: bool,
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
        Command::Features(args) => features(args, verbose == 0).await,
        Command::Pca(args) => pca(args).await,
        Command::Project(args) => project(args).await,
        Command::Report(args) => report(args).await,
        Command::Check(args) => check(args).await,
        Command::CheckAccess(args) => check_access(args).await,
        Command::Worker => fruits_core::spark::work().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format!("fruits: {error}"));
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

async fn features(args: FeaturesArgs, is_shown: bool) -> Result<()> {
    let model = match &args.weights {
        Some(path) => MobileNetV2::from_file(path)?,
        None => MobileNetV2::imagenet()?,
    };
    let model = model.with_precision(match args.precision.as_str() {
        "bf16" => Precision::Bf16,
        _ => Precision::F32,
    })?;
    let model = model.with_decoding(Decoding {
        upright: args.upright,
        draft: args.draft,
    });
    let extraction = match &args.labels {
        None => Extraction::open_only(&args.source, &args.only, &model)?,
        Some(labels) => {
            let labels = read_table(labels).await?;
            let all = ImageFolder::open_only(&args.source, &args.only).await?;
            all.with_labels_of(&labels)?.extraction(&model)
        }
    };
    let mut extraction = extraction
        .checkpoint(Duration::from_secs(args.checkpoint))
        .limits(Limits {
            bytes: args.max_bytes,
            pixels: args.max_pixels,
        });
    if is_shown {
        extraction = extraction.show_progress();
    }
    if let Some(deadline) = args.deadline {
        extraction = extraction.deadline(Duration::from_secs(deadline));
    }
    if let Some(max_failures) = args.max_failures {
        extraction = extraction.max_failures(max_failures);
    }
    let manifest = match args.resume {
        true => extraction.resume_to(&args.output.out).await?,
        false => extraction.run_to(&args.output.out, args.output.if_exists()).await?,
    };

    if args.output.json {
        say(json!({
            "photos": manifest.photos,
            "reused": manifest.reused,
            "failures": manifest.failures,
            "left_out": manifest.survey.left_out_files(),
            "warnings": manifest.survey.warnings,
            "photos_per_second": manifest.photos_per_second(),
            "seconds": manifest.timings.elapsed,
            "out": args.output.out,
        }));
    }
    let (elapsed, rate) = (manifest.timings.elapsed, manifest.photos_per_second());
    let speed = rate.map_or(String::new(), |rate| format!(", {rate:.1} photos/s"));
    let survey = &manifest.survey;
    for sentence in survey.sentences() {
        tell(sentence);
    }
    let notes: String = [
        (manifest.reused, format!("{} from an earlier run", manifest.reused)),
        (manifest.failures, counted(manifest.failures, "failure")),
        (survey.left_out_files(), format!("{} left out", survey.left_out_files())),
        (survey.warnings.len(), counted(survey.warnings.len(), "warning")),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(_, words)| format!(", {words}"))
    .collect();
    let photos = counted(manifest.photos, "photo");
    tell(format!(
        "{photos} with features{notes}, {elapsed:.1} s{speed}: {}",
        args.output.out
    ));
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
    tell(format!(
        "{}, {}, {}",
        counted(pca.n(), "photo"),
        counted(pca.mean().len(), "feature"),
        counted(ratios.len(), "component")
    ));
    if args.components.is_some_and(|wanted| wanted > ratios.len()) {
        tell(format!("--components: there are {}; all are kept", ratios.len()));
    }
    for share in THRESHOLDS {
        let components = counted(pca.components_for(share), "component");
        tell(format!("{:>6} % of the variance: {components}", 100.0 * share));
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

async fn project(args: ProjectArgs) -> Result<()> {
    let pca = Pca::read(&args.pca).await?;
    let features = Features::read(&args.features).await?;
    pca.write(&args.output.out, &features, args.output.if_exists()).await?;
    tell(format!(
        "{} on {}: {}",
        counted(features.len(), "photo"),
        counted(pca.components().nrows(), "component"),
        args.output.out
    ));
    if args.output.json {
        say(json!({ "photos": features.len(), "components": pca.components().nrows(), "out": args.output.out }));
    }
    Ok(())
}

async fn report(args: ReportArgs) -> Result<()> {
    let features = Features::read(&args.features).await?;
    let pca = match &args.pca {
        Some(pca) => Pca::read(pca).await?,
        None => Pca::fit(&features)?,
    };
    Report::new(&features, &pca).await?.write(&args.out).await?;
    tell(format!("report: {}", args.out));
    if args.json {
        say(json!({ "photos": features.len(), "failures": features.failures().len(), "out": args.out }));
    }
    Ok(())
}

async fn check(args: CheckArgs) -> Result<()> {
    let mut features = Features::read(&args.features).await?;
    if args.varieties {
        features = features.varieties();
    }
    let mut issues = features
        .issues(&Groups::by_rule(&features, &args.groups).await?)
        .await?;
    if let Some(against) = &args.against {
        issues = issues.against(&Features::read(against).await?).await?;
    }
    issues.write(&args.out).await?;
    tell(format!("{}; {}", counted(features.len(), "photo"), issues.groups()));
    let counts = issues.counts();
    for (kind, count) in &counts {
        tell(format!("{count:>6} {kind}"));
    }
    if counts.is_empty() {
        tell("nothing was found");
    }
    tell(format!("report: {}/report.html", args.out.trim_end_matches('/')));
    if args.json {
        let counts: serde_json::Map<String, Value> = counts
            .iter()
            .map(|(kind, count)| (kind.as_str().to_owned(), (*count).into()))
            .collect();
        say(json!({ "photos": features.len(), "issues": counts, "out": args.out }));
    }
    issues.refuse(&args.fail_on)
}

async fn check_access(args: CheckAccessArgs) -> Result<()> {
    let tell = |step: &str, found: std::result::Result<&str, &Error>| match found {
        Ok(found) => say(format!("{step:<13} {found}")),
        Err(error) => say(format!("{step:<13} FAILED: {}", printable(error.message()))),
    };
    fruits_core::check_access(&args.location, args.read_only, tell).await
}

/// Prints a line for programs, on standard output; a reader that is gone is no reason to fail.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line for people, on standard error.
fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
