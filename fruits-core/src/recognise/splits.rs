//! Which photos are for training, and which for testing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::alike::Groups;
use crate::error::{Error, ErrorKind, Result, Step, counted, printable};
use crate::features::Features;

/// Of a label with one group only, photos next to those for testing that are in neither part, as a share of a part.
const GAP: f64 = 0.25;

/// Rows for training, and rows for testing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows that a classifier may learn from.
    pub train: Vec<usize>,
    /// Rows that it has not seen.
    pub test: Vec<usize>,
}

/// Splits of photos, and the rule that made them.
///
/// ```no_run
/// use fruits_core::{Features, Groups, recognise::Splits};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// let splits = Splits::by_group(&features, &Groups::series(&features), 5)?;
/// println!("{splits}"); // 5 folds by group
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Splits {
    splits: Vec<Split>,
    rule: String,
    optimistic: Vec<String>,
    /// Of each row, the number of what it is not independent of: its group, or itself.
    units: Vec<usize>,
}

impl Splits {
    /// `folds` folds by chance: each photo is tested once, and each label has its share of every fold. The same photos give the same folds.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless there are two folds at least, and as many photos of a label.
    pub fn random(features: &Features, folds: usize) -> Result<Self> {
        check_folds(folds)?;
        let mut random = fastrand::Rng::with_seed(0);
        let mut fold_of = vec![0; features.len()];
        let mut next = 0;
        for (label, mut rows) in features.by_label() {
            if rows.len() < folds {
                return Err(few(label, rows.len(), "photo", folds));
            }
            random.shuffle(&mut rows);
            for row in rows {
                fold_of[row] = next % folds;
                next += 1;
            }
        }
        Ok(Splits {
            splits: of_folds(&fold_of.into_iter().map(Some).collect::<Vec<_>>(), folds),
            rule: format!("{folds} folds by chance"),
            optimistic: Vec::new(),
            units: (0..features.len()).collect(),
        })
    }

    /// `folds` folds of whole groups: photos of one group are on one side. Each label has its share of every fold, as far as its groups allow.
    ///
    /// A label with one group only is cut into pieces of consecutive photos, with a gap to the photos beside them: what is measured of it
    /// is [optimistic](Self::optimistic).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless there are two folds at least, and as many photos of a label.
    pub fn by_group(features: &Features, groups: &Groups, folds: usize) -> Result<Self> {
        check_folds(folds)?;
        let of = OfGroups::new(features, groups)?;
        let mut fold_of = vec![None; of.counts.len()];
        // The largest groups first, each to where there is least of its labels, and then least of all.
        let mut order: Vec<usize> = (0..of.counts.len()).collect();
        order.sort_by_key(|group| std::cmp::Reverse(of.counts[*group].values().sum::<usize>()));
        let mut held: Vec<(BTreeMap<&str, usize>, usize)> = vec![Default::default(); folds];
        for group in order {
            let labels = of.counts[group].keys();
            let of_labels = |fold: &usize| {
                labels
                    .clone()
                    .filter_map(|label| held[*fold].0.get(label))
                    .sum::<usize>()
            };
            let fold = (0..folds)
                .min_by_key(|fold| (of_labels(fold), held[*fold].1))
                .unwrap_or(0);
            fold_of[group] = Some(fold);
            for (label, count) in &of.counts[group] {
                *held[fold].0.entry(label).or_default() += count;
                held[fold].1 += count;
            }
        }
        let of_row = |row| {
            if of.is_single(row) {
                None
            } else {
                fold_of[groups.of(row)]
            }
        };
        let mut splits = of_folds(&(0..features.len()).map(of_row).collect::<Vec<_>>(), folds);
        for (label, rows) in &of.singles {
            if rows.len() < folds {
                return Err(few(label, rows.len(), "photo", folds));
            }
            for (fold, split) in splits.iter_mut().enumerate() {
                arc(rows, fold, folds, split);
            }
        }
        Ok(Splits {
            splits: splits.into_iter().map(sorted).collect(),
            rule: format!("{folds} folds by group"),
            optimistic: of.singles.into_keys().map(str::to_owned).collect(),
            units: (0..features.len()).map(|row| groups.of(row)).collect(),
        })
    }

