//! `fruits train` and `fruits evaluate`.

use clap::Args;
use fruits_core::alike::Groups;
use fruits_core::error::counted;
use fruits_core::pixels::Views;
use fruits_core::{Classifier, Features, MobileNetV2, Report, Result};
use serde_json::json;

use crate::{Output, say, tell};

#[derive(Args)]
pub struct TrainArgs {
    /// Location of photos in folders named by label, or one that `fruits features` wrote. Of photos, four views each and the texture are
    /// taken; features are taken as they are: best with --views turned --texture
    source: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    groups: GroupArgs,
    /// Write an HTML page of what was measured, too; an earlier one is replaced
    #[arg(long, value_name = "FILE")]
    report: Option<String>,
}

#[derive(Args)]
pub struct EvaluateArgs {
    /// Location that `fruits train` wrote
    classifier: String,
    /// Location of photos in folders named by label, or one that `fruits features` wrote
    source: String,
    #[command(flatten)]
    groups: GroupArgs,
    /// Write an HTML page of what was measured, too; an earlier one is replaced
    #[arg(long, value_name = "FILE")]
    report: Option<String>,
    /// Print one line of JSON at the end, alone on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct GroupArgs {
    /// Photos that are not independent of each other: series (names that differ in their numbers only, as those of a video's frames), folders,
    /// photos (each by itself), found (chains of near duplicates), pattern:REGEX (paths in which it matches the same), or a FILE, CSV or
    /// Parquet with the columns path and group
    #[arg(long, value_name = "RULE", default_value = "series")]
    groups: String,
    /// Take labels that differ in a number at their end for one, such as Apple Golden 1 and Apple Golden 2
    #[arg(long)]
    varieties: bool,
}

impl GroupArgs {
    async fn of(&self, mut features: Features) -> Result<(Features, Groups)> {
        // By the labels that the folders have: a group is of one piece of fruit.
        let groups = Groups::by_rule(&features, &self.groups).await?;
        if self.varieties {
            features = features.varieties();
        }
        Ok((features, groups))
    }
}

pub async fn train(args: TrainArgs) -> Result<()> {
    Classifier::can_write(&args.output.out, args.output.if_exists()).await?;
    let network = || Ok(MobileNetV2::imagenet()?.with_views(Views::Turned).with_texture(true));
    let features = Features::read_or_extract(&args.source, network).await?;
    let (features, groups) = args.groups.of(features).await?;
    tell(format!(
        "{}, {} {}; {groups}",
        counted(features.len(), "photo"),
        counted(features.by_label().len(), "label"),
        features.manifest().model.sight()
    ));
    let (classifier, recognition) = Classifier::train_and_measure(&features, &groups).await?;
    classifier.write(&args.output.out, args.output.if_exists()).await?;
    tell(recognition.to_string());
    if let Some(report) = &args.report {
        Report::of_recognition(&recognition).await?.write(report).await?;
    }
    tell(format!("classifier: {}", args.output.out));
    if args.output.json {
        let summary = classifier.summary();
        say(json!({
            "photos": features.len(),
            "failures": features.failures().len(),
            "labels": classifier.labels().len(),
            "by_chance": summary.by_chance,
            "by_group": summary.by_group,
            "groups": summary.groups,
            "strangers_refused": summary.strangers_refused,
            "out": args.output.out,
        }));
    }
    Ok(())
}

pub async fn evaluate(args: EvaluateArgs) -> Result<()> {
    let classifier = Classifier::read(&args.classifier).await?;
    let features = Features::read_or_extract(&args.source, || MobileNetV2::like(classifier.model())).await?;
    let (features, groups) = args.groups.of(features).await?;
    let evaluation = classifier.evaluate(&features, &groups)?;
    let seen = classifier.has_seen(&features);
    if seen > 0 {
        tell(format!(
            "{} of these were for training: what is measured is too good",
            counted(seen, "photo")
        ));
    }
    let shared = match args.groups.groups.as_str() {
        "found" => 0, // these have no names
        rule => Groups::by_rule(classifier.features(), rule)
            .await
            .map_or(0, |own| groups.rows_shared_with(&own)),
    };
    if shared > seen {
        tell(format!(
            "{} of these are of a group that has the name of one that was for training: if they are the same, what is measured is too good",
            counted(shared, "photo")
        ));
    }
    let others = features.filter(|_, label| !classifier.labels().iter().any(|known| known == label));
    let (strangers, answers) = (others.len(), classifier.identify(&others)?);
    let unknown = answers.all().iter().filter(|answer| answer.is_unknown).count();
    if strangers > 0 {
        let strange = counted(strangers, "photo");
        tell(format!(
            "{strange} with labels that it does not know: left out; it calls {unknown} of them unknown"
        ));
    }
    tell(&evaluation);
    if let Some(report) = &args.report {
        Report::of_evaluation(&evaluation).await?.write(report).await?;
    }
    if args.json {
        let (low, high) = evaluation.interval();
        say(json!({
            "photos": evaluation.tested(),
            "accuracy": evaluation.accuracy(),
            "low": low,
            "high": high,
            "top5": evaluation.top(5),
            "macro_f1": evaluation.macro_f1(),
            "calibration_error": evaluation.calibration_error(),
            "seen": seen,
            "photos_of_unknown_labels": strangers,
            "unknown_of_these": unknown,
        }));
    }
    Ok(())
}
