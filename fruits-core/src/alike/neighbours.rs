//! The nearest photos of photos.

use std::sync::Arc;

use ndarray::ArrayView2;
use polars::prelude::{Column, DataFrame};

use super::search::{Metric, Near, Nearest, Rows};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;

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
        let nearest = nearest_others(self.matrix().view(), k, metric, may).map_err(|row| not_finite(self, row))?;
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
        let (width, wanted) = (queries.matrix().ncols(), self.matrix().ncols());
        if width != wanted {
            let message = format!("{width} features a photo, not {wanted}");
            return Err(Error::new(ErrorKind::Invalid, Step::Input, "queries", message));
        }
        let own = metric
            .terms(self.matrix().view())
            .map_err(|row| not_finite(self, row))?;
        let others = metric
            .terms(queries.matrix().view())
            .map_err(|row| not_finite(queries, row))?;
        let nearest = Nearest::new(metric, queries.len(), [k]);
        let rows = Rows::new(self.matrix().view(), 0, &own);
        nearest.meet(&Rows::new(queries.matrix().view(), 0, &others), &rows, |_, _| Some(0));
        Ok(Neighbours {
            queries: queries.clone(),
            found: self.clone(),
            metric,
            nearest: of_one_kind(nearest).into(),
        })
    }
}

/// Of each row of a matrix the nearest others.
pub(super) fn nearest_others(
    matrix: ArrayView2<f32>,
    k: usize,
    metric: Metric,
    may: impl Fn(usize, usize) -> bool + Sync,
) -> std::result::Result<Vec<Vec<Near>>, usize> {
    let terms = metric.terms(matrix)?;
    let nearest = Nearest::new(metric, matrix.nrows(), [k]);
    nearest.meet_each_other(&Rows::new(matrix.view(), 0, &terms), |i, j| may(i, j).then_some(0));
    Ok(of_one_kind(nearest))
}

fn of_one_kind(nearest: Nearest<1>) -> Vec<Vec<Near>> {
    nearest.finish().into_iter().map(|[nearest]| nearest).collect()
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

    /// The rows of a photo's neighbours.
    ///
    /// # Panics
    /// If there is no such photo.
    pub fn of(&self, row: usize) -> Vec<usize> {
        self.nearest[row].iter().map(|near| near.row).collect()
    }
}
