//! From features to "which fruit is this": splits, a classifier, and an evaluation that can be trusted.
//!
//! Photos of one group, such as the frames of a video, are near twins. Whoever tests with frames whose neighbours were for training measures how
//! well they are remembered: on 91 kinds of fruit, 99.9 % of photos are right when they are split by chance, and 78 % when whole videos are
//! left out (94 % with their [texture](crate::MobileNetV2::with_texture), in [four views](crate::pixels::Views)).
//! [`Features::recognition`](crate::Features::recognition) measures both.
//!
//! | from the top | |
//! |---|---|
//! | [`Recogniser`] | a photo's bytes to an [`Answer`]: a classifier and its network |
//! | [`Classifier`] | what is kept: fitted, calibrated, with the photos that it knows |
//! | [`Recognition`], [`Strangers`] | what is measured of it |
//! | [`Evaluation`], [`Splits`] | any classifier, any split |
//! | [`WhitenedCosine`], [`Discriminant`], [`LogisticRegression`] | classifiers, with linfa's traits |

mod answers;
mod calibration;
mod classifier;
mod cosine;
mod discriminant;
mod evaluation;
mod familiarity;
mod lbfgs;
mod learning;
mod linear;
mod logistic;
mod persist;
mod recogniser;
mod recognition;
mod splits;
mod strangers;
mod within;

use linfa::dataset::{AsSingleTargets, DatasetBase};
use ndarray::{Array1, Array2, ArrayBase, ArrayView1, ArrayView2, ArrayViewMut1, Data, Ix2};

use crate::error::{Error, ErrorKind, Result, Step, counted};
pub(crate) use answers::AnswersWriter;
pub use answers::{Answer, Answers, Identified, NearPhoto};
pub use calibration::Bin;
pub use classifier::Classifier;
pub use cosine::{CosineClassifier, ValidWhitenedCosine, WhitenedCosine};
pub use discriminant::{Discriminant, ValidDiscriminant};
pub use evaluation::{Confusion, Evaluation};
pub use linear::LinearClassifier;
pub use logistic::{LogisticRegression, ValidLogisticRegression};
pub use recogniser::Recogniser;
pub use recognition::{Measured, Recognition, Summary};
pub use splits::{Split, Splits};
pub use strangers::Strangers;

/// A fitted classifier, as an evaluation asks it.
pub trait Classify {
    /// The labels that it knows, in the order of the columns of [`scores`](Self::scores).
    fn labels(&self) -> &[String];

    /// How well each label fits, `n x labels`: larger is better, and the softmax of a photo's scores is how probable they are.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the rows have another number of features.
    fn scores(&self, features: ArrayView2<f32>) -> Result<Array2<f64>>;
}

/// The labels of photos, and of each photo the number of its label.
struct Targets {
    labels: Vec<String>,
    classes: Vec<usize>,
}

impl Targets {
    /// Fails unless there are two labels at least, and all features are finite.
    fn of<D: Data<Elem = f32>, T: AsSingleTargets<Elem = String>>(
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<Self> {
        let targets = dataset.as_single_targets();
        Self::new(dataset.records().view(), targets.iter().cloned().collect())
    }

    // What is generic, a notebook's cell compiles anew, and without optimisation: loops stand elsewhere.
    fn new(features: ArrayView2<f32>, targets: Vec<String>) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, Step::Recognise, "classifier", message);
        let mut labels = targets.clone();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() < 2 {
            let there = counted(labels.len(), "label");
            return Err(invalid(format!("{there}; there have to be two at least")));
        }
        if features.iter().any(|number| !number.is_finite()) {
            return Err(invalid("a feature is not finite".to_owned()));
        }
        let number = |label: &String| labels.binary_search(label).ok();
        let classes = targets.iter().filter_map(number).collect();
        Ok(Targets { labels, classes })
    }
}

/// Fails if a photo has another number of features.
fn check_width(width: usize, wanted: usize) -> Result<()> {
    if width != wanted {
        let message = format!("{} a photo, not {wanted}", counted(width, "feature"));
        return Err(Error::new(ErrorKind::Invalid, Step::Recognise, "classifier", message));
    }
    Ok(())
}

/// linfa's form of the label with the largest score. It has no error.
fn predict(classifier: &impl Classify, features: ArrayView2<f32>, labels: &mut Array1<String>) {
    let scores = classifier
        .scores(features)
        .expect("as many features as it was fitted to");
    for (label, scores) in labels.iter_mut().zip(scores.outer_iter()) {
        label.clone_from(&classifier.labels()[largest(scores)]);
    }
}

/// Which of some numbers is largest; of equals, the first.
fn largest(numbers: ArrayView1<f64>) -> usize {
    let best = numbers
        .into_iter()
        .enumerate()
        .reduce(|a, b| if b.1 > a.1 { b } else { a });
    best.map_or(0, |(at, _)| at)
}

/// Turns scores into probabilities.
fn softmax(mut scores: ArrayViewMut1<f64>) {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.mapv_inplace(|score| (score - most).exp());
    let sum = scores.sum();
    scores /= sum;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use crate::features::tests::features;

    /// Three kinds of fruit in four videos each. What a video has in common is larger than what a kind has.
    pub(super) fn videos() -> Features {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut paths, mut rows) = (Vec::new(), Vec::new());
        for (kind, label) in ["Kiwi", "Lemon", "Pear"].into_iter().enumerate() {
            for video in ["", "r_", "r2_", "r3_"] {
                let own: Vec<f32> = (0..20).map(|_| 2.0 * random.f32()).collect();
                for frame in 0..10 {
                    paths.push(format!("/none/{label}/{video}{frame}.jpg"));
                    let number = |at: usize| own[at] + 0.1 * random.f32() + if at == kind { 1.0 } else { 0.0 };
                    rows.extend((0..20).map(number).collect::<Vec<_>>());
                }
            }
        }
        let labels: Vec<String> = paths
            .iter()
            .map(|path| path.split('/').nth(2).unwrap().to_owned())
            .collect();
        let matrix = ndarray::Array2::from_shape_vec((120, 20), rows).unwrap();
        features(&paths, &labels, &matrix)
    }

    /// Numbers that are made as easily in Python.
    pub(super) fn photos() -> DatasetBase<Array2<f32>, Array1<String>> {
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
}
