//! `fruits pca` and `fruits project`.

use clap::Args;
use fruits_core::error::counted;
use fruits_core::figure::THRESHOLDS;
use fruits_core::{Features, Pca, Result};
use serde_json::{Value, json};

use crate::place::PlaceArgs;
use crate::{Output, say, tell};

/// Shares of the variance in the JSON of `fruits pca`.
const JSON_SHARES: [&str; 5] = ["0.9", "0.95", "0.99", "0.999", "0.9999"];

#[derive(Args)]
pub struct PcaArgs {
    /// Location that `fruits features` wrote
    features: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    place: PlaceArgs,
    /// Keep so many components [default: all that the data have]
    #[arg(long, value_name = "K")]
    components: Option<usize>,
    /// Divide each feature by its standard deviation first
    #[arg(long)]
    standardize: bool,
}

#[derive(Args)]
pub struct ProjectArgs {
    /// Location that `fruits pca` wrote
    pca: String,
    /// Location that `fruits features` wrote, of the photos to project
    features: String,
    #[command(flatten)]
    output: Output,
}

pub async fn pca(args: PcaArgs) -> Result<()> {
    let spark = args.place.spark(&args.output.out)?;
    let features = Features::scan(&args.features).await?;
    let mut params = Pca::params().standardize(args.standardize);
    if let Some(components) = args.components {
        params = params.components(components);
    }
    let pca = match spark {
        None => params.fit_scan(&features).await?,
        Some(spark) => params.fit_moments(&spark.moments(&args.features).await?)?,
    };
    pca.write_scan(&args.output.out, &features, args.output.if_exists())
        .await?;

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

pub async fn project(args: ProjectArgs) -> Result<()> {
    let pca = Pca::read(&args.pca).await?;
    let features = Features::scan(&args.features).await?;
    pca.write_scan(&args.output.out, &features, args.output.if_exists())
        .await?;
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
