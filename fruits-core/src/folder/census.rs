//! What a listing meets: what is a photo by its name, what is left out, and labels that people may not mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

use super::{label, parent};
use crate::error::{Error, ErrorKind, Result, Step, printable};
use crate::pixels::EXTENSIONS;

/// Kinds of what is left out that are told apart, and labels whose folders are.
const MAX_KINDS: usize = 30;
const MAX_LABELS: usize = 100_000;
/// Examples of each kind, and folders that are named.
const EXAMPLES: usize = 3;
/// Labels that a warning names.
const NAMED: usize = 5;

/// What a listing met besides photos, and what may not be as people mean it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Survey {
    /// Files that are no photos by their name, by kind: `.txt`, `without extension`, `hidden`, `begins with _`.
    pub left_out: BTreeMap<String, LeftOut>,
    /// Sentences about labels.
    pub warnings: Vec<String>,
}

/// Files of one kind that are no photos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many.
    pub files: usize,
    /// The first of them, below the location.
    pub examples: Vec<String>,
}

impl Survey {
    /// What was left out, in a sentence; empty if nothing was.
    pub fn left_out_in_words(&self) -> String {
        let kind = |(kind, left_out): (&String, &LeftOut)| {
            format!("{} {kind} ({})", left_out.files, left_out.examples.join(", "))
        };
        let kinds: Vec<String> = self.left_out.iter().map(kind).collect();
        match kinds.is_empty() {
            true => String::new(),
            false => format!(
                "left out, since their names are not those of photos: {}",
                printable(&kinds.join("; "))
            ),
        }
    }

    /// Number of files that were left out.
    pub fn left_out_files(&self) -> usize {
        self.left_out.values().map(|left_out| left_out.files).sum()
    }

    /// All that people should know, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let left_out = Some(self.left_out_in_words()).filter(|words| !words.is_empty());
        left_out
            .into_iter()
            .chain(self.warnings.iter().map(|warning| printable(warning)))
            .collect()
    }
}

/// Tells photos from other files by their names, and counts both.
#[derive(Debug)]
pub(crate) struct Census {
    root: String,
    extensions: Vec<String>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    left_out: BTreeMap<String, LeftOut>,
    /// Labels by what they are without case and Unicode form, and the first folders that each lies in.
    labels: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// The folder that was counted last.
    last: String,
    in_root: usize,
}

impl Census {
    /// Of a location, in which names with these endings are photos; without any, all that are known.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no photo has such an ending.
    pub fn new(root: String, only: &[impl AsRef<str>]) -> Result<Self> {
        let mut extensions = Vec::new();
        for extension in only {
            let extension = extension.as_ref().trim_start_matches('.').to_lowercase();
            if !EXTENSIONS.contains(&extension.as_str()) {
                let message = format!(
                    "no photo ends in .{extension}; what may be asked for: {}",
                    EXTENSIONS.join(", ")
                );
                return Err(Error::new(ErrorKind::Invalid, Step::Input, "only", message));
            }
            extensions.push(extension);
        }
        if extensions.is_empty() {
            extensions = EXTENSIONS.map(str::to_owned).to_vec();
        }
        Ok(Census {
            root,
            extensions,
            counts: Mutex::default(),
        })
    }

    /// Whether a name is that of a photo. It is counted.
    pub fn is_photo(&self, key: &str) -> bool {
        if key.ends_with('/') {
            return false; // a folder, as services make them visible
        }
        let kind = self.kind(key);
        match &kind {
            None => self.count_label(key),
            Some(kind) => self.leave_out(kind, key),
        }
        kind.is_none()
    }

