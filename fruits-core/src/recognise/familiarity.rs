//! How familiar a photo is to a classifier: whether it is of a kind that it knows.

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::alike::{Metric, Near, nearest};
use crate::error::Result;
use crate::extractor::Model;
use crate::pixels::Views;

/// Photos for training that are looked at.
const NEAREST: usize = 5;
/// Of so many known photos, one is called unknown.
const ONE_OF: usize = 20;
/// Signs that are nearly the same for all known photos are not divided by less: they would decide alone.
const LEAST_DEVIATIONS: [f64; 2] = [1e-3, 1e-2];

/// The nearest photos for training, of each photo.
pub(super) fn near(photos: ArrayView2<f32>, training: ArrayView2<f32>) -> Result<Vec<Vec<Near>>> {
    nearest(photos, training, NEAREST, Metric::Cosine)
}

/// What tells of a photo whether it is of a known kind; larger is more familiar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Signs([f64; 2]);

impl Signs {
    /// Of a photo with these scores, and these nearest photos for training.
    pub fn new(near: &[Near], scores: ArrayView1<f64>) -> Self {
        let similarity = near.first().map_or(0.0, |near| near.score);
        let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for score in scores {
            if *score > first {
                (first, second) = (*score, first);
            } else {
                second = second.max(*score);
            }
        }
        Signs([similarity, first - second])
    }

    /// Of photos with these scores.
    pub fn all(photos: ArrayView2<f32>, scores: ArrayView2<f64>, training: ArrayView2<f32>) -> Result<Vec<Self>> {
        let near = near(photos, training)?;
        let pairs = near.iter().zip(scores.outer_iter());
        Ok(pairs.map(|(near, scores)| Signs::new(near, scores)).collect())
    }
}

/// How the signs of known photos are, which were not for training: what others are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Familiarity {
    means: [f64; 2],
    deviations: [f64; 2],
    /// What is less familiar is unknown.
    threshold: f64,
}

impl Familiarity {
    /// Of known photos, with a threshold below which one of twenty of them lies. If there are too few, the model says what to take.
    pub fn new(known: &[Signs], model: &Model) -> Self {
        if known.len() < ONE_OF {
            return Self::of_other_fruit(model);
        }
        let count = known.len() as f64;
        let mean = |at: usize| known.iter().map(|signs| signs.0[at]).sum::<f64>() / count;
        let means = [mean(0), mean(1)];
        let square = |at: usize| known.iter().map(|signs| (signs.0[at] - means[at]).powi(2)).sum::<f64>() / count;
        let deviations = [0, 1].map(|at| square(at).sqrt().max(LEAST_DEVIATIONS[at]));
        let without = Familiarity {
            means,
            deviations,
            threshold: f64::NEG_INFINITY,
        };
        let mut familiarities: Vec<f64> = known.iter().map(|signs| without.of(*signs)).collect();
        familiarities.sort_by(f64::total_cmp);
        Familiarity {
            threshold: familiarities[known.len() / ONE_OF],
            ..without
        }
    }

    /// Where hardly any fruit was left out, there is nothing to compare with: then what was measured elsewhere, with MobileNetV2 and 91 kinds of fruit, trained
    /// on one video of each, and of photos of their other videos.
    fn of_other_fruit(model: &Model) -> Self {
        let (means, deviations, threshold) = match (model.views, model.texture) {
            (Views::One, false) => ([0.814, 2.40], [0.079, 2.04], -2.54),
            (Views::Turned, false) => ([0.898, 4.11], [0.065, 2.79], -3.05),
            (Views::One, true) => ([0.9870, 2.94], [0.0066, 2.10], -3.04),
            (Views::Turned, true) => ([0.9938, 4.43], [0.0036, 2.67], -3.17),
        };
        Familiarity {
            means,
            deviations,
            threshold,
        }
    }

    /// Whether a photo of this familiarity is less familiar than known ones are.
    pub fn is_strange(&self, known: f64) -> bool {
        // What is not a number is not known.
        known.is_nan() || known < self.threshold
    }

    /// Whether it can be compared with.
    pub fn is_sound(&self) -> bool {
        let numbers = self.means.iter().chain(&self.deviations).chain([&self.threshold]);
        numbers.into_iter().all(|number| number.is_finite()) && self.deviations.iter().all(|deviation| *deviation > 0.0)
    }

    /// The sum of the signs, each in standard deviations from the mean of known photos.
    pub fn of(&self, signs: Signs) -> f64 {
        (0..2)
            .map(|at| (signs.0[at] - self.means[at]) / self.deviations[at])
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(views: Views) -> Model {
        let features = crate::recognise::tests::videos();
        let model = features.manifest().model.clone();
        Model { views, ..model }
    }

    #[test]
    fn one_of_twenty_known_photos_is_less_familiar() {
        let known: Vec<Signs> = (0..100).map(|i| Signs([0.9, f64::from(i)])).collect();
        let familiarity = Familiarity::new(&known, &model(Views::One));
        let below = known
            .iter()
            .filter(|signs| familiarity.is_strange(familiarity.of(**signs)))
            .count();
        assert_eq!(below, 5);
        let other = Familiarity::new(&[], &model(Views::Turned));
        assert!(!other.is_strange(other.of(Signs([0.99, 8.0]))) && other.is_strange(other.of(Signs([0.5, 1.0]))));
        assert!(other.is_strange(f64::NAN));
    }
}
