//! What the driver and the workers say to each other: lines of JSON.
//!
//! A task's file begins with an [`Order`]; each further line is an item of it. The worker answers one line, an [`Answer`]. Nothing of a
//! photo goes through Spark: workers read photos from their store and write features to theirs, so lines are short.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Failure, Result, Step};
use crate::extractor::Model;
use crate::features::{Part, Timings};
use crate::output::File;
use crate::pixels::Limits;

/// Its number changes when the lines do.
pub(super) const PROTOCOL: u32 = 4;

/// The first line of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub protocol: u32,
    pub task: usize,
    /// Lines that follow.
    pub items: usize,
    pub work: Work,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    /// Items are [photos](Item): write their features.
    Extract {
        source: String,
        destination: String,
        /// The run that the parts belong to.
        run: String,
        model: Model,
        /// The file of its weights, if the worker is not to look for it.
        weights: Option<PathBuf>,
        limits: Limits,
        max_failures: usize,
        /// Whether to take over what other runs have left.
        is_resumed: bool,
    },
    /// Items are [parts](Part) of features: gather their moments.
    Moments { features: String, width: usize },
    /// Items are [photos](Item), or [parts](Part) of features: write what a classifier says of them.
    Identify {
        classifier: String,
        source: String,
        are_features: bool,
        destination: String,
        /// The run that the answers belong to.
        run: String,
        limits: Limits,
    },
}

/// A photo, as it was listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    pub key: String,
    pub size: u64,
    pub version: String,
    pub label: String,
}

/// The answer to an order, when all of it was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub protocol: u32,
    pub task: usize,
    /// Lines that came.
    pub items: usize,
    pub result: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Extracted {
        photos: usize,
        reused: usize,
        parts: Vec<Part>,
        /// All that was written: the parts, and what belongs to them.
        files: Vec<File>,
        failures: Vec<Failure>,
        timings: Timings,
    },
    /// Moments as bytes in base64.
    Moments(String),
    Identified {
        photos: usize,
        unknown: usize,
        files: Vec<File>,
        failures: Vec<Failure>,
    },
}

pub(super) fn to_line(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::from_source(Step::Spark, "protocol", error))
}

pub(super) fn from_line<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| {
        let start: String = line.chars().take(200).collect();
        Error::from_source(Step::Spark, format!("protocol, line {start:?}"), error)
    })
}
