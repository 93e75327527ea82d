//! Multinomial logistic regression with an L2 penalty.
//!
//! It minimises `sum of log losses + |weights|^2 / (2 C)`, with free intercepts: scikit-learn's `LogisticRegression(C)`. The minimum is one,
//! so whoever finds it has found the same. L-BFGS finds it in few steps where the curvature is alike in all directions: so it works on
//! the principal components of the features, each divided by what the curvature makes of its variance and of the penalty.

use std::sync::{Mutex, PoisonError};

use argmin::core::{CostFunction, Error as ArgminError, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use faer::{Accum, MatMut, MatRef, Par};
use linfa::ParamGuard;
use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Axis, Data, Ix2, s};
use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result, Step, counted};
use crate::pca::Pca;

/// Steps at most.
const STEPS: u64 = 300;
/// Earlier steps that are remembered.
const MEMORY: usize = 10;
/// The largest entry of the gradient at the end, a photo.
const TOLERANCE: f64 = 1e-6;
/// How much of the curvature at the start is left at the minimum, where most photos are certain.
const CERTAIN: f64 = 0.1;
/// Rows of which products are made at a time.
const BLOCK: usize = 2048;

/// Parameters of a logistic regression, not yet checked. Made by [`LogisticRegression::params`].
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticParams(LogisticValidParams);

/// Checked parameters of a logistic regression.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticValidParams {
    c: f64,
}

impl LogisticParams {
    /// The inverse of the penalty's strength, as scikit-learn's `C`: smaller is simpler. 1 by default.
    pub fn c(mut self, c: f64) -> Self {
        self.0.c = c;
        self
    }
}

impl ParamGuard for LogisticParams {
    type Checked = LogisticValidParams;
    type Error = Error;

    fn check_ref(&self) -> Result<&LogisticValidParams> {
        if !(self.0.c.is_finite() && self.0.c > 0.0) {
            return Err(invalid(format!("C has to be larger than 0, not {}", self.0.c)));
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<LogisticValidParams> {
        self.check_ref()?;
        Ok(self.0)
    }
}

/// A fitted logistic regression: the probability of each label is the softmax of one linear function a label.
///
/// ```
/// use fruits_core::linfa::prelude::*;
/// use fruits_core::ndarray::array;
/// use fruits_core::recognise::LogisticRegression;
///
/// let features = array![[0.0, 1.0], [0.2, 0.9], [1.0, 0.0], [0.9, 0.1]];
/// let labels = array!["Kiwi", "Kiwi", "Pear", "Pear"].mapv(str::to_owned);
/// let fitted = LogisticRegression::params().fit(&DatasetBase::new(features, labels))?;
/// assert_eq!(fitted.predict(&array![[0.9, 0.2]])[0], "Pear");
/// # Ok::<(), fruits_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticRegression {
    labels: Vec<String>,
    /// `labels x features`
    weights: Array2<f64>,
    intercepts: Array1<f64>,
}

impl LogisticRegression {
    /// The default parameters.
    pub fn params() -> LogisticParams {
        LogisticParams(LogisticValidParams { c: 1.0 })
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

    /// The probability of each label, `n x labels`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the rows have another number of features.
    pub fn probabilities(&self, features: ArrayView2<f32>) -> Result<Array2<f64>> {
        let mut scores = self.scores(features)?;
        scores.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| {
            softmax(row.as_slice_mut().expect("rows lie one behind the other"));
        });
        Ok(scores)
    }

