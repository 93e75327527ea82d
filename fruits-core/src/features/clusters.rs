//! Groups of photos that the network finds alike, found without their labels.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hdbscan::{Hdbscan, HdbscanHyperParams};
use linfa::traits::{Fit, Predict};
use linfa::{DatasetBase, ParamGuard};
use linfa_clustering::{KMeans, KMeansError};
use linfa_nn::distance::{Distance, L2Dist};
use ndarray::{ArrayView, Dimension};
use polars::prelude::{Column, DataFrame};

use super::Features;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;
use crate::pca::Pca;

/// Components that densities are taken along.
const COMPONENTS: usize = 10;
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

    /// HDBSCAN: the photos in clusters of at least so many, as the table `path`, `label`, `cluster` (from 0; null for photos that are in none). It finds
    /// by itself how many clusters there are: regions in which photos lie more densely than around them
    /// ([Campello et al., 2013](https://doi.org/10.1007/978-3-642-37456-2_14); the crate hdbscan's), along the first ten components of the PCA. Its time
    /// grows with the square of the photos: some seconds for 20,000.
    ///
    /// ```no_run
    /// # use fruits_core::{Explorer, Features, Result};
    /// # async fn example(features: Features) -> Result<Explorer> {
    /// let clusters = features.hdbscan(10)?;
    /// features.explore().map(&features.map()?)?.columns(&clusters)?.draw().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if clusters are to have fewer than two photos or more than there are, a feature is not a finite number,
    /// or all photos are the same.
    pub fn hdbscan(&self, min_photos: usize) -> Result<DataFrame> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, Step::Input, "hdbscan", message);
        if !(2..=self.len()).contains(&min_photos) {
            return Err(invalid(format!(
                "clusters of at least {min_photos} of {} photos",
                self.len()
            )));
        }
        let pca = Pca::params().components(COMPONENTS).fit_features(self)?;
        let along = pca.project_features(self)?;
        let along: Vec<Vec<f64>> = along.outer_iter().map(|row| row.to_vec()).collect();
        let params = HdbscanHyperParams::builder().min_cluster_size(min_photos).build();
        // Nor can this one's.
        let found = interrupt::apart(Step::Compare, move || Hdbscan::new(&along, params).cluster())?;
        let found = found.map_err(|error| invalid(error.to_string()))?;
        // The crate's numbers differ from run to run: here they are in the order of the photos.
        let mut numbers: HashMap<i32, u32> = HashMap::new();
        let clusters: Vec<Option<u32>> = found
            .into_iter()
            .map(|cluster| {
                let next = numbers.len() as u32;
                (cluster >= 0).then(|| *numbers.entry(cluster).or_insert(next))
            })
            .collect();
        let columns = vec![
            Column::new("path".into(), self.path_column()),
            Column::new("label".into(), self.label_column()),
            Column::new("cluster".into(), clusters),
        ];
        Ok(DataFrame::new(self.len(), columns).expect("three columns of one length"))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::features::tests::features;

    /// Photos around as many places as there are labels, and one that is far from all.
    fn photos(labels: usize, of_each: usize) -> Features {
        let mut random = fastrand::Rng::with_seed(3);
        let n = labels * of_each + 1;
        let names: Vec<String> = (0..n).map(|row| (row / of_each).to_string()).collect();
        let paths: Vec<String> = (0..n).map(|row| format!("/none/{row}.jpg")).collect();
        let matrix = Array2::from_shape_fn((n, 12), |(row, column)| {
            let centre = if column == row / of_each { 9.0 } else { 0.0 };
            centre + random.f32() + if row == n - 1 { 30.0 } else { 0.0 }
        });
        features(&paths, &names, &matrix)
    }

    #[test]
    fn hdbscan_finds_how_many_clusters_there_are() {
        let photos = photos(4, 30);
        let found = photos.hdbscan(10).unwrap();
        let clusters = found.column("cluster").unwrap().u32().unwrap().to_vec();
        let expected: Vec<Option<u32>> = (0..120).map(|row| Some(row / 30)).chain([None]).collect();
        assert_eq!(clusters, expected);
        assert!((0..5).all(|_| photos.hdbscan(10).unwrap().equals_missing(&found)));
    }

    #[test]
    fn hdbscan_of_few_photos_and_of_the_same() {
        let photos = photos(2, 3);
        assert_eq!(photos.hdbscan(1).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(photos.hdbscan(8).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(photos.hdbscan(7).unwrap().height(), 7);
        assert_eq!(photos.take(&[0, 1]).unwrap().hdbscan(2).unwrap().height(), 2);
        let same = photos.take(&[0; 200]).unwrap();
        let said = same.hdbscan(5).map(|table| table.height());
        assert!(said.is_err() || said.unwrap() == 200);
    }
}
