//! The means of labels, and how photos lie around them.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Axis, Data, Ix2};

use super::Targets;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;

/// What both classifiers need that take the photos of all labels to lie around their means in the same way.
pub(super) struct Within {
    pub labels: Vec<String>,
    /// Photos of each label.
    pub counts: Array1<f64>,
    /// `labels x features`
    pub means: Array2<f64>,
    /// Of photos around the means of their labels, divided by the number of photos, and mixed with a sphere of the same variance in all.
    pub covariance: Array2<f64>,
}

impl Within {
    /// `shrinkage` is the sphere's share.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless there are two labels at least, all features are finite, and photos of a label are not all the same.
    pub fn of<D: Data<Elem = f32>, T: AsSingleTargets<Elem = String>>(
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
        shrinkage: f64,
    ) -> Result<Self> {
        Self::new(dataset.records().view(), Targets::of(dataset)?, shrinkage)
    }

    fn new(features: ArrayView2<f32>, Targets { labels, classes }: Targets, shrinkage: f64) -> Result<Self> {
        let mut rows = features.mapv(f64::from);
        let (n, width) = rows.dim();
        let mut means = Array2::<f64>::zeros((labels.len(), width));
        let mut counts = Array1::<f64>::zeros(labels.len());
        for (row, class) in rows.rows().into_iter().zip(&classes) {
            let mut mean = means.row_mut(*class);
            mean += &row;
            counts[*class] += 1.0;
        }
        means /= &counts.view().insert_axis(Axis(1));
        for (mut row, class) in rows.rows_mut().into_iter().zip(&classes) {
            row -= &means.row(*class);
        }
        let sums = interrupt::apart(Step::Recognise, move || crate::pca::product(rows.t(), rows.view()))?;
        let mut covariance = sums / n as f64;
        let sphere = covariance.diag().sum() / width as f64;
        // Rounding leaves a little of photos that are the same.
        let squares = features.iter().map(|number| f64::from(*number).powi(2));
        if sphere <= 1e-20 * squares.sum::<f64>() / (n * width) as f64 {
            return Err(invalid(
                "the photos of each label have all the same features".to_owned(),
            ));
        }
        covariance *= 1.0 - shrinkage;
        covariance
            .diag_mut()
            .mapv_inplace(|variance| variance + shrinkage * sphere);
        Ok(Within {
            labels,
            counts,
            means,
            covariance,
        })
    }
}

/// Fails unless the sphere has a share: without it, a direction in which no photos differ would decide alone.
pub(super) fn check_shrinkage(shrinkage: f64) -> Result<()> {
    if !(shrinkage > 0.0 && shrinkage <= 1.0) {
        return Err(invalid(format!(
            "the shrinkage has to be above 0 and up to 1, not {shrinkage}"
        )));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Step::Recognise, "classifier", message)
}
