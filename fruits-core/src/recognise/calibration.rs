//! How sure a classifier should be.

use ndarray::{ArrayView2, Axis};

use super::softmax;

/// Bins of probabilities.
const BINS: usize = 15;
/// Temperatures that are looked at. Where all is right, as with few photos, the coldest would fit best: they do not prove so much.
const COLDEST: f64 = 0.25;
const HOTTEST: f64 = 16.0;
/// Halvings of that range, on a logarithmic scale.
const HALVINGS: usize = 40;
/// The share of photos whose label is to be among those that are plausible.
const COVERED: f64 = 0.95;

/// Photos whose labels were said with about the same probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// How many there are.
    pub photos: usize,
    /// The mean of their probabilities.
    pub probability: f64,
    /// The share of them whose label is right.
    pub accuracy: f64,
}

/// The temperature with which the log loss of some rows of scores is smallest; 1 if there are none. It is convex in the inverse, so its slope changes its sign once.
pub(super) fn temperature(scores: ArrayView2<f64>, labels: &[usize], is_of: impl Fn(usize) -> bool) -> f64 {
    // Labels that a split has not trained have no score: nothing can be said of them.
    let rows: Vec<usize> = (0..labels.len())
        .filter(|row| is_of(*row) && scores[[*row, labels[*row]]].is_finite())
        .collect();
    if rows.is_empty() {
        return 1.0;
    }
    let slope = |temperature: f64| -> f64 {
        let of_row = |row: &usize| {
            let scores = scores.index_axis(Axis(0), *row);
            let mut probabilities = scores.to_owned() / temperature;
            softmax(probabilities.view_mut());
            let known = scores.iter().zip(&probabilities).filter(|(score, _)| score.is_finite());
            known.map(|(score, probability)| score * probability).sum::<f64>() - scores[labels[*row]]
        };
        rows.iter().map(of_row).sum()
    };
    let (mut low, mut high) = (COLDEST.ln(), HOTTEST.ln());
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        // Where scores that are expected are larger than those that came, it is too sure.
        if slope(middle.exp()) > 0.0 {
            low = middle
        } else {
            high = middle
        }
    }
    ((low + high) / 2.0).exp()
}

/// The probability from which a label is plausible, from those of the right labels of some photos: so that of 95 % of photos like these, the
/// label is plausible (split conformal prediction, and its least ambiguous sets:
/// [Sadinle, Lei and Wasserman, 2019](https://arxiv.org/abs/1609.00451)). 1 if they are too few to say so.
pub(super) fn least_plausible(mut of_right: Vec<f64>) -> f64 {
    of_right.sort_by(f64::total_cmp);
    let missed = ((of_right.len() + 1) as f64 * (1.0 - COVERED)) as usize;
    missed.checked_sub(1).map_or(1.0, |at| of_right[at])
}

/// How many of some answers are plausible, the most probable of them first: one at least.
pub(super) fn plausible<T>(answers: &[(T, f64)], least: f64) -> usize {
    answers.partition_point(|(_, probability)| *probability >= least).max(1)
}

/// Bins of equal width; without those that are empty.
pub(super) fn bins(said: impl Iterator<Item = (f64, bool)>) -> Vec<Bin> {
    let mut sums = [(0_usize, 0.0, 0_usize); BINS];
    for (probability, is_right) in said {
        let (photos, sum, right) = &mut sums[((probability * BINS as f64) as usize).min(BINS - 1)];
        *photos += 1;
        *sum += probability;
        *right += usize::from(is_right);
    }
    let filled = sums.into_iter().filter(|(photos, ..)| *photos > 0);
    filled
        .map(|(photos, sum, right)| Bin {
            photos,
            probability: sum / photos as f64,
            accuracy: right as f64 / photos as f64,
        })
        .collect()
}

/// The expected calibration error.
pub(super) fn error(bins: &[Bin]) -> f64 {
    let photos: usize = bins.iter().map(|bin| bin.photos).sum();
    let sum: f64 = bins
        .iter()
        .map(|bin| bin.photos as f64 * (bin.probability - bin.accuracy).abs())
        .sum();
    sum / photos as f64
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Labels that are drawn with the probabilities of scores, which are then made three times as large.
    #[test]
    fn who_is_too_sure_is_cooled_down() {
        let mut random = fastrand::Rng::with_seed(1);
        let scores = Array2::from_shape_simple_fn((4000, 3), || 3.0 * random.f64());
        let draw = |row: ndarray::ArrayView1<f64>| {
            let mut probabilities = row.to_owned();
            softmax(probabilities.view_mut());
            let mut left = random.f64();
            probabilities
                .iter()
                .take_while(|probability| {
                    left -= **probability;
                    left > 0.0
                })
                .count()
                .min(2)
        };
        let labels: Vec<usize> = scores.outer_iter().map(draw).collect();
        let found = temperature((&scores * 3.0).view(), &labels, |_| true);
        assert!((found - 3.0).abs() < 0.3, "{found}");
        let said = |temperature: f64| {
            let of_row = |(row, label): (ndarray::ArrayView1<f64>, &usize)| {
                let mut probabilities = row.mapv(|score| 3.0 * score / temperature);
                softmax(probabilities.view_mut());
                let best = super::super::largest(probabilities.view());
                (probabilities[best], best == *label)
            };
            error(&bins(scores.outer_iter().zip(&labels).map(of_row)))
        };
        assert!(said(1.0) > 0.15 && said(found) < 0.03, "{} {}", said(1.0), said(found));
    }

    #[test]
    fn what_is_always_right_is_not_certain() {
        let scores = ndarray::array![[9.0, 0.0], [0.0, 9.0]];
        assert!((temperature(scores.view(), &[0, 1], |_| true) - COLDEST).abs() < 1e-6);
        assert_eq!(temperature(scores.view(), &[0, 1], |_| false), 1.0);
    }

    #[test]
    fn of_so_many_photos_the_label_is_plausible() {
        let of_right: Vec<f64> = (1..=199).rev().map(|hundredth| f64::from(hundredth) / 200.0).collect();
        assert_eq!(least_plausible(of_right), 0.05, "the tenth of 200");
        assert_eq!(least_plausible(vec![0.5; 18]), 1.0);
        assert_eq!(plausible(&[("Pear", 0.6), ("Quince", 0.3), ("Kiwi", 0.1)], 0.3), 2);
        assert_eq!(plausible(&[("Pear", 0.6), ("Quince", 0.4)], 1.0), 1);
    }

    #[test]
    fn bins_say_how_often_it_is_right() {
        let found = bins([(0.99, true), (1.0, false), (0.1, false)].into_iter());
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[1],
            Bin {
                photos: 2,
                probability: 0.995,
                accuracy: 0.5
            }
        );
        assert!((error(&found) - (2.0 * 0.495 + 0.1) / 3.0).abs() < 1e-12);
    }
}
