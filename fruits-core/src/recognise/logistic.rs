//! Multinomial logistic regression with an L2 penalty.
//!
//! It minimises `sum of log losses + |weights|^2 / (2 C)`, with free intercepts: scikit-learn's `LogisticRegression(C)`. The minimum is one,
//! so whoever finds it has found the same. L-BFGS finds it in few steps where it knows the curvature: so it works on the principal
//! components of the features, along which the curvature is about what their variance and the penalty make of it.

use std::sync::Arc;

use linfa::ParamGuard;
use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::Fit;
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Axis, Data, Ix2, s};
use rayon::prelude::*;

use super::lbfgs::{Value, minimum};
use super::{LinearClassifier, Targets};
use crate::alike::exact::dot;
use crate::alike::product::Packed;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;
use crate::pca::Pca;

/// How far the loss of a photo may be from its minimum at the end, as the square root of twice that, where the curvature is as at the start.
const TOLERANCE: f64 = 3e-6;
/// How much of the curvature at the start is left at the minimum, where most photos are certain.
const CERTAIN: f64 = 0.1;
/// What C is at least, and the inverse of what it is at most.
const LEAST_C: f64 = 1e-12;
/// Photos of which products are made at a time, by a thread.
const BLOCK: usize = 512;

/// Multinomial logistic regression: parameters, not yet checked.
///
/// ```
/// use fruits_core::linfa::prelude::*;
/// use fruits_core::ndarray::array;
/// use fruits_core::recognise::LogisticRegression;
///
/// let features = array![[0.0, 1.0], [0.2, 0.9], [1.0, 0.0], [0.9, 0.1]];
/// let labels = array!["Kiwi", "Kiwi", "Pear", "Pear"].mapv(str::to_owned);
/// let fitted = LogisticRegression::new().fit(&DatasetBase::new(features, labels))?;
/// assert_eq!(fitted.predict(&array![[0.9, 0.2]])[0], "Pear");
/// # Ok::<(), fruits_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticRegression(ValidLogisticRegression);

/// Checked parameters of a logistic regression.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidLogisticRegression {
    c: f64,
    pca: Option<Arc<Pca>>,
}

impl LogisticRegression {
    /// The default parameters.
    pub fn new() -> Self {
        LogisticRegression(ValidLogisticRegression { c: 1.0, pca: None })
    }

    /// The inverse of the penalty's strength, as scikit-learn's `C`: smaller is simpler. 1 by default.
    pub fn c(mut self, c: f64) -> Self {
        self.0.c = c;
        self
    }

    /// Along the components of a PCA of these photos, or of more of the kind. With all components this finds the same, without a PCA of its own; with
    /// some, it learns from these only.
    pub fn along(mut self, pca: &Pca) -> Self {
        self.0.pca = Some(Arc::new(pca.clone()));
        self
    }
}

impl Default for LogisticRegression {
    fn default() -> Self {
        Self::new()
    }
}

impl ParamGuard for LogisticRegression {
    type Checked = ValidLogisticRegression;
    type Error = Error;

