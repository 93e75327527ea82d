//! How often a classifier is right about photos that it has not seen, and how sure it should be.

use std::collections::BTreeMap;
use std::fmt;

use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array1, Array2, Axis};
use polars::prelude::{Column, DataFrame};

use super::calibration::{self, Bin};
use super::familiarity::{Familiarity, Signs};
use super::splits::Splits;
use super::{Classify, softmax};
use crate::error::{Error, Result};
use crate::features::Features;

/// Labels that are kept of an answer.
pub(super) const ANSWERS: usize = 5;
/// Times that groups are drawn anew for an interval.
const DRAWS: usize = 1000;

/// What a classifier said of photos that it was not trained with.
#[derive(Debug, Clone)]
pub struct Evaluation {
    features: Features,
    splits: Splits,
    labels: Vec<String>,
    tested: Vec<Tested>,
    /// Of each photo that was tested, the score of each label; of one that was not for training, minus infinity.
    scores: Array2<f64>,
}

/// A photo that was tested.
#[derive(Debug, Clone)]
struct Tested {
    row: usize,
    label: usize,
    /// The most probable labels, the first first, and their probabilities.
    answers: Vec<(usize, f64)>,
    signs: Signs,
}

impl Tested {
    fn is_right(&self) -> bool {
        self.is_among(1)
    }

    fn is_among(&self, count: usize) -> bool {
        self.answers.iter().take(count).any(|(label, _)| *label == self.label)
    }
}

/// Photos of one label that were taken for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// Their label.
    pub label: String,
    /// The label that they were taken for.
    pub taken_for: String,
    /// Photos of their label that were tested.
    pub photos: usize,
    /// Rows of the features that were mistaken.
    pub rows: Vec<usize>,
}

impl Features {
    /// Trains a classifier with the one part of each split, and asks it about the other.
    ///
    /// ```no_run
    /// use fruits_core::recognise::{LogisticRegression, Splits};
    /// use fruits_core::{Features, Groups};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let features = Features::read("features").await?;
    /// let splits = Splits::by_group(&features, &Groups::series(&features), 5)?;
    /// let evaluation = features.evaluate(&splits, &LogisticRegression::new())?;
    /// println!("{:.1} % are right", 100.0 * evaluation.accuracy());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a split has photos of less than two labels for training, or a feature is not
    /// finite.
    pub fn evaluate<P, C>(&self, splits: &Splits, params: &P) -> Result<Evaluation>
    where
        P: Fit<Array2<f32>, Array1<String>, Error, Object = C>,
        C: Classify,
    {
        let own = self.label_column();
        let labels: Vec<String> = self.by_label().into_keys().map(str::to_owned).collect();
        let number = |label: &str| labels.partition_point(|other| other.as_str() < label);
        splits.check(self)?;
        let mut tests = Tests::none(labels.len());
        for split in splits.splits() {
            let fitted = self.fit_rows(params, &split.train)?;
            let numbers: Vec<usize> = fitted.labels().iter().map(|label| number(label)).collect();
            let of_split = Tests::of(self, &fitted, &split.train, &split.test)?;
            let mut scores = Array2::from_elem((split.test.len(), labels.len()), f64::NEG_INFINITY);
            for (label, of_label) in numbers.into_iter().zip(of_split.scores.columns()) {
                scores.column_mut(label).assign(&of_label);
            }
            tests.add(Tests { scores, ..of_split });
        }
        let own = tests.rows.iter().map(|row| number(own[*row])).collect();
        Ok(Evaluation::new(self, splits.clone(), labels, tests, own, 1.0))
    }

    /// A classifier that was trained with these rows.
    pub(super) fn fit_rows<P, C>(&self, params: &P, rows: &[usize]) -> Result<C>
    where
        P: Fit<Array2<f32>, Array1<String>, Error, Object = C>,
    {
        let own = self.label_column();
        let targets: Array1<String> = rows.iter().map(|row| own[*row].to_owned()).collect();
        params.fit(&DatasetBase::new(self.matrix().select(Axis(0), rows), targets))
    }
}

/// What a classifier said of some rows.
pub(super) struct Tests {
    pub rows: Vec<usize>,
    /// The score of each label; of one that was not for training, minus infinity.
    pub scores: Array2<f64>,
    pub signs: Vec<Signs>,
}

