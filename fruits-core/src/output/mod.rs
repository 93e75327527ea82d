//! Folders that the crate writes, and their protocol: one owner at a time, whole or refused.
//!
//! # What lies in an output
//!
//! | name | what it is |
//! |---|---|
//! | `features/part-*-RUN.parquet`, or the folders of other tables | the rows; nothing else is in these folders |
//! | `_index/…-RUN.json`, `_failures-RUN.jsonl`, … | what belongs to the tables |
//! | `_manifest.json` | what is in the output: the run, and each file's name, size and SHA-256 |
//! | `_SUCCESS` | that all of it is there; it holds the run |
//! | `_owner.json` | which run may finish here, while one is at work |
//! | `_runs/RUN/…` | what a run has made that is not finished, under the names that it will have |
//!
//! `RUN` is 16 hexadecimal digits, drawn by each run, so no two runs write files of one name, but for the three that begin with `_` and carry
//! none. All other names are other people's: hidden ones (`.DS_Store`) stay where they are, and of folders with any other nothing is
//! replaced.
//!
//! # What a run does
//!
//! 1. It takes the folder: it [swaps](crate::store::Store::swap) `_owner.json`, from nothing, or from what it has found if it was told to
//!    replace or resume. Of two that expect the same, one succeeds; who was the owner before learns it at its next look. A run that may not
//!    replace anything looks again whether the folder is empty, now that it is its own. Nothing else changes: an output that was finished
//!    stays so.
//! 2. It makes its files in `_runs/RUN/`, and looks meanwhile whether it is still the owner. A kill leaves them there, for a later run to
//!    resume from.
//! 3. It finishes. The manifest and the mark are written like any file; then the owner's state is swapped to `finishing`, which fails if
//!    another run has taken over. Then, in this order, and only as long as it is the owner: the files of all other runs in `_runs/` vanish;
//!    `_SUCCESS` and the manifest are swapped to nothing; the tables that were there vanish; its own files are
//!    [copied](crate::store::Store::copy) from `_runs/RUN/` to where they belong, `_SUCCESS` last. A run that is
//!    killed or fails here leaves no output, but all that it has made: the next one resumes from it.
//! 4. It gives the folder back: its files in `_runs/RUN/` and `_owner.json` vanish. After an error, only the latter does.
//!
//! # Why that is enough
//!
//! A request may be slow, and arrive when its run is not the owner any more. So no request may do harm then: those to `_runs/` do none; swaps
//! fail if the content has changed; what is deleted by name has a run's name, and no run writes another's; and all that readers see is copied
//! from `_runs/RUN/`, which the new owner empties before it touches anything, so that late copies fail. What is to vanish is listed before the
//! look at the owner, so it holds nothing that came after; and the marks are read after the list, so that a copy whose source has
//! vanished already is seen. `orders` tries this, in all orders of two runs, and finds the faults of the protocol that was.
//!
//! What it does not cover: two slow requests of one run, of which one puts a file into `_runs/` again and the other copies it (nothing sends
//! requests again after an answer, so both have to be thought lost, and arrive long after); a service that has read the source of a copy, and
//! makes the target appear seconds later, when a new owner has come and gone (then a table holds a file too many for those who do not know the
//! protocol; the marks are copied only where there are none); and stores without conditions. A run
//! [tries](crate::store::Store::compares) them before it computes anything, and its manifest then says `"is_exclusive": false`: two runs
//! that take such a folder in the same moment may both believe to be its owner until one looks. What is read is still compared with its
//! hash.
//!
//! # What readers may rely on
//!
//! Who knows the protocol reads `_SUCCESS`, the manifest, which has to name the same run, and the files by their names and hashes: what
//! comes is what one run wrote, or an error. Who does not, such as `pandas.read_parquet("out/features")`, finds no table there before the first run
//! begins to finish; the tables of one run when it has; and in between, which takes a request a file, some of them, or of either run. Who is
//! killed just then leaves it so: that `_SUCCESS` is missing says it.