    /// Whether what cannot be listed is a failure. What is no photo by its name is none; a folder is none only if it is hidden.
    pub fn is_failure(&self, error: &Error) -> bool {
        let below = error.subject().strip_prefix(&self.root);
        let Some(key) = below
            .map(|key| key.trim_start_matches('/'))
            .filter(|key| !key.is_empty())
        else {
            return true;
        };
        let is_file = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid); // a broken link, a name that is not UTF-8
        match self.kind(key) {
            Some(kind) if is_file || kind == HIDDEN || kind == UNDERSCORE => {
                self.leave_out(&kind, key);
                false
            }
            _ => true,
        }
    }

    pub fn survey(&self) -> Survey {
        let counts = self.counts();
        Survey {
            left_out: counts.left_out.clone(),
            warnings: counts.warnings(),
        }
    }

    /// That there is nothing to work on.
    pub fn no_photo(&self) -> Error {
        let left_out = self.survey().left_out_in_words();
        let endings: Vec<String> = self
            .extensions
            .iter()
            .map(|extension| format!(".{extension}"))
            .collect();
        let mut message = format!("no photo in it or below ({})", endings.join(", "));
        if !left_out.is_empty() {
            message = format!("{message}; {left_out}");
        }
        Error::new(ErrorKind::NotFound, Step::List, &self.root, message)
    }

    /// Why a name is not that of a photo; nothing if it is.
    fn kind(&self, key: &str) -> Option<String> {
        let name = key.rsplit('/').next().unwrap_or_default();
        if key.split('/').any(|name| name.starts_with('.')) {
            return Some(HIDDEN.to_owned());
        }
        // As Spark skips them; it takes `_name=value` as a partition.
        if key.split('/').any(|name| name.starts_with('_') && !name.contains('=')) {
            return Some(UNDERSCORE.to_owned());
        }
        match name.rsplit_once('.') {
            None => Some("without extension".to_owned()),
            Some((_, extension)) => {
                let extension = extension.to_lowercase();
                (!self.extensions.contains(&extension)).then(|| format!(".{extension}"))
            }
        }
    }

    fn leave_out(&self, kind: &str, key: &str) {
        let mut counts = self.counts();
        let is_new = counts.left_out.len() >= MAX_KINDS && !counts.left_out.contains_key(kind);
        let kind = if is_new { "others" } else { kind };
        let left_out = counts.left_out.entry(kind.to_owned()).or_default();
        left_out.files += 1;
        if left_out.examples.len() < EXAMPLES {
            left_out.examples.push(key.to_owned());
        }
    }

    fn count_label(&self, key: &str) {
        let folder = parent(key);
        let mut counts = self.counts();
        if folder.is_empty() {
            counts.in_root += 1;
            return;
        }
        if counts.last == folder {
            return;
        }
        counts.last = folder.to_owned();
        let label = label(&self.root, key);
        let alike = ComposingNormalizerBorrowed::new_nfkc().normalize(&label).to_lowercase();
        if counts.labels.len() >= MAX_LABELS && !counts.labels.contains_key(&alike) {
            return;
        }
        let folders = counts.labels.entry(alike).or_default().entry(label).or_default();
        if folders.len() < EXAMPLES && !folders.contains(folder) {
            folders.insert(folder.to_owned());
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const HIDDEN: &str = "hidden";
const UNDERSCORE: &str = "begins with _";

impl Counts {
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let alike = self.labels.values().filter(|labels| labels.len() > 1);
        let alike = alike.map(|labels| {
            labels
                .keys()
                .map(|label| format!("\"{label}\""))
                .collect::<Vec<_>>()
                .join(" and ")
        });
        if let Some(labels) = named(alike) {
            warnings.push(format!("labels that differ only by case or Unicode form: {labels}"));
        }
        let split = self.labels.values().flatten().filter(|(_, folders)| folders.len() > 1);
        let split = split.map(|(label, folders)| {
            let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
            format!("\"{label}\" ({})", folders.join(", "))
        });
        if let Some(labels) = named(split) {
            warnings.push(format!(
                "labels that lie in several folders, whose photos are mixed: {labels}"
            ));
        }
        if self.in_root > 0 && !self.labels.is_empty() {
            warnings.push(format!(
                "photos lie in the location itself ({}), beside the folders of labels; its name is their label",
                self.in_root
            ));
        }
        warnings
    }
}

/// The first of some, and how many more there are.
fn named(all: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<String> = all.collect();
    let first = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match all.len() {
        0 => None,
        n if n > NAMED => Some(format!("{first}; and {} more", n - NAMED)),
        _ => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census() -> Census {
        Census::new("s3://photos/Test".to_owned(), &[""; 0]).unwrap()
    }

    #[test]
    fn hidden_names_and_other_files_are_no_photos() {
        let census = census();
        for key in [
            "a.jpg",
            "x/b.JPEG",
            "é/ü.PnG",
            "_year=2026/a.jpg",
            "a.b/c.d.jpg",
            "a.gif",
            "x.TIF",
            "i.heic",
        ] {
            assert!(census.is_photo(key), "{key}");
        }
        for key in [
            "jpg",
            ".a.jpg",
            "_a.jpg",
            "_tmp/a.jpg",
            "x/.cache/a.jpg",
            "a.jpg.part",
            "a.jpg/",
            "n/notes.txt",
        ] {
            assert!(!census.is_photo(key), "{key}");
        }
        let left_out = census.survey().left_out;
        let counts: Vec<_> = left_out
            .iter()
            .map(|(kind, left_out)| (kind.as_str(), left_out.files))
            .collect();
        assert_eq!(
            counts,
            [
                (".part", 1),
                (".txt", 1),
                ("begins with _", 2),
                ("hidden", 2),
                ("without extension", 1)
            ]
        );
        assert_eq!(left_out[".txt"].examples, ["n/notes.txt"]);
    }

    #[test]
    fn endings_can_be_chosen() {
        let census = Census::new(String::new(), &["PNG", ".webp"]).unwrap();
        assert!(census.is_photo("a/1.png") && census.is_photo("a/1.WEBP") && !census.is_photo("a/1.jpg"));
        assert_eq!(
            Census::new(String::new(), &["txt"]).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    #[test]
    fn what_cannot_be_listed_fails_only_if_it_may_be_a_photo() {
        let census = census();
        let fails = |kind, key| census.is_failure(&Error::new(kind, Step::List, format!("s3://photos/Test/{key}"), ""));
        assert!(
            fails(ErrorKind::NotFound, "a/link.jpg")
                && fails(ErrorKind::Io, "folder")
                && fails(ErrorKind::NotFound, "")
        );
        assert!(!fails(ErrorKind::NotFound, "notes.txt") && !fails(ErrorKind::NotFound, "a/.#1.jpg"));
        assert!(!fails(ErrorKind::Io, ".cache/x") && !fails(ErrorKind::Invalid, "a/b.txt"));
    }

    #[test]
    fn labels_that_may_not_be_meant_are_named() {
        let census = census();
        for key in [
            "Caf\u{e9}/1.jpg",
            "Cafe\u{301}/1.jpg",
            "apple/1.jpg",
            "Apple/2.jpg",
            "1.jpg",
            "Kiwi/1.jpg",
        ] {
            assert!(census.is_photo(key));
        }
        for key in ["Training/Pear/1.jpg", "Test/Pear/1.jpg", "Test/Pear/2.jpg"] {
            assert!(census.is_photo(key));
        }
        let warnings = census.survey().warnings;
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("\"Apple\" and \"apple\"") && warnings[0].contains("Cafe\u{301}"));
        assert!(warnings[1].contains("\"Pear\" (Test/Pear, Training/Pear)"));
        assert!(warnings[2].starts_with("photos lie in the location itself (1)"));
    }
}
