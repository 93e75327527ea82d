//! Photos that are not independent of each other, such as the frames of one video.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use polars::prelude::{DataFrame, DataType};
use regex::Regex;

use super::duplicates;
use super::neighbours::not_finite;
use super::search::{self, Metric};
use super::thresholds::Thresholds;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;
use crate::table::read_table;

/// Photos that are compared with each, to find chains.
const CHAIN_CANDIDATES: usize = 10;

/// Which photos belong together. Rows are those of the features that it was made of.
///
/// ```no_run
/// use fruits_core::{Features, alike::Groups};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// println!("{}", Groups::series(&features)); // 252 groups of photos whose names differ in their numbers only
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Groups {
    of: Arc<[usize]>,
    names: Arc<[String]>,
    rule: String,
}

impl Groups {
    /// Photos of one folder whose names differ in their numbers only: the frames of a video. Of a name the words count, divided by `_`, `-`, `.`
    /// or blanks, that are more than digits: in Fruits-360, `r_35_100.jpg` and `r_36_100.jpg` belong together, `35_100.jpg` does not. Folders
    /// are told apart by their own name, so that `Training/Kiwi` and `Test/Kiwi` are one.
    pub fn series(features: &Features) -> Self {
        let names = features.path_column().into_iter().map(series_of).collect::<Vec<_>>();
        Self::named(names, "of photos whose names differ in their numbers only")
    }

    /// Photos of one folder: pieces of fruit, where varieties are numbered (`Apple Golden 1`, `Apple Golden 2`). Folders are told apart as by
    /// [`series`](Self::series).
    pub fn folders(features: &Features) -> Self {
        let folder = |path| folder_and_name(path).0.to_owned();
        Self::named(
            features.path_column().into_iter().map(folder).collect(),
            "of photos in folders of one name",
        )
    }

    /// Every photo by itself: all are independent of each other.
    pub fn photos(features: &Features) -> Self {
        let paths = features.path_column().into_iter().map(str::to_owned).collect();
        Self::named(paths, "of a photo each")
    }

    /// Photos in whose paths a [regular expression](regex) matches the same: what its groups `(…)` match, or, without any, all of it. Photos in
    /// whose paths it matches nothing are by themselves.
    ///
    /// ```no_run
    /// # fn example(features: fruits_core::Features) -> fruits_core::Result<()> {
    /// use fruits_core::Groups;
    ///
    /// let by_tray = Groups::by_pattern(&features, r"tray-(\d+)")?; // tray-7-kiwi-03.jpg
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no regular expression, or matches nothing in any path.
    pub fn by_pattern(features: &Features, pattern: &str) -> Result<Self> {
        let regex = Regex::new(pattern).map_err(|error| Error::from_source(Step::Input, pattern, error))?;
        let mut alone = 0;
        let name = |path: &str| match regex.captures(path) {
            Some(found) if found.len() > 1 => {
                let parts = found.iter().skip(1).map(|part| part.map_or("", |part| part.as_str()));
                parts.collect::<Vec<_>>().join("/")
            }
            Some(found) => found[0].to_owned(),
            None => {
                alone += 1;
                path.to_owned()
            }
        };
        let paths = features.path_column();
        let names: Vec<String> = paths.iter().copied().map(name).collect();
        if alone == names.len() && alone > 0 {
            return Err(invalid(
                pattern,
                format!("it matches no path; they are like {:?}", paths[0]),
            ));
        }
        let alone = match alone {
            0 => String::new(),
            1 => ", one photo by itself".to_owned(),
            _ => format!(", {alone} photos by themselves"),
        };
        Ok(Self::named(
            names,
            &format!("of photos whose paths have the same {pattern}{alone}"),
        ))
    }

    /// Photos that have the same value in the column `group` of a table, such as [`read_table`](crate::read_table) reads from a CSV file. A path
    /// in its column `path` is one as in the features, or one below the location of the photos.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the table has no such columns, or no group for a photo.
    pub fn of_table(features: &Features, table: &DataFrame) -> Result<Self> {
        let text = |name: &str| {
            let column = table.column(name).and_then(|column| column.cast(&DataType::String));
            column.map_err(|error| invalid("groups", format!("the table needs the columns path and group: {error}")))
        };
        let (paths, groups) = (text("path")?, text("group")?);
        let (Ok(paths), Ok(groups)) = (paths.str(), groups.str()) else {
            return Err(invalid("groups", "the columns path and group are not text".to_owned()));
        };
        let pairs = paths.iter().zip(groups.iter());
        let of: HashMap<&str, &str> = pairs.filter_map(|(path, group)| Some((path?, group?))).collect();
        let name = |(path, short): (&str, &str)| {
            let group = of.get(path).or_else(|| of.get(short));
            let missing = || invalid("groups", format!("the table has no group for {short:?}"));
            group.map(|group| (*group).to_owned()).ok_or_else(missing)
        };
        let both = features.path_column().into_iter().zip(features.short_paths());
        Ok(Self::named(
            both.map(name).collect::<Result<_>>()?,
            "of photos that a table puts together",
        ))
    }