#[cfg(test)]
mod orders;
mod run;

use bytes::Bytes;
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::store::{self, Length, Store};
pub(crate) use run::Run;

pub(crate) const MANIFEST: &str = "_manifest.json";
pub(crate) const SUCCESS: &str = "_SUCCESS";
const OWNER: &str = "_owner.json";
const RUNS: &str = "_runs/";
/// Why a file is refused.
pub(crate) const DAMAGED: &str = "damaged: its SHA-256 is not the one noted when it was written";
/// The largest file of an output that is read in one piece.
pub(crate) const MAX_FILE: u64 = 4 << 30;

/// What to do with an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfExists {
    /// Fail with [`ErrorKind::AlreadyExists`].
    #[default]
    Refuse,
    /// Replace it when all is computed, if it was written by this crate, finished or not.
    Replace,
}

/// The files that an output of some kind is made of.
pub(crate) struct Kind {
    /// How their names begin and end; between lie numbers and the run.
    pub files: &'static [(&'static str, &'static str)],
    /// Whether versions before the protocol wrote a file of this name.
    pub is_earlier: fn(&str) -> bool,
}

/// Whose a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// One of the marks: the manifest, `_SUCCESS`, the owner.
    Mark,
    /// A file of a run, where readers see it.
    Visible(&'a str),
    /// A file of a run in `_runs/`, of whatever kind, and its name when it becomes visible.
    Made(&'a str, &'a str),
    /// A file of an output as versions before the protocol wrote it.
    Earlier,
    /// What a killed process has left of a file.
    Temporary,
    /// Another program's, and hidden.
    Hidden,
    Foreign,
}

impl Kind {
    pub fn name<'a>(&self, key: &'a str) -> Name<'a> {
        if matches!(key, MANIFEST | SUCCESS | OWNER) {
            return Name::Mark;
        }
        if let Some(run) = self.run_of(key) {
            return Name::Visible(run);
        }
        let made = key.strip_prefix(RUNS).and_then(|rest| rest.split_once('/'));
        if let Some((run, name)) = made
            && is_run(run)
            && (carried(name) == Some(run) || matches!(name, MANIFEST | SUCCESS))
        {
            return Name::Made(run, name);
        }
        if (self.is_earlier)(key) {
            return Name::Earlier;
        }
        let is_hidden = |name: &str| name.starts_with('.') || matches!(name, "Thumbs.db" | "desktop.ini");
        match key {
            _ if store::is_temporary(key) && key.matches('/').count() <= 3 => Name::Temporary,
            _ if key.split('/').any(is_hidden) => Name::Hidden,
            _ => Name::Foreign,
        }
    }

    /// Whether a folder with this key is not empty.
    fn is_there(&self, key: &str) -> bool {
        key != OWNER && !matches!(self.name(key), Name::Temporary | Name::Hidden)
    }

    /// The run that a name carries.
    fn run_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        self.files.iter().find_map(|(begin, end)| {
            let (numbers, run) = name.strip_prefix(begin)?.strip_suffix(end)?.rsplit_once('-')?;
            let is_numbers = numbers.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            (is_numbers && is_run(run)).then_some(run)
        })
    }
}

/// Whether a key is one that outputs of every kind have.
pub(crate) fn is_mark(key: &str) -> bool {
    matches!(key, MANIFEST | SUCCESS | OWNER) || key.starts_with(RUNS)
}

/// The run that a name of any kind of output carries before its ending.
fn carried(name: &str) -> Option<&str> {
    let (stem, _) = name.rsplit_once('.')?;
    Some(stem.rsplit_once('-')?.1)
}

fn is_run(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A file of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub name: String,
    pub bytes: u64,
    /// Of its content, in hexadecimal.
    pub sha256: String,
}

impl File {
    pub fn new(name: String, content: &[u8]) -> Self {
        File {
            name,
            bytes: content.len() as u64,
            sha256: store::sha256(content),
        }
    }