    /// One split: of each label the first group, by name, is for training, and the others for testing. Labels with one group only as by
    /// [`by_group`](Self::by_group), in halves.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a label has one photo only, or a group several labels.
    pub fn first_group(features: &Features, groups: &Groups) -> Result<Self> {
        let of = OfGroups::new(features, groups)?;
        let labels = features.label_column();
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        for (group, counts) in of.counts.iter().enumerate() {
            if counts.len() > 1 {
                let message = format!(
                    "the group {:?} has photos of {} labels",
                    groups.names()[group],
                    counts.len()
                );
                return Err(invalid(message));
            }
            for label in counts.keys() {
                first.entry(label).or_insert(group);
            }
        }
        let of_several = (0..features.len()).filter(|row| !of.is_single(*row));
        let (train, test) = of_several.partition(|row| first[labels[*row]] == groups.of(*row));
        let mut split = Split { train, test };
        for (label, rows) in &of.singles {
            if rows.len() < 2 {
                return Err(few(label, rows.len(), "photo", 2));
            }
            arc(rows, 1, 2, &mut split);
        }
        Ok(Splits {
            splits: vec![sorted(split)],
            rule: "the first group of each label for training, the others for testing".to_owned(),
            optimistic: of.singles.into_keys().map(str::to_owned).collect(),
            units: (0..features.len()).map(|row| groups.of(row)).collect(),
        })
    }

    /// A split for each group, which is tested with all others for training. Labels with one group only are not tested.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no label has two groups.
    pub fn leave_one_group_out(features: &Features, groups: &Groups) -> Result<Self> {
        let of = OfGroups::new(features, groups)?;
        let split = |group: usize| {
            let (test, train): (Vec<usize>, _) = (0..features.len()).partition(|row| groups.of(*row) == group);
            let test: Vec<usize> = test.into_iter().filter(|row| !of.is_single(*row)).collect();
            (!test.is_empty()).then_some(Split { train, test })
        };
        let splits: Vec<Split> = (0..of.counts.len()).filter_map(split).collect();
        if splits.is_empty() {
            return Err(invalid(
                "no label has two groups: there is nothing to train with".to_owned(),
            ));
        }
        Ok(Splits {
            rule: format!("{} groups, each left out once", splits.len()),
            splits,
            optimistic: Vec::new(),
            units: (0..features.len()).map(|row| groups.of(row)).collect(),
        })
    }

    /// Fails if they were made of other features.
    pub(super) fn check(&self, features: &Features) -> Result<()> {
        if self.units.len() != features.len() {
            let message = format!(
                "splits of {} are for {}",
                counted(self.units.len(), "photo"),
                counted(features.len(), "other")
            );
            return Err(invalid(message));
        }
        Ok(())
    }

    /// The same, with other rows for training.
    pub(super) fn with_train(&self, of: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let mut splits = self.clone();
        splits
            .splits
            .iter_mut()
            .for_each(|split| split.train = of(&split.train));
        splits
    }

    /// None: photos that are all tested, by what was trained elsewhere.
    pub(super) fn elsewhere(features: &Features, groups: &Groups) -> Result<Self> {
        check_rows(features, groups)?;
        Ok(Splits {
            splits: Vec::new(),
            rule: "by a classifier as it is".to_owned(),
            optimistic: Vec::new(),
            units: (0..features.len()).map(|row| groups.of(row)).collect(),
        })
    }

    /// The splits.
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    pub(super) fn units(&self) -> &[usize] {
        &self.units
    }

    /// Labels that have one group only: photos that are not independent of each other are on both sides, and what is measured of these labels is
    /// too good.
    pub fn optimistic(&self) -> &[String] {
        &self.optimistic
    }
}

impl fmt::Display for Splits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        match self.optimistic.as_slice() {
            [] => Ok(()),
            [label] => {
                let label = printable(label);
                write!(f, " ({label} has one group only: what is measured of it is too good)")
            }
            labels => write!(
                f,
                " ({} labels have one group only: what is measured of them is too good)",
                labels.len()
            ),
        }
    }
}

