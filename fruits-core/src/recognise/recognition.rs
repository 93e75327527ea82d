//! How well fruit is recognised: by chance and by group.

use std::fmt;

use polars::prelude::{Column, DataFrame};
use serde::{Deserialize, Serialize};

use super::evaluation::{ANSWERS, percent};
use super::{Evaluation, Splits, Strangers, WhitenedCosine};
use crate::alike::Groups;
use crate::error::Result;
use crate::features::Features;

/// Folds of [`Features::recognition`], unless a label has fewer photos.
const FOLDS: usize = 5;

/// How well fruit is recognised, by chance and by group. Made by [`Features::recognition`].
#[derive(Debug, Clone)]
pub struct Recognition {
    by_chance: Evaluation,
    by_group: Evaluation,
    strangers: Option<Strangers>,
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

    /// Whether photos of labels that were left out are noticed; nothing if there are less than three labels, or none of them has
    /// two groups.
    pub fn strangers(&self) -> Option<&Strangers> {
        self.strangers.as_ref()
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

    /// The numbers without the photos.
    pub fn summary(&self) -> Summary {
        let measured = |evaluation: &Evaluation| {
            let (low, high) = evaluation.interval();
            Measured {
                photos: evaluation.tested(),
                accuracy: evaluation.accuracy(),
                low,
                high,
                top5: evaluation.top(ANSWERS),
                macro_f1: evaluation.macro_f1(),
                calibration_error: evaluation.calibrated().calibration_error(),
            }
        };
        Summary {
            by_chance: measured(&self.by_chance),
            by_group: measured(&self.by_group),
            strangers_refused: self.strangers.as_ref().map(Strangers::refused),
            groups: self.groups.to_string(),
            labels: self.by_group.features().by_label().len(),
            optimistic: self.by_group.splits().optimistic().len(),
        }
    }

    /// What the two numbers say.
    pub fn sentence(&self) -> String {
        self.summary().sentence()
    }
}

/// What was measured of a classifier: it is kept with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Photos like those tested were for training.
    pub by_chance: Measured,
    /// No photo of a tested group was for training.
    pub by_group: Measured,
    /// The share of photos of labels that were left out that are unknown where 95 % of photos of known labels are known.
    pub strangers_refused: Option<f64>,
    /// The groups.
    pub groups: String,
    /// The labels.
    pub labels: usize,
    /// Labels of these with one group only: what is measured of them is too good.
    pub optimistic: usize,
}

/// Some numbers of an [`Evaluation`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Photos that were tested.
    pub photos: usize,
    /// The share that is right.
    pub accuracy: f64,
    /// The interval of 95 % of the accuracy, from here.
    pub low: f64,
    /// To here.
    pub high: f64,
    /// The share whose label is among the first five.
    pub top5: f64,
    /// The mean over labels of F1.
    pub macro_f1: f64,
    /// How far probabilities are from how often they are right, on average.
    pub calibration_error: f64,
}

impl Summary {
    /// What to expect, for people who only ask.
    pub fn expectation(&self) -> String {
        let Measured {
            accuracy, low, high, ..
        } = self.by_group;
        let knows = format!("It knows {} kinds of fruit.", self.labels);
        let right = format!(
            "{} were right ({} to {})",
            percent(accuracy),
            percent(low),
            percent(high)
        );
        match self.optimistic {
            0 => format!("{knows} Of photos that were taken apart from those that it knows, {right}."),
            all if all == self.labels => {
                format!(
                    "{knows} How often it is right about photos that were taken apart from those that it knows, nobody has measured."
                )
            }
            some => format!(
                "{knows} Of photos that were taken apart from those that it knows, {right}; of {some} kinds there were none, so that this is too good."
            ),
        }
    }

    /// What the two numbers say.
    pub fn sentence(&self) -> String {
        let both = format!(
            "{} of photos are right when others of their group were for training, {} when none was ({})",
            percent(self.by_chance.accuracy),
            percent(self.by_group.accuracy),
            self.groups
        );
        match self.optimistic {
            0 => format!("{both}: expect the second of photos that are taken anew."),
            all if all == self.labels => {
                format!(
                    "{both}. But each label has one group only, so that parts of it were on both sides: nothing was measured of photos that are taken anew."
                )
            }
            some => format!(
                "{both}: expect the second of photos that are taken anew, or less, since {some} of {} labels have one group only, parts of which were on both sides.",
                self.labels
            ),
        }
    }
}

impl fmt::Display for Recognition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "by chance: {}", self.by_chance)?;
        writeln!(f, "by group:  {}", self.by_group)?;
        if let Some(strangers) = &self.strangers {
            writeln!(f, "strangers: {strangers}")?;
        }
        f.write_str(&self.sentence())
    }
}

impl Features {
    /// Five, or as many as the label with the fewest photos has.
    pub(super) fn folds(&self) -> usize {
        let fewest = self.by_label().values().map(Vec::len).min().unwrap_or(0);
        FOLDS.min(fewest).max(2)
    }

    /// How well fruit is recognised by these features: a [`WhitenedCosine`], in five folds by chance and in five by group, and five times with
    /// a fifth of the labels left out.
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
        let params = WhitenedCosine::new();
        let folds = self.folds();
        let by_group = self.evaluate(&Splits::by_group(self, groups, folds)?, &params)?;
        let labels = self.by_label().len();
        let can_be_strange = labels > 2 && by_group.splits().optimistic().len() < labels;
        Ok(Recognition {
            by_chance: self.evaluate(&Splits::random(self, folds)?, &params)?,
            by_group,
            strangers: if can_be_strange {
                Some(self.strangers(groups, &params)?)
            } else {
                None
            },
            groups: groups.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::tests::videos;

    #[test]
    fn by_chance_all_is_right_and_by_group_it_is_not() {
        let photos = videos();
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
        let (covered, plausible) = recognition.by_group().plausible();
        assert!(covered > group && plausible > 1.2, "{covered} {group} {plausible}");

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
        let photos = videos();
        let groups = Groups::named(photos.labels(), "of a label each");
        let splits = Splits::leave_one_group_out(&photos, &groups);
        assert!(splits.unwrap_err().to_string().contains("no label has two groups"));
    }
}