    /// Reads it; what is not the content that was written is refused.
    pub async fn read(&self, store: &dyn Store) -> Result<Bytes> {
        let content = store.get(&self.name, Length::AtMost(MAX_FILE)).await?;
        if store::sha256(&content) != self.sha256 {
            return Err(Error::new(
                ErrorKind::Invalid,
                Step::Read,
                store.uri(&self.name),
                DAMAGED,
            ));
        }
        Ok(content)
    }
}

/// A finished output: what `_manifest.json` says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finished<T> {
    /// Empty if a version before the protocol wrote it.
    #[serde(default)]
    run: String,
    /// Whether the store compared before it swapped, so that no other run wrote at the same time.
    #[serde(default)]
    is_exclusive: bool,
    #[serde(default)]
    pub files: Vec<File>,
    /// What outputs of this kind say besides.
    #[serde(flatten)]
    pub about: T,
}

impl<T> Finished<T> {
    /// The file whose name begins so; of what was written before the protocol, `earlier`, whose hash nobody has noted.
    pub async fn read(&self, store: &dyn Store, begin: &str, earlier: &str) -> Result<Bytes> {
        match self.files.iter().find(|file| file.name.starts_with(begin)) {
            Some(file) => file.read(store).await,
            None if self.run.is_empty() => store.get(earlier, Length::AtMost(MAX_FILE)).await,
            None => {
                let message = format!("it names no file {begin}*");
                Err(Error::new(ErrorKind::Invalid, Step::Read, store.uri(MANIFEST), message))
            }
        }
    }
}

/// What a finished output says of itself.
pub(crate) async fn open<T: DeserializeOwned>(store: &dyn Store) -> Result<Finished<T>> {
    let success = optional(store, SUCCESS).await;
    if matches!(success, Ok(None)) && !keys(store, |_| true).await?.is_empty() {
        let message = format!(
            "there is no {SUCCESS} in it: whatever writes it has not finished, or was stopped; the command that wrote it goes on with --resume, or begins anew with --overwrite"
        );
        return Err(Error::new(ErrorKind::Invalid, Step::Read, store.uri(""), message));
    }
    let success = success?.unwrap_or_default();
    let json = store.get(MANIFEST, Length::AtMost(MAX_FILE)).await?;
    let finished: Finished<T> =
        serde_json::from_slice(&json).map_err(|error| Error::from_source(Step::Read, store.uri(MANIFEST), error))?;
    if finished.run.as_bytes() != success {
        let message =
            format!("{SUCCESS} and {MANIFEST} are of two runs: one replaces the output of the other at this moment");
        return Err(Error::new(ErrorKind::Invalid, Step::Read, store.uri(""), message));
    }
    Ok(finished)
}

/// Whether there is an output, of whatever kind.
pub(crate) async fn is_there(store: &dyn Store) -> bool {
    store.get(MANIFEST, Length::AtMost(MAX_FILE)).await.is_ok()
}

/// A small file, if it is there.
async fn optional(store: &dyn Store, key: &str) -> Result<Option<Bytes>> {
    match store.get(key, Length::AtMost(MAX_FILE)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::Io => {
            let message = format!(
                "{}; if that stays so, it is damaged: delete it, and --overwrite",
                error.message()
            );
            Err(Error::new(ErrorKind::Io, Step::Read, error.subject(), message))
        }
        content => content.map(Some),
    }
}

/// The names in a folder, which need not exist, of which something holds.
pub(crate) async fn keys(store: &dyn Store, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let mut entries = store.list();
    while let Some(entry) = entries.next().await {
        match entry {
            Ok(entry) if !is_wanted(&entry.key) => {}
            Ok(entry) => keys.push(entry.key),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    #[cfg(test)]
    orders::learned(&keys);
    Ok(keys)
}

fn refusal(store: &dyn Store, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::AlreadyExists, Step::Write, store.uri(""), message)
}
