//! Whether a classifier notices what it does not know.

use std::collections::BTreeMap;
use std::fmt;

use linfa::traits::Fit;
use ndarray::{Array1, Array2};
use polars::prelude::{Column, DataFrame};

use super::evaluation::{Tests, percent};
use super::familiarity::{Familiarity, Signs};
use super::{Classify, Splits, largest};
use crate::alike::Groups;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;

/// Times that labels are left out.
const FOLDS: usize = 5;

/// What a classifier says of photos whose labels were all left out of its training, each label once (unless it is the only one with several groups), beside photos of known labels whose groups
/// were left out. Made by [`Features::strangers`].
#[derive(Debug, Clone)]
pub struct Strangers {
    auroc: f64,
    refused: f64,
    labels: Vec<Stranger>,
}

/// A label that was left out.
#[derive(Debug, Clone)]
struct Stranger {
    label: String,
    photos: usize,
    refused: usize,
    called: String,
}

impl Features {
    /// Leaves labels out, a fifth at a time, trains with the others but for a fifth of their groups, and asks about all that was left out.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`ErrorKind::Invalid`] if there are less than three labels, or no label has two groups.
    pub fn strangers<P, C>(&self, groups: &Groups, params: &P) -> Result<Strangers>
    where
        P: Fit<Array2<f32>, Array1<String>, Error, Object = C>,
        C: Classify,
    {
        let labels: Vec<String> = self.by_label().into_keys().map(str::to_owned).collect();
        let folds = FOLDS.min(labels.len());
        let mut order: Vec<usize> = (0..labels.len()).collect();
        fastrand::Rng::with_seed(0).shuffle(&mut order);
        let mut fold_of = vec![0; labels.len()];
        order
            .into_iter()
            .enumerate()
            .for_each(|(at, label)| fold_of[label] = at % folds);

        let by_group = Splits::by_group(self, groups, self.folds())?;
        let own: Vec<usize> = {
            let number = |label: &&str| labels.partition_point(|other| other.as_str() < *label);
            self.label_column().iter().map(number).collect()
        };
        let (mut areas, mut shares) = (Vec::new(), Vec::new());
        let mut strangers = Vec::new();
        for fold in 0..folds {
            let is_known = |row: &usize| fold_of[own[*row]] != fold;
            let is_tested = |row: &usize| is_known(row) && !by_group.optimistic().contains(&labels[own[*row]]);
            // The first split from here on that tests a label that is known.
            let turned =
                (0..by_group.splits().len()).map(|at| &by_group.splits()[(fold + at) % by_group.splits().len()]);
            let Some(split) = turned.into_iter().find(|split| split.test.iter().any(is_tested)) else {
                continue;
            };
            let train: Vec<usize> = split.train.iter().copied().filter(is_known).collect();
            let known: Vec<usize> = split.test.iter().copied().filter(is_tested).collect();
            let strange: Vec<usize> = (0..self.len()).filter(|row| fold_of[own[*row]] == fold).collect();
            let fitted = self.fit_rows(params, &train)?;
            let known = Tests::of(self, &fitted, &train, &known)?.signs;
            let of_strange = Tests::of(self, &fitted, &train, &strange)?;
            let familiarity = Familiarity::new(&known, &self.manifest().model);
            let familiarities =
                |signs: &[Signs]| signs.iter().map(|signs| familiarity.of(*signs)).collect::<Vec<f64>>();
            let (of_known, of_strangers) = (familiarities(&known), familiarities(&of_strange.signs));
            areas.push(auroc(&of_known, &of_strangers));
            let is_refused = |known: &f64| familiarity.is_strange(*known);
            shares.push(of_strangers.iter().filter(|known| is_refused(known)).count() as f64 / strange.len() as f64);
            let mut of_labels: BTreeMap<usize, (usize, usize, BTreeMap<usize, usize>)> = BTreeMap::new();
            for (at, row) in strange.iter().enumerate() {
                let (photos, refused, called) = of_labels.entry(own[*row]).or_default();
                *photos += 1;
                *refused += usize::from(is_refused(&of_strangers[at]));
                *called.entry(largest(of_strange.scores.row(at))).or_default() += 1;
            }
            for (label, (photos, refused, called)) in of_labels {
                let most = called
                    .into_iter()
                    .max_by_key(|(_, count)| *count)
                    .map_or(0, |(label, _)| label);
                strangers.push(Stranger {
                    label: labels[label].clone(),
                    photos,
                    refused,
                    called: fitted.labels()[most].clone(),
                });
            }
        }
        if strangers.is_empty() {
            let message = "no label has two groups: there is no fruit that is known and was left out";
            return Err(Error::new(ErrorKind::Invalid, Step::Recognise, "strangers", message));
        }
        strangers.sort_by(|a, b| {
            (a.refused * b.photos)
                .cmp(&(b.refused * a.photos))
                .then(a.label.cmp(&b.label))
        });
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        Ok(Strangers {
            auroc: mean(&areas),
            refused: mean(&shares),
            labels: strangers,
        })
    }
}