impl Tests {
    fn none(labels: usize) -> Self {
        Tests {
            rows: Vec::new(),
            scores: Array2::zeros((0, labels)),
            signs: Vec::new(),
        }
    }

    /// Asks a classifier that was trained with some rows about others.
    pub fn of(features: &Features, classifier: &impl Classify, train: &[usize], test: &[usize]) -> Result<Self> {
        let (train, rows) = (features.matrix().select(Axis(0), train), test.to_vec());
        let test = features.matrix().select(Axis(0), test);
        let scores = classifier.scores(test.view())?;
        let signs = Signs::all(test.view(), scores.view(), train.view())?;
        Ok(Tests { rows, scores, signs })
    }

    fn add(&mut self, more: Tests) {
        self.rows.extend(more.rows);
        self.signs.extend(more.signs);
        self.scores.append(Axis(0), more.scores.view()).expect("as many labels");
    }
}

/// The most probable labels, the first first, and their probabilities.
pub(super) fn answers(scores: Array1<f64>, temperature: f64) -> Vec<(usize, f64)> {
    let mut probabilities = scores / temperature;
    softmax(probabilities.view_mut());
    let mut answers: Vec<(usize, f64)> = probabilities.into_iter().enumerate().collect();
    answers.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    answers.truncate(ANSWERS);
    answers
}

impl Evaluation {
    /// In the order of the rows.
    pub(super) fn new(
        features: &Features,
        splits: Splits,
        labels: Vec<String>,
        tests: Tests,
        own: Vec<usize>,
        temperature: f64,
    ) -> Self {
        let mut order: Vec<usize> = (0..tests.rows.len()).collect();
        order.sort_by_key(|test| tests.rows[*test]);
        let tested = order.iter().map(|test| Tested {
            row: tests.rows[*test],
            label: own[*test],
            answers: answers(tests.scores.row(*test).to_owned(), temperature),
            signs: tests.signs[*test],
        });
        Evaluation {
            features: features.clone(),
            splits,
            tested: tested.collect(),
            labels,
            scores: tests.scores.select(Axis(0), &order),
        }
    }

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

    /// The share of photos whose label is among the most probable ones, five of which are kept: more than 5 is as 5.
    pub fn top(&self, count: usize) -> f64 {
        share(self.tested.iter().map(|tested| tested.is_among(count)))
    }

