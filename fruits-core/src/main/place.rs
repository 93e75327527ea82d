//! Where a command does its work: `--on`.

use std::str::FromStr;

use clap::Args;
use fruits_core::{Result, Spark, interrupt};

#[derive(Args)]
pub struct PlaceArgs {
    /// Do the work in Spark: spark, the one that is installed here, which works on this machine, or on the cluster that its own settings name,
    /// such as on the primary node of EMR; or emr:ID, by a step of a cluster of EMR that is running [default: without Spark]
    #[arg(long, value_name = "PLACE", requires = "out")]
    on: Option<Place>,
    /// Processes of Spark that work at the same time on a cluster, at best one a machine
    #[arg(long, value_name = "N", requires = "on", default_value_t = 1)]
    executors: usize,
}

/// A place that is not this machine alone.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Spark,
    Emr(String),
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let is_id = |id: &str| id.strip_prefix("j-").is_some_and(|id| !id.is_empty());
        match text.split_once(':') {
            None if text == "spark" => Ok(Place::Spark),
            Some(("emr", id)) if is_id(id) => Ok(Place::Emr(id.to_owned())),
            _ => Err("say spark, or emr:ID with the id of a cluster, such as emr:j-0123456789ABC"),
        }
    }
}

impl PlaceArgs {
    /// The Spark that is to do the work, if one is. What it is told lies beside the output.
    pub fn spark(&self, out: &str) -> Result<Option<Spark>> {
        let Some(place) = &self.on else { return Ok(None) };
        interrupt::listen();
        let scratch = format!("{}-scratch", out.trim_end_matches('/'));
        let spark = match place {
            Place::Spark => Spark::here(&scratch)?,
            Place::Emr(id) => Spark::emr(id, &scratch)?,
        };
        Ok(Some(spark.executors(self.executors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_understood_or_refused() {
        assert_eq!("spark".parse(), Ok(Place::Spark));
        assert_eq!("emr:j-0123".parse(), Ok(Place::Emr("j-0123".to_owned())));
        for text in [
            "", "Spark", "spark:", "emr", "emr:", "emr:j-", "emr:s-1", "j-0123", "yarn",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