    /// Photos between which there is a chain of near duplicates: each is nearly the same picture as the next, as
    /// [`IssueKind::NearDuplicate`](super::IssueKind::NearDuplicate) has it. Photos are read where they lie.
    ///
    /// Frames of a slow video become one group; where frames differ by more than [`Thresholds::levels`], it falls apart.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a feature is not a finite number.
    pub async fn found(features: &Features, thresholds: Thresholds) -> Result<Self> {
        let near = search::others(features.matrix().view(), CHAIN_CANDIDATES, Metric::Cosine, |_, _| true);
        let near = near.map_err(|stop| stop.because(|row| not_finite(features, row)))?;
        let of_row = |(row, near): (usize, &'_ Vec<search::Near>)| {
            let alike = near.iter().filter(|near| near.score >= thresholds.similarity);
            alike
                .map(|near| (row.min(near.row), row.max(near.row)))
                .collect::<Vec<_>>()
        };
        let mut pairs: Vec<(usize, usize)> = near.iter().enumerate().flat_map(of_row).collect();
        pairs.sort_unstable();
        pairs.dedup();
        // The first row of a chain stands for it.
        let mut first: Vec<usize> = (0..features.len()).collect();
        fn find(first: &[usize], mut row: usize) -> usize {
            while first[row] != row {
                row = first[row];
            }
            row
        }
        for (a, b) in duplicates::alike(features, &pairs, thresholds.levels).await? {
            let (a, b) = (find(&first, a), find(&first, b));
            first[a.max(b)] = a.min(b);
        }
        let paths = features.path_column();
        let names = (0..features.len()).map(|row| paths[find(&first, row)].to_owned());
        Ok(Self::named(names.collect(), "of chains of nearly the same pictures"))
    }

    /// Groups by a rule as the commands take it: `series`, `folders`, `photos`, `found`, `pattern:REGEX`, or the location of a table with the
    /// columns `path` and `group`.
    ///
    /// # Errors
    /// As the functions of these names; of a table as [`read_table`] and [`of_table`](Self::of_table).
    pub async fn by_rule(features: &Features, rule: &str) -> Result<Self> {
        match rule.strip_prefix("pattern:") {
            Some(pattern) => Self::by_pattern(features, pattern),
            None => match rule {
                "series" => Ok(Self::series(features)),
                "folders" => Ok(Self::folders(features)),
                "photos" => Ok(Self::photos(features)),
                "found" => Self::found(features, Thresholds::default()).await,
                table if table.contains(['.', '/']) => Self::of_table(features, &read_table(table).await?),
                other => Err(invalid(
                    other,
                    "no such groups; there are: series, folders, photos, found, pattern:REGEX, or a FILE with the columns path and group"
                        .to_owned(),
                )),
            },
        }
    }

    /// Groups by name, one for each row; `rule` says of what, for people.
    pub fn named(names: Vec<String>, rule: &str) -> Self {
        let mut numbers: BTreeMap<&str, usize> = names.iter().map(|name| (name.as_str(), 0)).collect();
        numbers
            .values_mut()
            .enumerate()
            .for_each(|(number, value)| *value = number);
        Groups {
            of: names.iter().map(|name| numbers[name.as_str()]).collect(),
            names: numbers.keys().map(|name| (*name).to_owned()).collect(),
            rule: rule.to_owned(),
        }
    }

    /// The number of a row's group.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn of(&self, row: usize) -> usize {
        self.of[row]
    }

    /// Photos that are in groups.
    pub(crate) fn photos_in_all(&self) -> usize {
        self.of.len()
    }

    /// How many of these photos are in groups that have the name of one of the others.
    pub fn rows_shared_with(&self, others: &Groups) -> usize {
        let is_shared = |group: &&usize| others.names.binary_search(&self.names[**group]).is_ok();
        self.of.iter().filter(is_shared).count()
    }

    /// The groups' names, by their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The rows of each group, by their numbers.
    pub fn rows(&self) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); self.names.len()];
        self.of
            .iter()
            .enumerate()
            .for_each(|(row, group)| rows[*group].push(row));
        rows
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} groups {}", self.names.len(), self.rule)
    }
}

/// `…/Kiwi/r_35_100.jpg` is of `Kiwi/r`.
fn series_of(path: &str) -> String {
    let (folder, name) = folder_and_name(path);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let words = stem.split(['_', '-', '.', ' ']);
    let words: Vec<&str> = words
        .filter(|word| !word.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    format!("{folder}/{}", words.join("_"))
}

fn folder_and_name(path: &str) -> (&str, &str) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    (folder.rsplit('/').next().unwrap_or_default(), name)
}

fn invalid(about: &str, message: String) -> Error {
    Error::new(ErrorKind::Invalid, Step::Input, about, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_video_are_a_series() {
        for (path, series) in [
            ("s3://fruits/Training/Kiwi/35_100.jpg", "Kiwi/"),
            ("/photos/Test/Kiwi/r_7_100.jpg", "Kiwi/r"),
            ("Kiwi/r2_7_100.jpg", "Kiwi/r2"),
            ("data-sample/Apple Red/view-03.jpg", "Apple Red/view"),
            ("IMG 0017.JPG", "/IMG"),
            ("Kiwi/17", "Kiwi/"),
        ] {
            assert_eq!(series_of(path), series);
        }
    }

    #[test]
    fn groups_are_numbered_by_name() {
        let groups = Groups::named(["b", "a", "b"].map(str::to_owned).to_vec(), "of letters");
        assert_eq!(
            (groups.of(0), groups.names(), groups.rows()),
            (1, &["a".to_owned(), "b".to_owned()][..], vec![vec![1], vec![0, 2]])
        );
        assert_eq!(groups.to_string(), "2 groups of letters");
    }
}
