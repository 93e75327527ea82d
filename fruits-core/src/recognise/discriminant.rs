//! Linear discriminant analysis, with a covariance that is shrunk towards a sphere.

use linfa::ParamGuard;
use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::Fit;
use ndarray::{ArrayBase, Axis, Data, Ix2};

use super::LinearClassifier;
use super::within::{Within, check_shrinkage};
use crate::error::{Error, Result};

/// Photos of a label are taken to lie around its mean, those of all labels in the same way: as all photos do around the means of their labels, and
/// as a sphere, in a mixture. scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=…)`.
///
/// With a shrinkage of 1, there is only the sphere left: the label is that of the nearest mean.
///
/// ```
/// use fruits_core::linfa::prelude::*;
/// use fruits_core::ndarray::array;
/// use fruits_core::recognise::Discriminant;
///
/// let features = array![[0.0, 1.0], [0.2, 0.9], [1.0, 0.0], [0.9, 0.1]];
/// let labels = array!["Kiwi", "Kiwi", "Pear", "Pear"].mapv(str::to_owned);
/// let fitted = Discriminant::new().shrinkage(0.5).fit(&DatasetBase::new(features, labels))?;
/// assert_eq!(fitted.predict(&array![[0.9, 0.2]])[0], "Pear");
/// # Ok::<(), fruits_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Discriminant(ValidDiscriminant);

/// Checked parameters of a discriminant analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidDiscriminant {
    shrinkage: f64,
}

impl Discriminant {
    /// The default parameters.
    pub fn new() -> Self {
        Discriminant(ValidDiscriminant { shrinkage: 0.1 })
    }

    /// The share of the sphere in the covariance, above 0 and up to 1. 0.1 by default.
    pub fn shrinkage(mut self, shrinkage: f64) -> Self {
        self.0.shrinkage = shrinkage;
        self
    }
}

impl Default for Discriminant {
    fn default() -> Self {
        Self::new()
    }
}

impl ParamGuard for Discriminant {
    type Checked = ValidDiscriminant;
    type Error = Error;

    fn check_ref(&self) -> Result<&ValidDiscriminant> {
        check_shrinkage(self.0.shrinkage)?;
        Ok(&self.0)
    }

    fn check(self) -> Result<ValidDiscriminant> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<D: Data<Elem = f32>, T: AsSingleTargets<Elem = String>> Fit<ArrayBase<D, Ix2>, T, Error> for ValidDiscriminant {
    type Object = LinearClassifier;

    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) unless there are two labels at least, all features are finite, and photos of a label
    /// are not all the same.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<LinearClassifier> {
        let Within {
            labels,
            counts,
            means,
            covariance,
        } = Within::of(dataset, self.shrinkage)?;
        let weights = crate::pca::solve(&covariance, &means)?;
        let half_squares = (&means * &weights).sum_axis(Axis(1)) / 2.0;
        let intercepts = counts.mapv(|count| (count / counts.sum()).ln()) - half_squares;
        Ok(LinearClassifier::new(labels, weights, intercepts))
    }
}

#[cfg(test)]
mod tests {
    use linfa::prelude::Predict;
    use ndarray::{Array1, array};

    use super::super::tests::photos;
    use super::*;
    use crate::recognise::Classify;

    /// scikit-learn 1.9.1: `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=…)` on the same numbers.
    #[test]
    fn it_is_scikit_learns() {
        let shrunk = (
            0.1,
            array![
                [-0.22594769, -0.08874666, 0.53659256, 0.53126345],
                [0.53009394, 0.16332935, -0.30603925, 0.41610352],
                [-0.25729529, -0.08723572, -0.42388519, 0.16163751]
            ],
            array![-0.90778405, -1.45309256, -1.38579557],
        );
        let sphere = (
            1.0,
            array![
                [-0.20179795, -0.09332481, 0.52533796, 0.54041078],
                [0.4756583, 0.15867009, -0.32209246, 0.44472471],
                [-0.22826675, -0.06943578, -0.42503239, 0.17893434]
            ],
            array![-0.90651781, -1.45105057, -1.38479489],
        );
        for (shrinkage, weights, intercepts) in [shrunk, sphere] {
            let fitted = Discriminant::new().shrinkage(shrinkage).fit(&photos()).unwrap();
            assert_eq!(Classify::labels(&fitted), ["Kiwi", "Lemon", "Pear"]);
            let near = |a: &f64, b: &f64| (a - b).abs() < 1e-7;
            assert!(
                fitted.weights().iter().zip(&weights).all(|(a, b)| near(a, b)),
                "{fitted:?}"
            );
            assert!(
                fitted.intercepts().iter().zip(&intercepts).all(|(a, b)| near(a, b)),
                "{fitted:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        for shrinkage in [0.0, -0.1, 1.1, f64::NAN] {
            let error = Discriminant::new()
                .shrinkage(shrinkage)
                .fit(&photos())
                .unwrap_err()
                .to_string();
            assert!(error.contains("above 0 and up to 1"), "{error}");
        }
        let same = DatasetBase::new(
            array![[1.0_f32], [1.0], [2.0]],
            array!["a", "a", "b"].mapv(str::to_owned),
        );
        let error = Discriminant::new().fit(&same).unwrap_err().to_string();
        assert!(error.contains("all the same features"), "{error}");
        let fitted = Discriminant::new().fit(&photos()).unwrap();
        let predicted: Array1<String> = fitted.predict(photos().records());
        assert_eq!(predicted.len(), 30);
    }
}
