//! Groups of photos that the network finds alike, found without their labels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use linfa::traits::{Fit, Predict};
use linfa::{DatasetBase, ParamGuard};
use linfa_clustering::{KMeans, KMeansError};
use linfa_nn::distance::{Distance, L2Dist};
use ndarray::{ArrayView, Dimension};
use polars::prelude::{Column, DataFrame};

use super::Features;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;

/// Attempts from other centres, of which the best counts.
const RUNS: usize = 3;

/// Euclidean distances, as linfa's own. Once the cell is interrupted, all are nothing, so that there is nothing left to do.
#[derive(Debug, Clone, Default)]
struct Distances(Arc<AtomicBool>);

impl Distances {
    /// Whether it was interrupted: what has begun so stays so.
    fn are_over(&self) -> bool {
        if interrupt::is_requested() {
            self.0.store(true, Relaxed);
        }
        self.0.load(Relaxed)
    }
}

impl Distance<f32> for Distances {
    fn distance<D: Dimension>(&self, a: ArrayView<f32, D>, b: ArrayView<f32, D>) -> f32 {
        if self.are_over() { 0.0 } else { L2Dist.distance(a, b) }
    }

    fn rdistance<D: Dimension>(&self, a: ArrayView<f32, D>, b: ArrayView<f32, D>) -> f32 {
        if self.are_over() { 0.0 } else { L2Dist.rdistance(a, b) }
    }
}

impl Features {
    /// k-means: the photos in so many clusters at most, as the table `path`, `label`, `cluster` (from 0) and `distance` (Euclidean, to the
    /// cluster's mean). linfa's, with centres chosen by k-means++ and a fixed seed, so the same photos give the same clusters; the best of
    /// three attempts. Photos with the same features are in one cluster. Its time grows with the square of `clusters`.
    ///
    /// ```no_run
    /// # use fruits_core::Features;
    /// use fruits_core::polars::prelude::*;
    ///
    /// # fn example(features: Features) -> Result<(), Box<dyn std::error::Error>> {
    /// let clusters = features.kmeans(6)?;
    /// // which labels are in which cluster?
    /// let shares = clusters.lazy().group_by([col("cluster"), col("label")]).agg([len().alias("photos")]).collect()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless there are as many photos as clusters, at least one, and all features are finite and below 1e12 or so.
    pub fn kmeans(&self, clusters: usize) -> Result<DataFrame> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, Step::Input, "k-means", message);
        if !(1..=self.len()).contains(&clusters) {
            return Err(invalid(format!("{clusters} clusters of {} photos", self.len())));
        }
        // Sums of squared distances have to be numbers, too.
        let squares: f32 = self.matrix().iter().map(|x| x * x).sum();
        if self.matrix().ncols() == 0 || !(4.0 * squares * self.len() as f32).is_finite() {
            return Err(invalid("a feature is not a finite number, or too large".to_owned()));
        }
        // linfa's loops cannot be left, but they can be made to run out.
        let (features, metric) = (self.clone(), Distances::default());
        let own = metric.clone();
        let fit = move || {
            let data = DatasetBase::from(features.matrix().view());
            let usual = KMeans::<f32, L2Dist>::params(clusters).check()?;
            let fitted = KMeans::params_with(clusters, usual.rng().clone(), own)
                .n_runs(RUNS)
                .fit(&data)?;
            let found = fitted.predict(features.matrix());
            Ok((fitted, found))
        };
        let fitted = interrupt::apart(Step::Compare, fit)?;
        if metric.are_over() {
            return Err(interrupt::error(Step::Compare));
        }
        let (fitted, found) = fitted.map_err(|error: KMeansError| Error::from_source(Step::Input, "k-means", error))?;
        let distance = |(row, cluster): (usize, &usize)| {
            let apart = &self.matrix().row(row) - &fitted.centroids().row(*cluster);
            apart.dot(&apart).sqrt()
        };
        let distances: Vec<f32> = found.iter().enumerate().map(distance).collect();
        let columns = vec![
            Column::new("path".into(), self.path_column()),
            Column::new("label".into(), self.label_column()),
            Column::new(
                "cluster".into(),
                found.iter().map(|&cluster| cluster as u32).collect::<Vec<_>>(),
            ),
            Column::new("distance".into(), distances),
        ];
        Ok(DataFrame::new(self.len(), columns).expect("four columns of one length"))
    }
}
