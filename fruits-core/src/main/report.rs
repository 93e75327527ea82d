//! `fruits report`.

use clap::Args;
use fruits_core::{Features, Pca, Report, Result};
use serde_json::json;

use crate::{say, tell};

#[derive(Args)]
pub struct ReportArgs {
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

pub async fn report(args: ReportArgs) -> Result<()> {
    let features = Features::scan(&args.features).await?;
    let pca = match &args.pca {
        Some(pca) => Pca::read(pca).await?,
        None => Pca::params().fit_scan(&features).await?,
    };
    Report::of_scan(&features, &pca).await?.write(&args.out).await?;
    tell(format!("report: {}", args.out));
    if args.json {
        say(json!({ "photos": features.len(), "failures": features.manifest().failures, "out": args.out }));
    }
    Ok(())
}
