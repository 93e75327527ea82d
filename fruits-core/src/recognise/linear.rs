//! What most classifiers come to: one linear function of the features a label.

use linfa::traits::PredictInplace;
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Axis, Data, Ix2};
use rayon::prelude::*;

use super::{Classify, check_width, predict, softmax};
use crate::error::{Error, Result, Step};
use crate::interrupt;

/// A fitted classifier: the label whose linear function is largest. [`LogisticRegression`](super::LogisticRegression) and
/// [`Discriminant`](super::Discriminant) fit one.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearClassifier {
    labels: Vec<String>,
    /// `labels x features`
    weights: Array2<f64>,
    intercepts: Array1<f64>,
}

impl LinearClassifier {
    pub(super) fn new(labels: Vec<String>, weights: Array2<f64>, intercepts: Array1<f64>) -> Self {
        let weights = weights.as_standard_layout().into_owned();
        LinearClassifier {
            labels,
            weights,
            intercepts,
        }
    }

    /// The labels, in the order of the columns of [`probabilities`](Self::probabilities).
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The linear functions' coefficients, `labels x features`.
    pub fn weights(&self) -> &Array2<f64> {
        &self.weights
    }

    /// The linear functions' values at zero, a label each.
    pub fn intercepts(&self) -> &Array1<f64> {
        &self.intercepts
    }

    /// The probability of each label, `n x labels`: the softmax of the linear functions.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the rows have another number of features.
    pub fn probabilities(&self, features: ArrayView2<f32>) -> Result<Array2<f64>> {
        let mut scores = self.scores(features)?;
        scores.axis_iter_mut(Axis(0)).for_each(softmax);
        Ok(scores)
    }
}

impl Classify for LinearClassifier {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn scores(&self, features: ArrayView2<f32>) -> Result<Array2<f64>> {
        check_width(features.ncols(), self.weights.ncols())?;
        let mut scores = Array2::zeros((features.nrows(), self.labels.len()));
        let rows = scores.axis_iter_mut(Axis(0)).into_par_iter();
        rows.zip(features.axis_iter(Axis(0)))
            .try_for_each(|(mut scores, features)| {
                interrupt::check(Step::Recognise)?;
                let features = features.mapv(f64::from);
                let functions = self.weights.outer_iter().zip(&self.intercepts);
                for (score, (weights, intercept)) in scores.iter_mut().zip(functions) {
                    *score = weights.iter().zip(&features).map(|(w, x)| w * x).sum::<f64>() + intercept;
                }
                Ok::<_, Error>(())
            })?;
        Ok(scores)
    }
}

impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array1<String>> for LinearClassifier {
    /// # Panics
    /// If the rows have another number of features; [`probabilities`](LinearClassifier::probabilities) has an error.
    fn predict_inplace(&self, features: &ArrayBase<D, Ix2>, labels: &mut Array1<String>) {
        predict(self, features.view(), labels);
    }

    fn default_target(&self, features: &ArrayBase<D, Ix2>) -> Array1<String> {
        Array1::from_elem(features.nrows(), String::new())
    }
}
