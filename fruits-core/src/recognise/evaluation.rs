//! How often a classifier is right about photos that it has not seen.

use std::collections::BTreeMap;
use std::fmt;

use linfa::DatasetBase;
use linfa::ParamGuard;
use linfa::traits::Fit;
use ndarray::{Array1, Axis};
use polars::prelude::{Column, DataFrame};

use super::logistic::{LogisticParams, LogisticRegression};
use super::splits::Splits;
use crate::alike::Groups;
use crate::error::Result;
use crate::features::Features;

/// Folds of [`Features::recognition`].
const FOLDS: usize = 5;
/// Labels that are kept of an answer.
const ANSWERS: usize = 5;
/// Times that groups are drawn anew for an interval.
const DRAWS: usize = 1000;

/// What a classifier said of photos that it was not trained with.
#[derive(Debug, Clone)]
pub struct Evaluation {
    features: Features,
    splits: Splits,
    labels: Vec<String>,
    tested: Vec<Tested>,
}

/// A photo that was tested.
#[derive(Debug, Clone)]
struct Tested {
    row: usize,
    label: usize,
    /// The most probable labels, the first first, and their probabilities.
    answers: Vec<(usize, f64)>,
}

impl Tested {
    fn is_right(&self) -> bool {
        self.is_among(1)
    }

    fn is_among(&self, count: usize) -> bool {
        self.answers.iter().take(count).any(|(label, _)| *label == self.label)
    }
}

impl Features {
    /// Trains a logistic regression with the one part of each split, and asks it about the other.
    ///
    /// ```no_run
    /// use fruits_core::recognise::{LogisticRegression, Splits};
    /// use fruits_core::{Features, Groups};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let features = Features::read("features").await?;
    /// let splits = Splits::by_group(&features, &Groups::series(&features), 5)?;
    /// let evaluation = features.evaluate(&splits, &LogisticRegression::params())?;
    /// println!("{:.1} % are right", 100.0 * evaluation.accuracy());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a split has photos of less than two labels for training, or a feature is not
    /// finite.
    pub fn evaluate(&self, splits: &Splits, params: &LogisticParams) -> Result<Evaluation> {
        let params = params.check_ref()?;
        let own = self.label_column();
        let labels: Vec<String> = self.by_label().into_keys().map(str::to_owned).collect();
        let number = |label: &str| labels.partition_point(|other| other.as_str() < label);
        let mut tested = Vec::new();
        for split in splits.splits() {
            let train = self.matrix().select(Axis(0), &split.train);
            let targets: Array1<String> = split.train.iter().map(|row| own[*row].to_owned()).collect();
            let fitted: LogisticRegression = params.fit(&DatasetBase::new(train, targets))?;
            let numbers: Vec<usize> = fitted.labels().iter().map(|label| number(label)).collect();
            let probabilities = fitted.probabilities(self.matrix().select(Axis(0), &split.test).view())?;
            for (row, probabilities) in split.test.iter().zip(probabilities.outer_iter()) {
                let mut answers: Vec<(usize, f64)> =
                    numbers.iter().copied().zip(probabilities.iter().copied()).collect();
                answers.sort_by(|(_, a), (_, b)| b.total_cmp(a));
                answers.truncate(ANSWERS);
                tested.push(Tested {
                    row: *row,
                    label: number(own[*row]),
                    answers,
                });
            }
        }
        tested.sort_by_key(|tested| tested.row);
        Ok(Evaluation {
            features: self.clone(),
            splits: splits.clone(),
            labels,
            tested,
        })
    }

    /// How well fruit is recognised by these features: a logistic regression, in five folds by chance and in five by group.
    ///
    /// ```no_run
    /// use fruits_core::{Features, Groups};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let features = Features::read("features").await?;
    /// println!("{}", features.recognition(&Groups::series(&features))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Splits::random`], [`Splits::by_group`] and [`evaluate`](Self::evaluate).
    pub fn recognition(&self, groups: &Groups) -> Result<Recognition> {
        let params = LogisticRegression::params();
        Ok(Recognition {
            by_chance: self.evaluate(&Splits::random(self, FOLDS)?, &params)?,
            by_group: self.evaluate(&Splits::by_group(self, groups, FOLDS)?, &params)?,
            groups: groups.clone(),
        })
    }
}

impl Evaluation {
    /// Photos that were tested; if more than once, each time counts.
    pub fn tested(&self) -> usize {
        self.tested.len()
    }

    /// The splits.
    pub fn splits(&self) -> &Splits {
        &self.splits
    }

    /// The share of photos whose most probable label is theirs.
    pub fn accuracy(&self) -> f64 {
        self.top(1)
    }

    /// The share of photos whose label is among the most probable ones, five of which are kept.
    pub fn top(&self, count: usize) -> f64 {
        share(self.tested.iter().map(|tested| tested.is_among(count)))
    }