    /// The linear functions, `n x labels`. The same on every processor and for any number of threads.
    fn scores(&self, features: ArrayView2<f32>) -> Result<Array2<f64>> {
        let (width, wanted) = (features.ncols(), self.weights.ncols());
        if width != wanted {
            return Err(invalid(format!("{width} features a photo, not {wanted}")));
        }
        let mut scores = Array2::zeros((features.nrows(), self.labels.len()));
        let rows = scores.axis_iter_mut(Axis(0)).into_par_iter();
        rows.zip(features.axis_iter(Axis(0)))
            .for_each(|(mut scores, features)| {
                let features = features.mapv(f64::from);
                for (score, (weights, intercept)) in
                    scores.iter_mut().zip(self.weights.outer_iter().zip(&self.intercepts))
                {
                    *score = weights.iter().zip(&features).map(|(w, x)| w * x).sum::<f64>() + intercept;
                }
            });
        Ok(scores)
    }
}

impl<D: Data<Elem = f32>, T: AsSingleTargets<Elem = String>> Fit<ArrayBase<D, Ix2>, T, Error> for LogisticValidParams {
    type Object = LogisticRegression;

    /// # Errors
    /// [`ErrorKind::Invalid`] unless there are two labels at least, and all features are finite.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<LogisticRegression> {
        let targets = dataset.as_single_targets();
        let mut labels: Vec<String> = targets.iter().cloned().collect();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() < 2 {
            return Err(invalid(format!(
                "{}; there have to be two at least",
                counted(labels.len(), "label")
            )));
        }
        let classes: Vec<usize> = targets
            .iter()
            .filter_map(|label| labels.binary_search(label).ok())
            .collect();
        let records = dataset.records();
        if records.iter().any(|number| !number.is_finite()) {
            return Err(invalid("a feature is not finite".to_owned()));
        }
        let (weights, intercepts) = fit(records.view(), &classes, labels.len(), self.c)?;
        Ok(LogisticRegression {
            labels,
            weights,
            intercepts,
        })
    }
}

impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array1<String>> for LogisticRegression {
    /// # Panics
    /// If the rows have another number of features; [`probabilities`](LogisticRegression::probabilities) has an error.
    fn predict_inplace(&self, features: &ArrayBase<D, Ix2>, labels: &mut Array1<String>) {
        let scores = self
            .scores(features.view())
            .expect("as many features as it was fitted to");
        for (label, scores) in labels.iter_mut().zip(scores.outer_iter()) {
            label.clone_from(&self.labels[largest(scores.iter().copied())]);
        }
    }

    fn default_target(&self, features: &ArrayBase<D, Ix2>) -> Array1<String> {
        Array1::from_elem(features.nrows(), String::new())
    }
}

/// The first of the largest numbers.
fn largest(numbers: impl Iterator<Item = f64>) -> usize {
    let best = numbers.enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a });
    best.map_or(0, |(at, _)| at)
}

/// The weights, `classes x features`, and the intercepts.
fn fit(features: ArrayView2<f32>, classes: &[usize], count: usize, c: f64) -> Result<(Array2<f64>, Array1<f64>)> {
    let pca = Pca::params().fit(&DatasetBase::from(features.mapv(f64::from)))?;
    let (n, of_class) = (features.nrows() as f64, count as f64);
    // The curvature in the direction of a component where all labels are equally probable, less what certainty takes, and the penalty's.
    let start = n * (1.0 - 1.0 / of_class) / of_class;
    let variances = pca.explained_variance().slice(s![..pca.components().nrows()]);
    let curvature = variances.mapv(|variance| CERTAIN * start * variance + 1.0 / c);
    let to_coordinates = &pca.components().view() / &curvature.mapv(f64::sqrt).insert_axis(Axis(1));
    let centred = &features.mapv(f64::from) - pca.mean();
    let coordinates = crate::pca::product(centred.view(), to_coordinates.t()).mapv(|number| number as f32);
    let problem = Loss {
        rows: coordinates.view(),
        classes,
        count,
        penalties: curvature.mapv(|curvature| 1.0 / (c * curvature)),
        start,
        last: Mutex::new(None),
    };
    let length = count * (coordinates.ncols() + 1);
    let line_search = MoreThuenteLineSearch::new();
    let solver = LBFGS::new(line_search, MEMORY)
        .with_tolerance_grad(TOLERANCE * n)
        .and_then(|solver| solver.with_tolerance_cost(1e-10 * n))
        .map_err(failed)?;
    let done = Executor::new(problem, solver)
        .configure(|state| state.param(vec![0.0; length]).max_iters(STEPS))
        .ctrlc(false)
        .run()
        .map_err(failed)?;
    let best = done
        .state()
        .get_best_param()
        .ok_or_else(|| invalid("no step was possible".to_owned()))?;
    let best = Array2::from_shape_vec((count, coordinates.ncols() + 1), best.clone())
        .map_err(|error| Error::from_source(Step::Recognise, "", error))?;
    let weights = crate::pca::product(best.slice(s![.., ..-1]), to_coordinates.view());
    let intercepts = best.column(best.ncols() - 1).mapv(|number| number / start.sqrt()) - weights.dot(pca.mean());
    Ok((weights, intercepts))
}

