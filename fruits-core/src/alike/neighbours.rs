//! The nearest photos of photos.

use std::sync::Arc;

use ndarray::Array2;
use polars::prelude::{Column, DataFrame, IdxCa};

use super::search::{self, Metric, Near, Nearest, Rows};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::{self, Features, Manifest};
use crate::interrupt;
use crate::store;

/// The nearest photos of each of some photos, exact, the nearest first; of equally near ones, in the order of the rows.
///
/// ```no_run
/// use fruits_core::Features;
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// let neighbours = features.neighbours(5)?; // of every photo, the five others that are most like it
/// println!("{}", neighbours.table());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Neighbours {
    queries: Features,
    found: Features,
    metric: Metric,
    nearest: Arc<[Vec<Near>]>,
}

impl Features {
    /// Of each photo, the `k` others that are nearest to it by cosine.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a feature is not a finite number.
    pub fn neighbours(&self, k: usize) -> Result<Neighbours> {
        self.neighbours_with(k, Metric::Cosine, |_, _| true)
    }

    /// As [`neighbours`](Self::neighbours), by any metric, and only of pairs of rows that may be neighbours.
    ///
    /// # Errors
    /// As [`neighbours`](Self::neighbours).
    pub fn neighbours_with(
        &self,
        k: usize,
        metric: Metric,
        may: impl Fn(usize, usize) -> bool + Sync,
    ) -> Result<Neighbours> {
        let nearest = search::others(self.matrix().view(), k, metric, may)
            .map_err(|stop| stop.because(|row| not_finite(self, row)))?;
        Ok(Neighbours {
            queries: self.clone(),
            found: self.clone(),
            metric,
            nearest: nearest.into(),
        })
    }

    /// Of each of other photos, the `k` of these that are nearest to it by cosine.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a feature is not a finite number, or the features are of another kind.
    pub fn search(&self, queries: &Features, k: usize) -> Result<Neighbours> {
        self.search_with(queries, k, Metric::Cosine)
    }

    /// As [`search`](Self::search), by any metric.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub fn search_with(&self, queries: &Features, k: usize, metric: Metric) -> Result<Neighbours> {
        check_width(queries, self.matrix().ncols())?;
        let terms = metric
            .terms(queries.matrix().view())
            .map_err(|row| not_finite(queries, row))?;
        let nearest = Nearest::new(metric, queries.len(), [k]);
        let wanted = Rows::new(queries.matrix().view(), 0, &terms);
        nearest
            .meet(&wanted, self.matrix().view(), 0)
            .map_err(|stop| stop.because(|row| not_finite(self, row)))?;
        Ok(Neighbours {
            queries: queries.clone(),
            found: self.clone(),
            metric,
            nearest: nearest.of_one_kind().into(),
        })
    }
}

impl Neighbours {
    /// Of each of some photos, the `k` photos of an output that are nearest to it by cosine. The output's rows are read part by part, so memory does
    /// not grow with their number; parts with photos that were found are read twice.
    ///
    /// ```no_run
    /// use fruits_core::{Features, alike::Neighbours};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let mine = Features::read("features").await?;
    /// let found = Neighbours::in_output("s3://fruits/Results", &mine, 10).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Features::read`] and [`Features::search`].
    pub async fn in_output(location: &str, queries: &Features, k: usize) -> Result<Self> {
        interrupt::race(Step::Read, Self::of_parts(location, queries, k)).await?
    }

