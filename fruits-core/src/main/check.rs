//! `fruits check`.

use clap::Args;
use fruits_core::alike::{Groups, IssueKind};
use fruits_core::error::counted;
use fruits_core::{Features, Result};
use serde_json::{Value, json};

use crate::{say, tell};

#[derive(Args)]
pub struct CheckArgs {
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

pub async fn check(args: CheckArgs) -> Result<()> {
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