    fn check_ref(&self) -> Result<&ValidLogisticRegression> {
        if !(LEAST_C..=1.0 / LEAST_C).contains(&self.0.c) {
            return Err(invalid(format!(
                "C has to be larger than 0, and not out of all proportion: not {}",
                self.0.c
            )));
        }
        if self.0.pca.as_ref().is_some_and(|pca| pca.is_standardized()) {
            return Err(invalid("the PCA is of standardized features".to_owned()));
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<ValidLogisticRegression> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<D: Data<Elem = f32>, T: AsSingleTargets<Elem = String>> Fit<ArrayBase<D, Ix2>, T, Error>
    for ValidLogisticRegression
{
    type Object = LinearClassifier;

    /// # Errors
    /// [`ErrorKind::Invalid`] unless there are two labels at least, all features are finite, and photos are not all the same.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<LinearClassifier> {
        self.fit_to(dataset.records().view(), Targets::of(dataset)?)
    }
}

impl ValidLogisticRegression {
    fn fit_to(&self, features: ArrayView2<f32>, Targets { labels, classes }: Targets) -> Result<LinearClassifier> {
        let pca = match &self.pca {
            Some(pca) => pca.clone(),
            None => Arc::new(Pca::params().fit(&DatasetBase::from(features.mapv(f64::from)))?),
        };
        let (width, wanted) = (features.ncols(), pca.mean().len());
        if width != wanted {
            return Err(invalid(format!("{width} features a photo; the PCA has {wanted}")));
        }
        let (weights, intercepts) = fit(features, &classes, labels.len(), self.c, &pca)?;
        Ok(LinearClassifier::new(labels, weights, intercepts))
    }
}

/// The weights, `classes x features`, and the intercepts.
fn fit(
    features: ArrayView2<f32>,
    classes: &[usize],
    count: usize,
    c: f64,
    pca: &Pca,
) -> Result<(Array2<f64>, Array1<f64>)> {
    let (n, of_class) = (features.nrows() as f64, count as f64);
    // The curvature along a component of variance 1 where all labels are equally probable, as far as certainty leaves it.
    let start = CERTAIN * n * (1.0 - 1.0 / of_class) / of_class;
    let kept = pca.components().nrows();
    let variances = pca.explained_variance().slice(s![..kept]);
    let scales = variances.iter().map(|variance| 1.0 / (start * variance + 1.0 / c));
    let scales: Vec<f32> = scales.chain([1.0 / start]).map(|scale| scale as f32).collect();
    let loss = Loss::new(&coordinates(features, pca)?, classes, count, (1.0 / c) as f32);
    let best = minimum(&scales.repeat(count), TOLERANCE * n.sqrt(), |weights| loss.of(weights))?;

    let best = Array2::from_shape_fn((count, kept + 1), |(class, at)| {
        f64::from(best[class * (kept + 1) + at])
    });
    let weights = crate::pca::product(best.slice(s![.., ..-1]), pca.components().view());
    let intercepts = &best.column(kept) - &weights.dot(pca.mean());
    Ok((weights, intercepts))
}

/// The coordinates of photos along the components, and a 1, which the intercept is multiplied with.
fn coordinates(features: ArrayView2<f32>, pca: &Pca) -> Result<Array2<f32>> {
    let (components, mean) = (pca.components().mapv(|number| number as f32), pca.mean());
    let (kept, width) = components.dim();
    let components = Packed::new(components.as_standard_layout().as_slice().unwrap_or_default(), width);
    let mut coordinates = Array2::ones((features.nrows(), kept + 1));
    let some = coordinates.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    some.zip(features.axis_chunks_iter(Axis(0), BLOCK))
        .try_for_each(|(mut coordinates, features)| {
            interrupt::check(Step::Recognise)?;
            let rows = features.rows().into_iter();
            let centred: Vec<f32> = rows
                .flat_map(|row| {
                    row.iter()
                        .zip(mean)
                        .map(|(x, mean)| (f64::from(*x) - mean) as f32)
                        .collect::<Vec<_>>()
                })
                .collect();
            components.products(&centred, |row, first, products| {
                for (at, product) in (first..).zip(products) {
                    coordinates[[row, at]] = *product;
                }
            });
            Ok::<_, Error>(())
        })?;
    Ok(coordinates)
}

/// The sum of log losses and the penalty, of weights in these coordinates: those of a label after the other's.
struct Loss {
    blocks: Vec<Block>,
    labels: usize,
    /// Numbers of a photo; the last one is 1, and the weight for it costs nothing.
    width: usize,
    penalty: f32,
}

impl Loss {
    fn new(rows: &Array2<f32>, classes: &[usize], labels: usize, penalty: f32) -> Self {
        let blocks = rows
            .axis_chunks_iter(Axis(0), BLOCK)
            .into_par_iter()
            .zip(classes.par_chunks(BLOCK));
        Loss {
            blocks: blocks.map(|(rows, classes)| Block::new(rows, classes)).collect(),
            labels,
            width: rows.ncols(),
            penalty,
        }
    }

    /// The loss, and its gradient. The same for any number of threads.
    fn of(&self, weights: &[f32]) -> Result<Value> {
        let parts = self.blocks.par_iter().map(|block| {
            interrupt::check(Step::Recognise)?;
            Ok(block.part(weights, self.labels, self.width))
        });
        let parts: Vec<Value> = parts.collect::<Result<_>>()?;
        let mut gradient = vec![0.0; weights.len()];
        let of_labels = gradient
            .par_chunks_exact_mut(self.width)
            .zip(weights.par_chunks_exact(self.width))
            .enumerate();
        let penalties: Vec<f64> = of_labels
            .map(|(label, (gradient, weights))| {
                let mut sums = vec![0.0_f64; self.width];
                for (_, part) in &parts {
                    let part = &part[label * self.width..];
                    sums.iter_mut()
                        .zip(part)
                        .for_each(|(sum, number)| *sum += f64::from(*number));
                }
                let (penalised, last) = (&weights[..self.width - 1], self.width - 1);
                for ((to, sum), weight) in gradient.iter_mut().zip(&sums).zip(penalised) {
                    *to = (sum + f64::from(self.penalty * weight)) as f32;
                }
                gradient[last] = sums[last] as f32;
                f64::from(self.penalty) * dot(penalised, penalised) / 2.0
            })
            .collect();
        Ok((
            parts.iter().map(|(loss, _)| loss).sum::<f64>() + penalties.iter().sum::<f64>(),
            gradient,
        ))
    }
}

/// Some photos, in the order in which scores ask for their numbers, and in that for the gradient.
struct Block {
    rows: Packed,
    columns: Packed,
    classes: Vec<usize>,
}

impl Block {
    fn new(rows: ArrayView2<f32>, classes: &[usize]) -> Self {
        let pack = |matrix: ArrayView2<f32>| {
            let matrix = matrix.as_standard_layout();
            Packed::new(matrix.as_slice().unwrap_or_default(), matrix.ncols())
        };
        Block {
            rows: pack(rows),
            columns: pack(rows.t()),
            classes: classes.to_vec(),
        }
    }

    /// What these photos add to the loss and to the gradient.
    fn part(&self, weights: &[f32], labels: usize, width: usize) -> Value {
        let photos = self.classes.len();
        // The scores of all photos for a label, then for the next.
        let mut scores = vec![0.0_f32; labels * photos];
        self.rows.products(weights, |label, first, products| {
            scores[label * photos + first..][..products.len()].copy_from_slice(products);
        });
        let mut most = vec![f32::NEG_INFINITY; photos];
        for scores in scores.chunks_exact(photos) {
            most.iter_mut()
                .zip(scores)
                .for_each(|(most, score)| *most = most.max(*score));
        }
        let own = self.classes.iter().zip(&most).enumerate();
        let mut loss: f64 = own
            .map(|(photo, (class, most))| f64::from(most - scores[class * photos + photo]))
            .sum();
        let mut sums = vec![0.0_f64; photos];
        for scores in scores.chunks_exact_mut(photos) {
            for ((score, most), sum) in scores.iter_mut().zip(&most).zip(&mut sums) {
                *score = (*score - most).exp();
                *sum += f64::from(*score);
            }
        }
        loss += sums.iter().map(|sum| sum.ln()).sum::<f64>();
        // What is left of each label's probability is the gradient of its scores.
        let shares: Vec<f32> = sums.iter().map(|sum| (1.0 / sum) as f32).collect();
        for scores in scores.chunks_exact_mut(photos) {
            scores
                .iter_mut()
                .zip(&shares)
                .for_each(|(score, share)| *score *= share);
        }
        for (photo, class) in self.classes.iter().enumerate() {
            scores[class * photos + photo] -= 1.0;
        }
        let mut gradient = vec![0.0; labels * width];
        self.columns.products(&scores, |label, first, products| {
            gradient[label * width + first..][..products.len()].copy_from_slice(products);
        });
        (loss, gradient)
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Step::Recognise, "logistic regression", message)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::tests::photos;
    use super::*;

    /// scikit-learn 1.9.1: `LogisticRegression(C, tol=1e-12, max_iter=100000)` on the same numbers.
    #[test]
    fn the_optimum_is_scikit_learns() {
        let of_one = (
            1.0,
            array![
                [-0.201383889, -0.066039075, 0.477953018, 0.120834339],
                [0.400882326, 0.138089673, -0.192803324, 0.051374000],
                [-0.199498437, -0.072050598, -0.285149694, -0.172208339]
            ],
            array![0.344828383, -0.200821586, -0.144006797],
            array![0.646744988, 0.208063097, 0.145191915],
        );
        let of_hundred = (
            100.0,
            array![
                [-0.258673857, -0.077349438, 0.574113173, 0.139694926],
                [0.527509753, 0.184494580, -0.226161861, 0.082780340],
                [-0.268835896, -0.107145142, -0.347951312, -0.222475266]
            ],
            array![0.347345605, -0.217648581, -0.129697023],
            array![0.679516235, 0.197954793, 0.122528972],
        );
        for (c, weights, intercepts, probabilities) in [of_one, of_hundred] {
            let fitted = LogisticRegression::new().c(c).fit(&photos()).unwrap();
            assert_eq!(fitted.labels(), ["Kiwi", "Lemon", "Pear"]);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-4;
            assert!(
                fitted.weights().iter().zip(&weights).all(|(a, b)| near(*a, *b)),
                "{:?}",
                fitted.weights()
            );
            assert!(
                fitted.intercepts().iter().zip(&intercepts).all(|(a, b)| near(*a, *b)),
                "{:?}",
                fitted.intercepts()
            );
            let found = fitted.probabilities(photos().records().view()).unwrap();
            assert!(
                found.row(0).iter().zip(&probabilities).all(|(a, b)| near(*a, *b)),
                "{found:?}"
            );
        }
    }

    /// A gradient that is not one would lead somewhere else.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let data = photos();
        let classes: Vec<usize> = (0..30).map(|i| i % 3).collect();
        let loss = Loss::new(data.records(), &classes, 3, 0.3);
        let at: Vec<f32> = (0..12).map(|i| (i as f32 - 5.0) / 4.0).collect();
        let (_, gradient) = loss.of(&at).unwrap();
        for (i, slope) in gradient.iter().enumerate() {
            let moved = |by: f32| {
                let mut at = at.clone();
                at[i] += by;
                loss.of(&at).unwrap().0
            };
            let measured = (moved(0.05) - moved(-0.05)) / 0.1;
            let slope = f64::from(*slope);
            assert!(
                (slope - measured).abs() < 2e-3 * slope.abs().max(1.0),
                "{i}: {slope} {measured}"
            );
        }
    }

    #[test]
    fn what_cannot_be_learnt_is_said() {
        let refused = |records: Array2<f32>, labels: Array1<&str>, c: f64| {
            let data = DatasetBase::new(records, labels.mapv(str::to_owned));
            LogisticRegression::new().c(c).fit(&data).unwrap_err().to_string()
        };
        let two = || array![[1.0, 2.0], [3.0, 4.0]];
        assert!(refused(two(), array!["Kiwi", "Kiwi"], 1.0).contains("1 label; there have to be two at least"));
        assert!(refused(array![[1.0, f32::NAN], [3.0, 4.0]], array!["Kiwi", "Pear"], 1.0).contains("not finite"));
        for c in [0.0, -1.0, f64::NAN] {
            assert!(refused(two(), array!["Kiwi", "Pear"], c).contains("C has to be larger than 0"));
        }
        // Photos that are all the same say nothing.
        let same = DatasetBase::new(Array2::ones((4, 2)), array!["a", "a", "a", "b"].mapv(str::to_owned));
        let error = LogisticRegression::new().fit(&same).unwrap_err().to_string();
        assert!(error.contains("all photos have the same features"), "{error}");
        let fitted = LogisticRegression::new().fit(&photos()).unwrap();
        assert!(
            fitted
                .probabilities(array![[1.0_f32]].view())
                .unwrap_err()
                .to_string()
                .contains("1 feature a photo, not 4")
        );
    }
}
