//! The nearest class mean by cosine, in a space in which the photos of a label lie around their mean as a sphere.

use linfa::ParamGuard;
use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView1, ArrayView2, Axis, Data, Ix2};
use rayon::prelude::*;

use super::within::{Within, check_shrinkage};
use super::{Classify, check_width, predict};
use crate::error::{Error, Result, Step};
use crate::interrupt;

/// A score for a cosine of 1. It only says in what unit scores are, which a [temperature](super::Evaluation::temperature) corrects.
const SCALE: f64 = 20.0;
/// Numbers of which each is added to a sum of its own.
const SUMS: usize = 8;

/// The label whose mean has the most similar direction, after features were divided by how photos of one label differ: their covariance around the
/// means of their labels, mixed with a sphere ([Hatch, Kajarekar and Stolcke, Within-class covariance normalization,
/// 2006](https://www.isca-archive.org/interspeech_2006/hatch06_interspeech.html), whose cosines recognise speakers across recordings).
///
/// What differs between photos of one fruit counts less, and how far a photo is from the middle does not count at all: both change from one video
/// to another.
///
/// ```
/// use fruits_core::linfa::prelude::*;
/// use fruits_core::ndarray::array;
/// use fruits_core::recognise::WhitenedCosine;
///
/// let features = array![[0.0, 1.0], [0.2, 0.9], [1.0, 0.0], [0.9, 0.1]];
/// let labels = array!["Kiwi", "Kiwi", "Pear", "Pear"].mapv(str::to_owned);
/// let fitted = WhitenedCosine::new().fit(&DatasetBase::new(features, labels))?;
/// assert_eq!(fitted.predict(&array![[0.9, 0.2]])[0], "Pear");
/// # Ok::<(), fruits_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WhitenedCosine(ValidWhitenedCosine);

/// Checked parameters of a [`WhitenedCosine`].
#[derive(Debug, Clone, PartialEq)]
pub struct ValidWhitenedCosine {
    shrinkage: f64,
}

impl WhitenedCosine {
    /// The default parameters.
    pub fn new() -> Self {
        WhitenedCosine(ValidWhitenedCosine { shrinkage: 0.5 })
    }

    /// The share of the sphere in the covariance, above 0 and up to 1. 0.5 by default; on videos of fruit, all from 0.3 to 0.8 do as well.
    pub fn shrinkage(mut self, shrinkage: f64) -> Self {
        self.0.shrinkage = shrinkage;
        self
    }
}

impl Default for WhitenedCosine {
    fn default() -> Self {
        Self::new()
    }
}

impl ParamGuard for WhitenedCosine {
    type Checked = ValidWhitenedCosine;
    type Error = Error;

    fn check_ref(&self) -> Result<&ValidWhitenedCosine> {
        check_shrinkage(self.0.shrinkage)?;
        Ok(&self.0)
    }

    fn check(self) -> Result<ValidWhitenedCosine> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<D: Data<Elem = f32>, T: AsSingleTargets<Elem = String>> Fit<ArrayBase<D, Ix2>, T, Error> for ValidWhitenedCosine {
    type Object = CosineClassifier;

    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) unless there are two labels at least, all features are finite, and photos of a label are not all the same.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<CosineClassifier> {
        let Within {
            labels,
            means,
            covariance,
            ..
        } = Within::of(dataset, self.shrinkage)?;
        let centre = means.mean_axis(Axis(0)).unwrap_or_default();
        let whitening = crate::pca::whitening(&covariance)?;
        let centred = &means - &centre;
        let rows = centred.rows().into_iter();
        let white: Vec<f64> = rows.flat_map(|mean| white(&whitening, &mean.to_vec())).collect();
        let means = Array2::from_shape_vec(means.dim(), white)
            .map_err(|error| Error::from_source(Step::Recognise, "", error))?;
        Ok(CosineClassifier::new(labels, centre, whitening, means))
    }
}

/// A fitted [`WhitenedCosine`].
#[derive(Debug, Clone, PartialEq)]
pub struct CosineClassifier {
    labels: Vec<String>,
    /// The mean of the labels' means.
    centre: Array1<f64>,
    /// `features x features`, with zeros above its diagonal.
    whitening: Array2<f64>,
    /// The labels' means in the white space, `labels x features`, and their lengths.
    means: Array2<f64>,
    lengths: Array1<f64>,
}

impl CosineClassifier {
    pub(super) fn new(labels: Vec<String>, centre: Array1<f64>, whitening: Array2<f64>, means: Array2<f64>) -> Self {
        let lengths = means.rows().into_iter().map(|mean| length(&mean.to_vec())).collect();
        CosineClassifier {
            labels,
            centre,
            whitening: whitening.as_standard_layout().into_owned(),
            means: means.as_standard_layout().into_owned(),
            lengths,
        }
    }