    async fn of_parts(location: &str, queries: &Features, k: usize) -> Result<Self> {
        let (store, metric) = (store::open(location)?, Metric::Cosine);
        let manifest = features::manifest(&*store).await?;
        let width = manifest.model.features;
        check_width(queries, width)?;
        let terms = metric
            .terms(queries.matrix().view())
            .map_err(|row| not_finite(queries, row))?;
        let wanted = Rows::new(queries.matrix().view(), 0, &terms);
        let nearest = Nearest::new(metric, queries.len(), [k]);
        let mut first = 0;
        for part in &manifest.parts {
            let matrix = features::read_part(&*store, part, width).await?;
            let not_finite = |row| {
                let message = format!("row {row} has a feature that is not a finite number");
                Error::new(ErrorKind::Invalid, Step::Input, store.uri(&part.file), message)
            };
            nearest
                .meet(&wanted, matrix.view(), first)
                .map_err(|stop| stop.because(not_finite))?;
            first += part.rows;
        }
        let mut nearest = nearest.of_one_kind();

        // The rows that were found, and what they are called.
        let mut rows: Vec<usize> = nearest.iter().flatten().map(|near| near.row).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut found = features::rows(&[], &[], &Array2::zeros((0, width)))?;
        let mut first = 0;
        for part in &manifest.parts {
            let here = rows.iter().filter(|row| (first..first + part.rows).contains(*row));
            let here: Vec<u32> = here.map(|row| (row - first) as u32).collect();
            if !here.is_empty() {
                let table = features::read_part_table(&*store, part).await?;
                let chosen = table
                    .take(&IdxCa::from_vec("".into(), here))
                    .and_then(|chosen| found.vstack_mut_owned(chosen).map(|_| ()));
                chosen.map_err(|error| Error::from_source(Step::Read, store.uri(&part.file), error))?;
            }
            first += part.rows;
        }
        for near in nearest.iter_mut().flatten() {
            near.row = rows.binary_search(&near.row).expect("it was found");
        }
        found.rechunk_mut();
        let manifest = Manifest {
            photos: rows.len(),
            is_partial: true,
            ..manifest
        };
        Ok(Neighbours {
            queries: queries.clone(),
            found: Features::new(found, Vec::new(), manifest)?,
            metric,
            nearest: nearest.into(),
        })
    }
}

fn check_width(queries: &Features, wanted: usize) -> Result<()> {
    let width = queries.matrix().ncols();
    if width == wanted {
        return Ok(());
    }
    let message = format!("{width} features a photo, not {wanted}");
    Err(Error::new(ErrorKind::Invalid, Step::Input, "queries", message))
}

pub(super) fn not_finite(features: &Features, row: usize) -> Error {
    let path = features.path_column()[row].to_owned();
    Error::new(
        ErrorKind::Invalid,
        Step::Input,
        path,
        format!("row {row} has a feature that is not a finite number"),
    )
}

impl Neighbours {
    /// A row a neighbour: `path` and `label` of the photo, `rank` from 1, `neighbour` and `neighbour_label`, and `similarity` (cosine) or
    /// `distance` (Euclidean).
    pub fn table(&self) -> DataFrame {
        let (paths, labels) = (self.queries.path_column(), self.queries.label_column());
        let (found_paths, found_labels) = (self.found.path_column(), self.found.label_column());
        let pairs = || {
            let ranked = |(query, near): (usize, &'_ Vec<Near>)| (0..near.len()).map(move |rank| (query, rank));
            self.nearest.iter().enumerate().flat_map(ranked)
        };
        let near = |(query, rank): (usize, usize)| self.nearest[query][rank];
        let text = |name: &str, of: &dyn Fn((usize, usize)) -> String| {
            Column::new(name.into(), pairs().map(of).collect::<Vec<_>>())
        };
        let (name, score): (_, fn(f64) -> f64) = match self.metric {
            Metric::Cosine => ("similarity", |score| score),
            Metric::Euclidean => ("distance", |score| (-score).max(0.0).sqrt()),
        };
        let columns = vec![
            text("path", &|(query, _)| paths[query].to_owned()),
            text("label", &|(query, _)| labels[query].to_owned()),
            Column::new(
                "rank".into(),
                pairs().map(|(_, rank)| rank as u32 + 1).collect::<Vec<_>>(),
            ),
            text("neighbour", &|pair| found_paths[near(pair).row].to_owned()),
            text("neighbour_label", &|pair| found_labels[near(pair).row].to_owned()),
            Column::new(
                name.into(),
                pairs().map(|pair| score(near(pair).score)).collect::<Vec<_>>(),
            ),
        ];
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }

    /// Rows of the photos and of their neighbours whose score is at least this.
    pub(super) fn pairs(&self, score: f64) -> Vec<(usize, usize)> {
        let near = self.nearest.iter().enumerate();
        near.flat_map(|(query, near)| near.iter().map(move |near| (query, near)))
            .filter(|(_, near)| near.score >= score)
            .map(|(query, near)| (query, near.row))
            .collect()
    }

    /// The photos whose neighbours were looked for.
    pub fn queries(&self) -> &Features {
        &self.queries
    }

    /// The photos among which they were looked for; of an [output](Self::in_output), those that were found.
    pub fn found(&self) -> &Features {
        &self.found
    }

    /// The rows of a photo's neighbours, in [`found`](Self::found), the nearest first.
    ///
    /// # Panics
    /// If there is no such photo.
    pub fn of(&self, row: usize) -> Vec<usize> {
        self.nearest[row].iter().map(|near| near.row).collect()
    }
}
