//! Photos that are not independent of each other, such as the frames of one video.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::features::Features;

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
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = folder.rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let words = stem.split(['_', '-', '.', ' ']);
    let words: Vec<&str> = words
        .filter(|word| !word.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    format!("{folder}/{}", words.join("_"))
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