    /// The labels, in the order of the columns of [`scores`](Classify::scores).
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    pub(super) fn centre(&self) -> &Array1<f64> {
        &self.centre
    }

    pub(super) fn whitening(&self) -> &Array2<f64> {
        &self.whitening
    }

    /// In the white space.
    pub(super) fn means(&self) -> &Array2<f64> {
        &self.means
    }

    /// The cosine between a photo and the mean of each label, in the white space.
    fn cosines(&self, features: ArrayView1<f32>) -> Vec<f64> {
        let centred: Vec<f64> = features
            .iter()
            .zip(&self.centre)
            .map(|(x, centre)| f64::from(*x) - centre)
            .collect();
        let white = white(&self.whitening, &centred);
        let length = length(&white);
        let cosine = |(mean, of_mean): (ArrayView1<f64>, &f64)| {
            let lengths = length * of_mean;
            // A photo in the middle of all has no direction.
            if lengths > 0.0 {
                dot(&white, mean.as_slice().unwrap_or_default()) / lengths
            } else {
                0.0
            }
        };
        self.means.outer_iter().zip(&self.lengths).map(cosine).collect()
    }
}

impl Classify for CosineClassifier {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn scores(&self, features: ArrayView2<f32>) -> Result<Array2<f64>> {
        check_width(features.ncols(), self.centre.len())?;
        let mut scores = Array2::zeros((features.nrows(), self.labels.len()));
        let rows = scores.axis_iter_mut(Axis(0)).into_par_iter();
        rows.zip(features.axis_iter(Axis(0)))
            .try_for_each(|(mut scores, features)| {
                interrupt::check(Step::Recognise)?;
                scores.assign(&Array1::from(self.cosines(features)));
                scores *= SCALE;
                Ok::<_, Error>(())
            })?;
        Ok(scores)
    }
}

impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array1<String>> for CosineClassifier {
    /// # Panics
    /// If the rows have another number of features; [`scores`](Classify::scores) has an error.
    fn predict_inplace(&self, features: &ArrayBase<D, Ix2>, labels: &mut Array1<String>) {
        predict(self, features.view(), labels);
    }

    fn default_target(&self, features: &ArrayBase<D, Ix2>) -> Array1<String> {
        Array1::from_elem(features.nrows(), String::new())
    }
}

/// Centred features in the white space. The whitening has zeros above its diagonal, which are left out.
fn white(whitening: &Array2<f64>, centred: &[f64]) -> Vec<f64> {
    let rows = whitening.outer_iter().enumerate();
    rows.map(|(at, row)| dot(&row.as_slice().unwrap_or_default()[..at + 1], &centred[..at + 1]))
        .collect()
}

/// In an order that does not depend on the processor.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let ((xs, x), (ys, y)) = (x.as_chunks::<SUMS>(), y.as_chunks::<SUMS>());
    let mut sums = [0.0; SUMS];
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..SUMS {
            sums[i] += x[i] * y[i];
        }
    }
    let rest: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

fn length(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}

#[cfg(test)]
mod tests {
    use linfa::prelude::Predict;
    use ndarray::array;

    use super::super::tests::photos;
    use super::*;

    /// numpy: cosines in the metric of `numpy.linalg.inv` of the same covariance.
    #[test]
    fn it_is_the_cosine_in_the_metric_of_the_covariance() {
        let fitted = WhitenedCosine::new().fit(&photos()).unwrap();
        assert_eq!(fitted.labels(), ["Kiwi", "Lemon", "Pear"]);
        let scores = fitted.scores(photos().records().view()).unwrap() / SCALE;
        let expected = array![
            [0.718508207351, -0.145364529883, -0.81382149914],
            [0.34325944415, -0.14563988251, -0.300899469883],
            [-0.423744643428, 0.288266311154, 0.246315351525]
        ];
        for (found, expected) in scores.rows().into_iter().zip(expected.rows()) {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found}");
        }
        let predicted: Array1<String> = fitted.predict(photos().records());
        assert_eq!(predicted.len(), 30);
    }

    #[test]
    fn what_cannot_be_is_said() {
        assert!(WhitenedCosine::new().shrinkage(0.0).fit(&photos()).is_err());
        let fitted = WhitenedCosine::new().fit(&photos()).unwrap();
        let error = fitted.scores(array![[1.0_f32]].view()).unwrap_err().to_string();
        assert!(error.contains("1 feature a photo, not 4"), "{error}");
        // The middle of all has no direction.
        let middle = fitted.centre.mapv(|number| number as f32).insert_axis(Axis(0));
        assert!(
            fitted
                .scores(middle.view())
                .unwrap()
                .iter()
                .all(|score| score.is_finite())
        );
    }
}