/// Fails if groups are not of as many photos.
fn check_rows(features: &Features, groups: &Groups) -> Result<()> {
    let (photos, grouped) = (features.len(), groups.photos_in_all());
    if photos != grouped {
        return Err(invalid(format!(
            "{} in groups, {photos} with features: make the groups of these features",
            counted(grouped, "photo")
        )));
    }
    Ok(())
}

/// What is in each group.
struct OfGroups<'a> {
    labels: Vec<&'a str>,
    /// Photos of each label.
    counts: Vec<BTreeMap<&'a str, usize>>,
    /// Labels with one group only, and their rows in the order of their names.
    singles: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> OfGroups<'a> {
    /// Fails if the groups are of other features.
    fn new(features: &'a Features, groups: &Groups) -> Result<Self> {
        check_rows(features, groups)?;
        let (labels, paths) = (features.label_column(), features.path_column());
        let mut counts = vec![BTreeMap::new(); groups.names().len()];
        let mut groups_of: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (row, label) in labels.iter().enumerate() {
            *counts[groups.of(row)].entry(*label).or_insert(0) += 1;
            groups_of.entry(label).or_default().insert(groups.of(row));
        }
        let mut singles: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, label) in labels.iter().enumerate() {
            if groups_of[label].len() == 1 {
                singles.entry(label).or_default().push(row);
            }
        }
        singles
            .values_mut()
            .for_each(|rows| rows.sort_by_cached_key(|row| by_numbers(paths[*row])));
        Ok(OfGroups {
            labels,
            counts,
            singles,
        })
    }

    /// Whether a row's label has one group only.
    fn is_single(&self, row: usize) -> bool {
        self.singles.contains_key(self.labels[row])
    }
}

/// Adds to a split, of consecutive photos, one of `folds` pieces for testing and the rest for training, but for a gap beside it. The first photo
/// is beside the last, as in a video of something that turns.
fn arc(rows: &[usize], fold: usize, folds: usize, split: &mut Split) {
    let (first, end) = (fold * rows.len() / folds, (fold + 1) * rows.len() / folds);
    let gap = ((end - first) as f64 * GAP) as usize;
    let left = rows.len() - (end - first);
    // Something is left to train with.
    let gap = gap.min(left.saturating_sub(1) / 2);
    split.test.extend(&rows[first..end]);
    split
        .train
        .extend((gap..left - gap).map(|at| rows[(end + at) % rows.len()]));
}

fn of_folds(fold_of: &[Option<usize>], folds: usize) -> Vec<Split> {
    let split = |fold| {
        let known = (0..fold_of.len()).filter(|row| fold_of[*row].is_some());
        let (test, train) = known.partition(|row| fold_of[*row] == Some(fold));
        Split { train, test }
    };
    (0..folds).map(split).collect()
}

fn sorted(mut split: Split) -> Split {
    split.train.sort_unstable();
    split.test.sort_unstable();
    split
}

/// Names in the order of the numbers in them: `7_100.jpg` before `35_100.jpg`.
fn by_numbers(path: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0_u64)];
    let mut was_digit = false;
    for letter in path.chars() {
        let last = parts.len() - 1;
        match letter.to_digit(10) {
            Some(digit) => parts[last].1 = parts[last].1.saturating_mul(10).saturating_add(u64::from(digit)),
            None if was_digit => parts.push((letter.to_string(), 0)),
            None => parts[last].0.push(letter),
        }
        was_digit = letter.is_ascii_digit();
    }
    parts
}

fn check_folds(folds: usize) -> Result<()> {
    if folds < 2 {
        return Err(invalid(format!("{folds} folds; there have to be two at least")));
    }
    Ok(())
}

