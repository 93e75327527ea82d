//! Folders that the crate writes: files, a manifest, and `_SUCCESS` last.
//!
//! Whoever finds `_SUCCESS` finds everything, and nothing else. Names with `_` in front are skipped by Spark, pandas and
//! ImageFolder. Of several runs that write to one folder, the one whose manifest comes first wins; the others fail.

use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::store::{Length, Store};

const MANIFEST: &str = "_manifest.json";
const SUCCESS: &str = "_SUCCESS";
/// The largest file of an output that is read in one piece.
pub(crate) const MAX_FILE: u64 = 4 << 30;

/// What to do with an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfExists {
    /// Fail with [`ErrorKind::AlreadyExists`].
    #[default]
    Refuse,
    /// Remove it first, if it was written by this crate, finished or not.
    Replace,
}

/// Makes sure that the folder is empty, or empties it. `is_ours` knows the names that an output of this kind is made of.
pub(crate) async fn begin(store: &dyn Store, if_exists: IfExists, is_ours: fn(&str) -> bool) -> Result<()> {
    match if_exists {
        IfExists::Refuse => {
            if keys(store).await?.iter().any(|key| !is_temporary(key)) {
                return Err(refusal(
                    store,
                    "the folder is not empty; give a new one, or ask to replace or resume what is there",
                ));
            }
        }
        IfExists::Replace => {
            for key in reopen(store, is_ours).await? {
                store.delete(&key).await?;
            }
        }
    }
    Ok(())
}

/// Makes an output unfinished, so that it can be written again, and gives back the names of its other files.
pub(crate) async fn reopen(store: &dyn Store, is_ours: fn(&str) -> bool) -> Result<Vec<String>> {
    let is_mark = |key: &str| matches!(key, SUCCESS | MANIFEST);
    let mut keys = keys(store).await?;
    if let Some(foreign) = keys
        .iter()
        .find(|key| !is_mark(key) && !is_ours(key) && !is_temporary(key))
    {
        let message = format!("the folder holds {foreign}, which is not part of an earlier output of this kind");
        return Err(refusal(store, message));
    }
    for mark in [SUCCESS, MANIFEST] {
        if keys.iter().any(|key| key == mark) {
            store.delete(mark).await?;
        }
    }
    keys.retain(|key| !is_mark(key));
    Ok(keys)
}

/// Writes the manifest, unless another run has written its own since this one began.
pub(crate) async fn claim<T: Serialize>(store: &dyn Store, manifest: &T) -> Result<()> {
    match store.create(MANIFEST, json(store, manifest)?).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(overtaken(store)),
        result => result,
    }
}

/// Removes what earlier runs left, all but `files`, and writes the mark that all is there: if it is, and nobody has taken over.
pub(crate) async fn finish<T: Serialize>(
    store: &dyn Store,
    manifest: &T,
    files: &[String],
    is_ours: fn(&str) -> bool,
) -> Result<()> {
    let keys = keys(store).await?;
    let claim = store.get(MANIFEST, Length::AtMost(MAX_FILE)).await;
    let is_claimed = claim.is_ok_and(|claim| json(store, manifest).is_ok_and(|ours| claim == ours));
    if !is_claimed || !files.iter().all(|file| keys.contains(file)) {
        return Err(overtaken(store));
    }
    for key in keys {
        if (is_ours(&key) && !files.contains(&key)) || is_temporary(&key) {
            store.delete(&key).await?;
        }
    }
    store.put(SUCCESS, Bytes::new()).await
}

/// The manifest of a finished output.
pub(crate) async fn manifest<T: DeserializeOwned>(store: &dyn Store) -> Result<T> {
    match store.get(SUCCESS, Length::AtMost(0)).await {
        Err(error) if error.kind() == ErrorKind::NotFound && !keys(store).await?.is_empty() => {
            let message = format!("there is no {SUCCESS} in it: whatever wrote it did not finish");
            return Err(Error::new(ErrorKind::Invalid, Step::Read, store.uri(""), message));
        }
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::TooLarge) => return Err(error),
        _ => {}
    }
    let json = store.get(MANIFEST, Length::AtMost(MAX_FILE)).await?;
    serde_json::from_slice(&json).map_err(|error| Error::from_source(Step::Read, store.uri(MANIFEST), error))
}

fn json<T: Serialize>(store: &dyn Store, manifest: &T) -> Result<Bytes> {
    serde_json::to_vec_pretty(manifest)
        .map(Bytes::from)
        .map_err(|error| Error::from_source(Step::Write, store.uri(MANIFEST), error))
}

fn overtaken(store: &dyn Store) -> Error {
    refusal(store, "another run has written to this folder meanwhile")
}

async fn keys(store: &dyn Store) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let mut entries = store.list();
    while let Some(entry) = entries.next().await {
        match entry {
            Ok(entry) => keys.push(entry.key),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(keys)
}

/// What a killed process leaves of a file that it was writing.
fn is_temporary(key: &str) -> bool {
    key.starts_with(crate::store::TEMPORARY)
}

fn refusal(store: &dyn Store, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::AlreadyExists, Step::Write, store.uri(""), message)
}
