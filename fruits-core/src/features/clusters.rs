//! Groups of photos that the network finds alike, found without their labels.

use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::KMeans;
use polars::prelude::{Column, DataFrame};

use super::Features;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;

/// Attempts from other centres, of which the best counts.
const RUNS: usize = 3;

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
        // linfa's loop cannot be left.
        let features = self.clone();
        let fit = move || {
            let data = DatasetBase::from(features.matrix().view());
            KMeans::params(clusters).n_runs(RUNS).fit(&data)
        };
        let fitted = interrupt::apart(Step::Compare, fit)?;
        let fitted = fitted.map_err(|error| Error::from_source(Step::Input, "k-means", error))?;
        let found = fitted.predict(self.matrix());
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