    /// The accuracy's interval of 95 %: the quantiles of 1000 draws of as many groups as there are, each of which may come several times
    /// (of photos, where splits were made by chance). So it knows how few independent things were tested; it does not know how training
    /// varies. Of one group, nothing is known: from 0 to 1.
    pub fn interval(&self) -> (f64, f64) {
        let mut of_units: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for tested in &self.tested {
            let (right, all) = of_units.entry(self.splits.units()[tested.row]).or_default();
            *right += usize::from(tested.is_right());
            *all += 1;
        }
        let units: Vec<(usize, usize)> = of_units.into_values().collect();
        if units.len() < 2 {
            return (0.0, 1.0);
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

    /// By what scores have to be divided for the probabilities that fit best: above 1, the classifier is too sure of itself. 1 if no label has
    /// several groups.
    ///
    /// [Guo et al., On calibration of modern neural networks, 2017](https://arxiv.org/abs/1706.04599): the log loss is smallest there.
    pub fn temperature(&self) -> f64 {
        self.temperature_of(|_| true)
    }

    /// The same answers with probabilities that are calibrated: of half of the groups by the [temperature](Self::temperature) of the other
    /// half, so that no photo calibrates itself.
    pub fn calibrated(&self) -> Self {
        let temperatures = [1, 0].map(|other| self.temperature_of(|tested| self.half(tested) == other));
        self.at_temperatures(|tested| temperatures[self.half(tested)])
    }

    fn at_temperatures(&self, temperature: impl Fn(usize) -> f64) -> Self {
        let mut calibrated = self.clone();
        for (at, tested) in calibrated.tested.iter_mut().enumerate() {
            tested.answers = answers(self.scores.row(at).to_owned(), temperature(at));
        }
        calibrated
    }

    /// The share of photos whose label is among the plausible ones, and how many are plausible on average: of half of the groups as the other
    /// half says what is plausible. [`Answer::plausible`](super::Answer::plausible) is to cover 95 %.
    pub fn plausible(&self) -> (f64, f64) {
        let calibrated = self.calibrated();
        let least = [1, 0].map(|other| calibrated.least_plausible_of(|tested| self.half(tested) == other));
        let (mut covered, mut count) = (0, 0);
        for (at, tested) in calibrated.tested.iter().enumerate() {
            let plausible = calibration::plausible(&tested.answers, least[self.half(at)]);
            covered += usize::from(tested.is_among(plausible));
            count += plausible;
        }
        let photos = self.tested.len() as f64;
        (covered as f64 / photos, count as f64 / photos)
    }

    /// The probability from which a label is plausible.
    pub(super) fn least_plausible(&self) -> f64 {
        let temperature = self.temperature();
        self.at_temperatures(|_| temperature).least_plausible_of(|_| true)
    }

    fn temperature_of(&self, is_of: impl Fn(usize) -> bool) -> f64 {
        let own: Vec<usize> = self.tested.iter().map(|tested| tested.label).collect();
        calibration::temperature(self.scores.view(), &own, |tested| {
            self.is_honest(tested) && is_of(tested)
        })
    }

    /// Labels that are not among those that are kept of an answer have no probability.
    fn least_plausible_of(&self, is_of: impl Fn(usize) -> bool) -> f64 {
        let of_right = |tested: &Tested| {
            let right = tested.answers.iter().find(|(label, _)| *label == tested.label);
            right.map_or(0.0, |(_, probability)| *probability)
        };
        let some = (0..self.tested.len()).filter(|tested| self.is_honest(*tested) && is_of(*tested));
        calibration::least_plausible(some.map(|tested| of_right(&self.tested[tested])).collect())
    }

    /// Which half of the groups a photo is in.
    fn half(&self, tested: usize) -> usize {
        self.splits.units()[self.tested[tested].row] % 2
    }

    /// What is said with a probability, and how often it is right, in 15 bins of equal width; bins without photos are left out.
    pub fn reliability(&self) -> Vec<Bin> {
        let first = self
            .tested
            .iter()
            .filter_map(|tested| Some((tested.answers.first()?.1, tested.is_right())));
        calibration::bins(first)
    }

    /// How far probabilities are from how often they are right, on average: the expected calibration error of the [bins](Self::reliability).
    pub fn calibration_error(&self) -> f64 {
        calibration::error(&self.reliability())
    }

    /// What is familiar about these photos, whose labels are known.
    pub(super) fn familiarity(&self) -> Familiarity {
        let honest = (0..self.tested.len()).filter(|tested| self.is_honest(*tested));
        let signs: Vec<Signs> = honest.map(|tested| self.tested[tested].signs).collect();
        Familiarity::new(&signs, &self.features.manifest().model)
    }

    /// Whether a photo's label has several groups. Of others, twins were for training: they say nothing of how sure one may be.
    fn is_honest(&self, tested: usize) -> bool {
        !self
            .splits
            .optimistic()
            .contains(&self.labels[self.tested[tested].label])
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

    /// What was mistaken for what, the most photos first; of equals, in the order of the labels.
    pub fn confusions(&self) -> Vec<Confusion> {
        let mut rows: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        let mut photos = vec![0; self.labels.len()];
        for tested in &self.tested {
            photos[tested.label] += 1;
            if let Some((answer, _)) = tested.answers.first().filter(|_| !tested.is_right()) {
                rows.entry((tested.label, *answer)).or_default().push(tested.row);
            }
        }
        let mut all: Vec<Confusion> = rows
            .into_iter()
            .map(|((label, answer), rows)| Confusion {
                label: self.labels[label].clone(),
                taken_for: self.labels[answer].clone(),
                photos: photos[label],
                rows,
            })
            .collect();
        all.sort_by_key(|confusion| std::cmp::Reverse(confusion.rows.len()));
        all
    }

    /// The features that were tested, and others.
    pub fn features(&self) -> &Features {
        &self.features
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

fn share(right: impl Iterator<Item = bool>) -> f64 {
    let (right, all) = right.fold((0, 0), |(right, all), is| (right + usize::from(is), all + 1));
    right as f64 / f64::from(all)
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}