/// The sum of log losses and the penalty, of coefficients in scaled coordinates: a label's after the other's, its intercept last.
struct Loss<'a> {
    rows: ArrayView2<'a, f32>,
    classes: &'a [usize],
    count: usize,
    penalties: Array1<f64>,
    /// The curvature of intercepts.
    start: f64,
    /// What was asked last, and its gradient.
    last: Mutex<Option<(Vec<f64>, Vec<f64>)>>,
}

impl Loss<'_> {
    fn loss_and_gradient(&self, coefficients: &[f64]) -> (f64, Vec<f64>) {
        let width = self.rows.ncols();
        let own = |class: usize| &coefficients[class * (width + 1)..][..width + 1];
        let weights: Vec<f32> = (0..self.count)
            .flat_map(|class| own(class)[..width].iter().map(|number| *number as f32))
            .collect();
        let intercepts: Vec<f64> = (0..self.count)
            .map(|class| own(class)[width] / self.start.sqrt())
            .collect();
        let blocks = self
            .rows
            .axis_chunks_iter(Axis(0), BLOCK)
            .zip(self.classes.chunks(BLOCK));
        let mut gradient = vec![0.0; coefficients.len()];
        let mut loss = 0.0;
        // One block after the other, so that sums have one order; the products use all cores.
        let mut partial = vec![0.0_f32; self.count * width];
        for (rows, classes) in blocks {
            let numbers = rows.to_slice().expect("rows lie one behind the other");
            let mut scores = vec![0.0_f32; classes.len() * self.count];
            faer::linalg::matmul::matmul(
                MatMut::from_row_major_slice_mut(&mut scores, classes.len(), self.count),
                Accum::Replace,
                MatRef::from_row_major_slice(numbers, classes.len(), width),
                MatRef::from_row_major_slice(&weights, self.count, width).transpose(),
                1.0,
                Par::rayon(0),
            );
            let losses: Vec<f64> = scores
                .par_chunks_exact_mut(self.count)
                .zip(classes)
                .map(|(scores, class)| {
                    let mut row: Vec<f64> = scores
                        .iter()
                        .zip(&intercepts)
                        .map(|(score, add)| f64::from(*score) + add)
                        .collect();
                    let loss = softmax(&mut row) - f64::from(scores[*class]) - intercepts[*class];
                    row[*class] -= 1.0;
                    scores
                        .iter_mut()
                        .zip(&row)
                        .for_each(|(to, number)| *to = *number as f32);
                    loss
                })
                .collect();
            loss += losses.iter().sum::<f64>();
            // What is left of each label's probability is the gradient of its scores.
            faer::linalg::matmul::matmul(
                MatMut::from_row_major_slice_mut(&mut partial, self.count, width),
                Accum::Replace,
                MatRef::from_row_major_slice(&scores, classes.len(), self.count).transpose(),
                MatRef::from_row_major_slice(numbers, classes.len(), width),
                1.0,
                Par::rayon(0),
            );
            for class in 0..self.count {
                let (gradient, last) = gradient[class * (width + 1)..][..width + 1].split_at_mut(width);
                gradient
                    .iter_mut()
                    .zip(&partial[class * width..])
                    .for_each(|(sum, part)| *sum += f64::from(*part));
                let sum: f64 = scores
                    .iter()
                    .skip(class)
                    .step_by(self.count)
                    .map(|score| f64::from(*score))
                    .sum();
                last[0] += sum / self.start.sqrt();
            }
        }
        for class in 0..self.count {
            let gradient = &mut gradient[class * (width + 1)..][..width];
            for ((gradient, coefficient), penalty) in gradient.iter_mut().zip(own(class)).zip(&self.penalties) {
                loss += penalty * coefficient * coefficient / 2.0;
                *gradient += penalty * coefficient;
            }
        }
        (loss, gradient)
    }
}