fn few(label: &str, count: usize, what: &str, folds: usize) -> Error {
    invalid(format!(
        "{label:?} has {}, which is less than {folds} parts",
        counted(count, what)
    ))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Step::Recognise, "splits", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::features;

    /// Two labels of three videos with six frames each, and one with a single video of twelve.
    fn videos() -> Features {
        let of = |label: &str, video: &str, frames: usize| {
            (0..frames)
                .map(|frame| format!("/none/{label}/{video}{frame}_100.jpg"))
                .collect::<Vec<_>>()
        };
        let mut paths = Vec::new();
        for label in ["Kiwi", "Pear"] {
            for video in ["", "r_", "r2_"] {
                paths.extend(of(label, video, 6));
            }
        }
        paths.extend(of("Quince", "", 12));
        let labels: Vec<String> = paths
            .iter()
            .map(|path| path.split('/').nth(2).unwrap().to_owned())
            .collect();
        features(&paths, &labels, &ndarray::Array2::zeros((48, 2)))
    }

    /// All rows are tested once, and none is on both sides.
    fn assert_whole(splits: &Splits, rows: usize) {
        let mut tested: Vec<usize> = splits.splits().iter().flat_map(|split| split.test.clone()).collect();
        tested.sort_unstable();
        assert_eq!(tested, (0..rows).collect::<Vec<_>>());
        for split in splits.splits() {
            assert!(split.train.iter().all(|row| !split.test.contains(row)));
        }
    }

    #[test]
    fn by_chance_each_label_has_its_share() {
        let splits = Splits::random(&videos(), 4).unwrap();
        assert_whole(&splits, 48);
        for split in splits.splits() {
            assert_eq!((split.train.len(), split.test.len()), (36, 12));
            let pears = split.test.iter().filter(|row| (18..36).contains(*row)).count();
            assert!((4..=5).contains(&pears), "{pears}");
        }
        assert_eq!(splits.splits(), Splits::random(&videos(), 4).unwrap().splits());
        let error = Splits::random(&videos(), 13).unwrap_err().to_string();
        assert!(error.contains("\"Quince\" has 12 photos"), "{error}");
        assert!(Splits::random(&videos(), 1).is_err());
    }

    #[test]
    fn by_group_no_group_is_on_both_sides() {
        let photos = videos();
        let groups = Groups::series(&photos);
        let splits = Splits::by_group(&photos, &groups, 3).unwrap();
        assert_whole(&splits, 48);
        for split in splits.splits() {
            let several = |rows: &[usize]| -> BTreeSet<usize> {
                rows.iter()
                    .filter(|row| **row < 36)
                    .map(|row| groups.of(*row))
                    .collect()
            };
            assert!(several(&split.train).is_disjoint(&several(&split.test)));
            assert_eq!(split.test.len(), 6 + 6 + 4);
            // Of twelve frames that turn, four are tested, and the two beside them are in neither part.
            assert_eq!(split.train.iter().filter(|row| **row >= 36).count(), 6);
        }
        assert_eq!(splits.optimistic(), ["Quince"]);
        assert_eq!(
            splits.to_string(),
            "3 folds by group (Quince has one group only: what is measured of it is too good)"
        );

        let first = Splits::first_group(&photos, &groups).unwrap();
        let [split] = first.splits() else { panic!("one split") };
        assert_eq!(split.train[..12], [0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23]);
        assert_eq!(split.test.len(), 24 + 6);

        let left_out = Splits::leave_one_group_out(&photos, &groups).unwrap();
        assert_eq!(left_out.splits().len(), 6);
        assert!(
            left_out
                .splits()
                .iter()
                .all(|split| split.test.len() == 6 && split.train.len() == 42)
        );
    }

    #[test]
    fn what_cannot_be_split_is_said() {
        let photos = videos();
        let all_one = Groups::named(vec!["all".to_owned(); 48], "");
        assert!(
            Splits::leave_one_group_out(&photos, &all_one)
                .unwrap_err()
                .to_string()
                .contains("no label has two groups")
        );
        assert!(
            Splits::first_group(&photos, &all_one)
                .unwrap_err()
                .to_string()
                .contains("has photos of 3 labels")
        );
        assert_eq!(Splits::by_group(&photos, &all_one, 2).unwrap().optimistic().len(), 3);
    }

    #[test]
    fn frames_are_in_the_order_of_their_numbers() {
        let mut names = ["r_35_100", "r_7_100", "r_100_100"];
        names.sort_by_key(|name| by_numbers(name));
        assert_eq!(names, ["r_7_100", "r_35_100", "r_100_100"]);
    }
}