    /// The accuracy's interval of 95 %: the quantiles of 1000 draws of as many groups as there are, each of which may come several times
    /// (of photos, where splits were made by chance). So it knows how few independent things were tested; it does not know how training
    /// varies.
    pub fn interval(&self) -> (f64, f64) {
        let mut of_units: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for tested in &self.tested {
            let (right, all) = of_units.entry(self.splits.units()[tested.row]).or_default();
            *right += usize::from(tested.is_right());
            *all += 1;
        }
        let units: Vec<(usize, usize)> = of_units.into_values().collect();
        if units.is_empty() {
            return (f64::NAN, f64::NAN);
        }
        let mut random = fastrand::Rng::with_seed(0);
        let mut draw = || {
            let drawn = (0..units.len()).map(|_| units[random.usize(..units.len())]);
            let (right, all) = drawn.fold((0, 0), |(right, all), (a, b)| (right + a, all + b));
            right as f64 / all as f64
        };
        let mut draws: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
        draws.sort_by(f64::total_cmp);
        (draws[DRAWS / 40], draws[DRAWS - 1 - DRAWS / 40])
    }

    /// The mean over labels of F1, the harmonic mean of precision and recall: labels with few photos count as much as others.
    pub fn macro_f1(&self) -> f64 {
        let counts = self.counts();
        let of_tested = counts.iter().filter(|counts| counts.photos > 0);
        let (sum, count) = of_tested.fold((0.0, 0), |(sum, count), counts| (sum + counts.f1(), count + 1));
        sum / f64::from(count)
    }

    /// A row a label that was tested, the worst first: `label`, `photos`, `right`, `recall` (how many of its photos are right), `precision` (how
    /// many of the photos that are called so are), `f1`, and `taken_for`, the label that most of the others were taken for.
    pub fn labels_table(&self) -> DataFrame {
        let counts = self.counts();
        let mut order: Vec<usize> = (0..counts.len()).filter(|label| counts[*label].photos > 0).collect();
        order.sort_by(|a, b| counts[*a].f1().total_cmp(&counts[*b].f1()));
        let numbers = |of: &dyn Fn(&Counts) -> f64| order.iter().map(|label| of(&counts[*label])).collect::<Vec<_>>();
        let photos =
            |of: &dyn Fn(&Counts) -> usize| order.iter().map(|label| of(&counts[*label]) as u32).collect::<Vec<_>>();
        let name = |label: &usize| self.labels[*label].clone();
        let taken_for = |label: &usize| {
            let most = counts[*label]
                .taken_for
                .iter()
                .max_by_key(|(other, count)| (**count, std::cmp::Reverse(**other)));
            most.map_or(String::new(), |(other, _)| name(other))
        };
        let columns = vec![
            Column::new("label".into(), order.iter().map(name).collect::<Vec<_>>()),
            Column::new("photos".into(), photos(&|counts| counts.photos)),
            Column::new("right".into(), photos(&|counts| counts.right)),
            Column::new("recall".into(), numbers(&Counts::recall)),
            Column::new("precision".into(), numbers(&Counts::precision)),
            Column::new("f1".into(), numbers(&Counts::f1)),
            Column::new("taken_for".into(), order.iter().map(taken_for).collect::<Vec<_>>()),
        ];
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }

    /// A row a photo that was tested: `path`, `label`, `answer`, `probability`, `is_right`.
    pub fn answers_table(&self) -> DataFrame {
        let (paths, labels) = (self.features.path_column(), self.features.label_column());
        let names = |of: &dyn Fn(&Tested) -> String| self.tested.iter().map(of).collect::<Vec<_>>();
        let first = |tested: &Tested| tested.answers.first().copied().unwrap_or((tested.label, f64::NAN));
        let columns = vec![
            Column::new("path".into(), names(&|tested| paths[tested.row].to_owned())),
            Column::new("label".into(), names(&|tested| labels[tested.row].to_owned())),
            Column::new("answer".into(), names(&|tested| self.labels[first(tested).0].clone())),
            Column::new(
                "probability".into(),
                self.tested.iter().map(|tested| first(tested).1).collect::<Vec<_>>(),
            ),
            Column::new(
                "is_right".into(),
                self.tested.iter().map(Tested::is_right).collect::<Vec<_>>(),
            ),
        ];
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }

    fn counts(&self) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.labels.len()];
        for tested in &self.tested {
            let Some((answer, _)) = tested.answers.first() else {
                continue;
            };
            counts[tested.label].photos += 1;
            counts[*answer].called += 1;
            if *answer == tested.label {
                counts[*answer].right += 1;
            } else {
                *counts[tested.label].taken_for.entry(*answer).or_default() += 1;
            }
        }
        counts
    }
}

/// What was said of a label's photos.
#[derive(Debug, Clone, Default)]
struct Counts {
    photos: usize,
    right: usize,
    /// Photos of whatever label that were called so.
    called: usize,
    taken_for: BTreeMap<usize, usize>,
}