impl fmt::Display for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of photos of labels that were left out are unknown where 95\u{a0}% of known ones are known (AUROC {:.2})",
            percent(self.refused),
            self.auroc
        )
    }
}

impl Strangers {
    /// The probability that a photo of a label that was left out is less familiar than one of a known label: the area under the curve, of each
    /// fifth, on average.
    pub fn auroc(&self) -> f64 {
        self.auroc
    }

    /// The share of photos of labels that were left out that are unknown where 95 % of photos of known labels are known, on average.
    pub fn refused(&self) -> f64 {
        self.refused
    }

    /// A row a label, those that pass for another first: `label`, `photos`, `refused` (how many were unknown), and `called`, the label that most were
    /// taken for.
    pub fn table(&self) -> DataFrame {
        let all = &self.labels;
        let columns = vec![
            Column::new(
                "label".into(),
                all.iter().map(|one| one.label.as_str()).collect::<Vec<_>>(),
            ),
            Column::new(
                "photos".into(),
                all.iter().map(|one| one.photos as u32).collect::<Vec<_>>(),
            ),
            Column::new(
                "refused".into(),
                all.iter().map(|one| one.refused as u32).collect::<Vec<_>>(),
            ),
            Column::new(
                "called".into(),
                all.iter().map(|one| one.called.as_str()).collect::<Vec<_>>(),
            ),
        ];
        DataFrame::new(all.len(), columns).expect("four columns of one length")
    }
}

/// The probability that one of the first is larger than one of the others; equal ones count half.
fn auroc(larger: &[f64], smaller: &[f64]) -> f64 {
    let mut sorted = smaller.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |number: &f64| {
        let (less, to) = (
            sorted.partition_point(|other| other < number),
            sorted.partition_point(|other| other <= number),
        );
        (less + to) as f64 / 2.0
    };
    larger.iter().map(below).sum::<f64>() / (larger.len() * smaller.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::LogisticRegression;
    use crate::recognise::tests::videos;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        assert_eq!(auroc(&[3.0, 2.0], &[1.0, 2.0]), 0.875);
        assert_eq!(auroc(&[1.0], &[2.0]), 0.0);
    }

    #[test]
    fn labels_that_are_left_out_are_called_something() {
        let photos = videos();
        let found = photos
            .strangers(&Groups::series(&photos), &LogisticRegression::new())
            .unwrap();
        assert!((0.0..=1.0).contains(&found.auroc()) && (0.0..=1.0).contains(&found.refused()));
        let table = found.table();
        assert_eq!(table.shape(), (3, 4));
        let of = |name: &str| {
            table
                .column(name)
                .unwrap()
                .str()
                .unwrap()
                .no_null_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(
            of("label")
                .iter()
                .zip(of("called"))
                .all(|(label, called)| *label != called)
        );
        let photos: u32 = table.column("photos").unwrap().u32().unwrap().iter().flatten().sum();
        assert_eq!(photos, 120);
    }
}
