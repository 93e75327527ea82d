//! Image features, exact PCA and figures for folders of labelled photos.
//!
//! The five lines that everything here serves:
//!
//! ```no_run
//! use fruits_core::prelude::*;
//!
//! # async fn example() -> fruits_core::Result<()> {
//! let photos = ImageFolder::open("s3://fruits/Test").await?; // a folder's path is fine too; label = parent folder
//! let features = photos.features(&MobileNetV2::imagenet()?).await?; // n x 1280; failures are rows, not crashes
//! features.write("s3://fruits/Results").await?; // Parquet for every tool
//! let pca = Pca::fit(&features)?; // exact; pca.components_for(0.9999)
//! pca.scatter(&features)?.write("scatter.svg").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Modules, from the top down; each imports only what stands below it:
//!
//! | module | what it knows |
//! |---|---|
//! | `notebook` | how values show themselves in a cell |
//! | [`serve`] | a page on this machine that tells which fruit is on a photo, and the same as JSON |
//! | [`Report`] | the page about an extraction |
//! | [`Spark`] | an extraction on a cluster, and the worker in its tasks |
//! | [`figure`] | scree plot, scatter plot, photos to look around in, contact sheets, similarity of labels |
//! | [`recognise`] | from features to "which fruit is this": splits, classifiers, how far they can be trusted, answers |
//! | [`map`] | photos on a map, like beside like |
//! | [`alike`] | which photos are alike: groups, neighbours, what may be wrong |
//! | [`extract`] | the pipeline: list, read, decode, infer, rows |
//! | [`pca`] | exact PCA, moments that can be merged |
//! | [`features`] | the table of features, in polars and Parquet |
//! | [`mobilenet`] | the network, its weights, and the engine that runs it |
//! | [`extractor`] | what any such network is |
//! | [`pixels`] | bytes to 224x224 RGB, bit for bit as Pillow does it |
//! | [`folder`] | labelled photos found under a location |
//! | [`check_access`] | whether a location can be used, step by step |
//! | [`store`] | where bytes live: S3, folders, memory |
//! | [`log`] | what happens, for who wants to watch |
//! | [`interrupt`] | how a call ends when the user of a notebook stops the cell, or a scheduler a command |
//! | [`error`] | what can go wrong, on which file, in which step |
//!
//! Handles are owned and cheap to clone, so they live from one notebook cell to the next.

#![warn(missing_docs)]
#![deny(unsafe_code)]

mod access;
pub mod alike;
pub mod error;
pub mod extract;
pub mod extractor;
pub mod features;
pub mod figure;
pub mod folder;
mod holds;
pub mod interrupt;
pub mod log;
pub mod map;
pub mod mobilenet;
mod notebook;
mod output;
pub mod pca;
pub mod pixels;
pub mod recognise;
mod report;
pub mod serve;
mod simd;
mod spare;
pub mod spark;
pub mod store;
mod table;
mod tensors;
mod thumbnail;

pub use access::check_access;
pub use alike::{Groups, Issues, Neighbours};
pub use error::{Error, ErrorKind, Failure, Result, Step};
pub use extract::{Extraction, Progress};
pub use extractor::FeatureExtractor;
pub use features::{Features, FeaturesScan};
pub use figure::{ContactSheet, Exploration, Explorer, Figure};
pub use folder::{ImageFolder, Photo, Survey};
pub use map::Map;
pub use mobilenet::MobileNetV2;
pub use notebook::Show;
#[doc(hidden)]
pub use notebook::{begin_cell, cell_failed};
pub use output::IfExists;
pub use pca::{Moments, Pca};
pub use recognise::{Answer, Answers, Classifier, Evaluation, Recogniser, Recognition, Splits};
pub use report::Report;
pub use serve::Server;
pub use spark::Spark;
pub use table::{Describe, read_table};

/// linfa, in the version whose traits [`Pca`] has.
pub use linfa;
/// linfa's clustering: beside k-means as [`Features::kmeans`] has it, DBSCAN and mixtures of Gaussians.
pub use linfa_clustering;
/// ndarray, in the version that the matrices are made of.
pub use ndarray;
/// plotters, in the version that the figures are made with.
pub use plotters;
/// polars, in the version that the tables are made of.
pub use polars;

/// What a notebook or a small program needs.
pub mod prelude {
    pub use crate::alike::Metric;
    pub use crate::mobilenet::Precision;
    pub use crate::pixels::Views;
    pub use crate::{
        Classifier, ContactSheet, Describe, Error, ErrorKind, Exploration, Explorer, Extraction, FeatureExtractor,
        Features, Figure, Groups, IfExists, ImageFolder, Issues, Map, MobileNetV2, Moments, Neighbours, Pca, Photo,
        Recogniser, Report, Result, Show, Spark, Splits, read_table,
    };
}