impl CostFunction for Loss<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, coefficients: &Vec<f64>) -> std::result::Result<f64, ArgminError> {
        let (loss, gradient) = self.loss_and_gradient(coefficients);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((coefficients.clone(), gradient));
        Ok(loss)
    }
}

impl Gradient for Loss<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, coefficients: &Vec<f64>) -> std::result::Result<Vec<f64>, ArgminError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((asked, gradient)) if asked == coefficients => Ok(gradient.clone()),
            _ => Ok(self.loss_and_gradient(coefficients).1),
        }
    }
}

/// Turns scores into probabilities, and gives the logarithm of the sum of the scores' exponentials.
fn softmax(scores: &mut [f64]) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
    most + sum.ln()
}

fn failed(error: ArgminError) -> Error {
    invalid(error.to_string())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Step::Recognise, "logistic regression", message)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn photos() -> DatasetBase<Array2<f32>, Array1<String>> {
        let number = |(i, j): (usize, usize)| ((3 * i + 7 * j + i * j) as f64).sin() as f32;
        let label = |i: usize| {
            if i.is_multiple_of(5) {
                "Kiwi"
            } else {
                ["Kiwi", "Lemon", "Pear"][i % 3]
            }
        };
        DatasetBase::new(
            Array2::from_shape_fn((30, 4), number),
            Array1::from_shape_fn(30, |i| label(i).to_owned()),
        )
    }

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
            let fitted = LogisticRegression::params().c(c).fit(&photos()).unwrap();
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
        let problem = Loss {
            rows: data.records().view(),
            classes: &classes,
            count: 3,
            penalties: array![0.1, 0.2, 0.3, 0.4],
            start: 4.0,
            last: Mutex::new(None),
        };
        let at: Vec<f64> = (0..15).map(|i| (f64::from(i) - 7.0) / 5.0).collect();
        let (_, gradient) = problem.loss_and_gradient(&at);
        for (i, slope) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut at = at.clone();
                at[i] += by;
                problem.loss_and_gradient(&at).0
            };
            let measured = (moved(0.05) - moved(-0.05)) / 0.1;
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
            LogisticRegression::params().c(c).fit(&data).unwrap_err().to_string()
        };
        let two = || array![[1.0, 2.0], [3.0, 4.0]];
        assert!(refused(two(), array!["Kiwi", "Kiwi"], 1.0).contains("1 label; there have to be two at least"));
        assert!(refused(array![[1.0, f32::NAN], [3.0, 4.0]], array!["Kiwi", "Pear"], 1.0).contains("not finite"));
        for c in [0.0, -1.0, f64::NAN] {
            assert!(refused(two(), array!["Kiwi", "Pear"], c).contains("C has to be larger than 0"));
        }
        // Photos that are all the same say nothing.
        let same = DatasetBase::new(Array2::ones((4, 2)), array!["a", "a", "a", "b"].mapv(str::to_owned));
        let error = LogisticRegression::params().fit(&same).unwrap_err().to_string();
        assert!(error.contains("all photos have the same features"), "{error}");
        let fitted = LogisticRegression::params().fit(&photos()).unwrap();
        assert!(
            fitted
                .probabilities(array![[1.0_f32]].view())
                .unwrap_err()
                .to_string()
                .contains("1 features a photo, not 4")
        );
    }
}