impl Counts {
    fn recall(&self) -> f64 {
        self.right as f64 / self.photos as f64
    }

    /// 0 if nothing was called so, as in scikit-learn.
    fn precision(&self) -> f64 {
        self.right as f64 / self.called.max(1) as f64
    }

    fn f1(&self) -> f64 {
        2.0 * self.right as f64 / (self.photos + self.called) as f64
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.interval();
        write!(
            f,
            "{} are right ({} to {}), {} among the first five; {}",
            percent(self.accuracy()),
            percent(low),
            percent(high),
            percent(self.top(ANSWERS)),
            self.splits
        )
    }
}

/// How well fruit is recognised, by chance and by group. Made by [`Features::recognition`].
#[derive(Debug, Clone)]
pub struct Recognition {
    by_chance: Evaluation,
    by_group: Evaluation,
    groups: Groups,
}

impl Recognition {
    /// Photos that are like those tested were for training: how well photos are remembered.
    pub fn by_chance(&self) -> &Evaluation {
        &self.by_chance
    }

    /// No photo of a tested group was for training: how well fruit is recognised.
    pub fn by_group(&self) -> &Evaluation {
        &self.by_group
    }

    /// A row for each of both: `split`, `photos`, `accuracy`, `low` and `high` (the interval of 95 %), `top5`, `macro_f1`.
    pub fn table(&self) -> DataFrame {
        let both = [("by chance", &self.by_chance), ("by group", &self.by_group)];
        let numbers = |of: &dyn Fn(&Evaluation) -> f64| both.map(|(_, evaluation)| of(evaluation)).to_vec();
        let columns = vec![
            Column::new("split".into(), both.map(|(name, _)| name).to_vec()),
            Column::new(
                "photos".into(),
                both.map(|(_, evaluation)| evaluation.tested() as u32).to_vec(),
            ),
            Column::new("accuracy".into(), numbers(&Evaluation::accuracy)),
            Column::new("low".into(), numbers(&|evaluation| evaluation.interval().0)),
            Column::new("high".into(), numbers(&|evaluation| evaluation.interval().1)),
            Column::new("top5".into(), numbers(&|evaluation| evaluation.top(ANSWERS))),
            Column::new("macro_f1".into(), numbers(&Evaluation::macro_f1)),
        ];
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }

    /// What the two numbers say.
    pub fn sentence(&self) -> String {
        let (chance, group) = (self.by_chance.accuracy(), self.by_group.accuracy());
        format!(
            "{} of photos are right when others of their group were for training, {} when none was ({}): expect the second of fruit that is \
             photographed anew.",
            percent(chance),
            percent(group),
            self.groups
        )
    }
}

impl fmt::Display for Recognition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "by chance: {}", self.by_chance)?;
        writeln!(f, "by group:  {}", self.by_group)?;
        f.write_str(&self.sentence())
    }
}

fn share(right: impl Iterator<Item = bool>) -> f64 {
    let (right, all) = right.fold((0, 0), |(right, all), is| (right + usize::from(is), all + 1));
    right as f64 / f64::from(all)
}

fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::features;

    /// Three kinds of fruit in four videos each. What a video has in common is larger than what a kind has.
    fn photos() -> Features {
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

    #[test]
    fn by_chance_all_is_right_and_by_group_it_is_not() {
        let photos = photos();
        let recognition = photos.recognition(&Groups::series(&photos)).unwrap();
        let (chance, group) = (recognition.by_chance().accuracy(), recognition.by_group().accuracy());
        assert!(chance > 0.99 && group < 0.9, "{chance} {group}");
        let (low, high) = recognition.by_group().interval();
        let (narrow, wide) = (recognition.by_chance().interval(), high - low);
        assert!(low <= group && group <= high && wide > 0.1 && narrow.1 - narrow.0 < 0.05);
        assert_eq!(recognition.by_group().top(3), 1.0, "there are three labels");
        assert!(
            recognition
                .sentence()
                .contains("12 groups of photos whose names differ"),
            "{recognition}"
        );
        assert_eq!(recognition.table().shape(), (2, 7));

        let answers = recognition.by_group().answers_table();
        assert_eq!(answers.shape(), (120, 5));
        let labels = recognition.by_group().labels_table();
        let column = |name: &str| labels.column(name).unwrap().f64().unwrap().clone();
        let mean = column("f1").iter().flatten().sum::<f64>() / 3.0;
        assert!((recognition.by_group().macro_f1() - mean).abs() < 1e-12);
        let right: u32 = labels.column("right").unwrap().u32().unwrap().iter().flatten().sum();
        assert!((f64::from(right) / 120.0 - group).abs() < 1e-12);
    }

    #[test]
    fn a_label_that_was_not_trained_is_wrong() {
        let photos = photos();
        let groups = Groups::named(photos.labels(), "of a label each");
        let splits = Splits::leave_one_group_out(&photos, &groups);
        assert!(splits.unwrap_err().to_string().contains("no label has two groups"));
    }
}
