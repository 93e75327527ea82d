//! `fruits features`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use fruits_core::error::counted;
use fruits_core::mobilenet::Precision;
use fruits_core::pixels::{Decoding, Limits, Views};
use fruits_core::{Extraction, ImageFolder, MobileNetV2, Result, read_table};
use serde_json::json;

use crate::place::PlaceArgs;
use crate::{Output, say, tell};

#[derive(Args)]
pub struct FeaturesArgs {
    /// Location of photos in folders named by label: JPEG, PNG, WebP, GIF, BMP and TIFF
    source: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    place: PlaceArgs,
    /// Go on where earlier runs stopped, or bring a finished output up to date: only photos that are new, have changed or failed
    /// are computed
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Write what there is every so many seconds: what a run loses at most when it is killed. Not in Spark, where workers write 4096 rows at once
    #[arg(long, value_name = "SECONDS", default_value = "15", conflicts_with = "on")]
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
    /// Views of a photo whose features are averaged: one, or turned, which is four, by quarter turns: better for recognition, and four times the work
    #[arg(long, value_parser = PossibleValuesParser::new(["one", "turned"]), default_value = "one")]
    views: String,
    /// Put 384 numbers on the texture of the fruit, from the middle of the network, behind its 1280 features: for recognition
    #[arg(long)]
    texture: bool,
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
    /// Weights of the network, a safetensors file; in Spark, one that all nodes have [default: what bootstrap/weights.sh made, or $FRUITS_WEIGHTS]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

pub async fn features(args: FeaturesArgs, is_shown: bool) -> Result<()> {
    let spark = args.place.spark(&args.output.out)?;
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
    let model = model.with_views(match args.views.as_str() {
        "turned" => Views::Turned,
        _ => Views::One,
    });
    let model = model.with_texture(args.texture);
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
    let (out, if_exists) = (&args.output.out, args.output.if_exists());
    let spark = spark.map(|spark| match &args.weights {
        Some(weights) => spark.weights(weights),
        None => spark,
    });
    let manifest = match (spark, args.resume) {
        (None, true) => extraction.resume_to(out).await?,
        (None, false) => extraction.run_to(out, if_exists).await?,
        (Some(spark), true) => spark.resume_to(extraction, out).await?,
        (Some(spark), false) => spark.run_to(extraction, out, if_exists).await?,
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
