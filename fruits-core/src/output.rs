//! Folders that the crate writes: Parquet files, a manifest, and `_SUCCESS` last.
//!
//! Whoever finds `_SUCCESS` finds everything. Names with `_` in front are skipped by Spark, pandas and ImageFolder.

use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::store::Store;

pub(crate) const MANIFEST: &str = "_manifest.json";
const SUCCESS: &str = "_SUCCESS";
/// The largest file of an output that is read in one piece.
pub(crate) const MAX_FILE: u64 = 4 << 30;

/// What to do with an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfExists {
    /// Fail with [`ErrorKind::AlreadyExists`].
    #[default]
    Refuse,
    /// Remove it first, if it was written by this crate.
    Replace,
}

/// Makes sure that the folder is empty, or empties it.
pub(crate) async fn begin(store: &dyn Store, if_exists: IfExists) -> Result<()> {
    let mut keys = Vec::new();
    let mut entries = store.list();
    while let Some(entry) = entries.next().await {
        match entry {
            Ok(entry) => keys.push(entry.key),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let refuse = |message: &str| {
        Err(Error::new(
            ErrorKind::AlreadyExists,
            Step::Write,
            store.uri(""),
            message,
        ))
    };
    match if_exists {
        _ if keys.is_empty() => Ok(()),
        IfExists::Refuse => refuse("the folder is not empty; give a new one, or ask to replace it"),
        IfExists::Replace if !keys.iter().any(|key| key == MANIFEST) || !keys.iter().all(|key| is_ours(key)) => {
            refuse("the folder holds files that are not an earlier output of this kind")
        }
        IfExists::Replace => {
            // Without the mark the rest is no output any more; the manifest goes last, so that an interrupted removal can go on.
            store.delete(SUCCESS).await?;
            for key in keys.iter().filter(|key| *key != MANIFEST) {
                store.delete(key).await?;
            }
            store.delete(MANIFEST).await
        }
    }
}

/// The names that outputs of this crate are made of.
fn is_ours(key: &str) -> bool {
    !key.contains('/') && (key.ends_with(".parquet") || key.ends_with(".safetensors") || key.starts_with('_'))
}

/// Writes the manifest and the mark that all is there.
pub(crate) async fn finish<T: Serialize>(store: &dyn Store, manifest: &T) -> Result<()> {
    let json = serde_json::to_vec_pretty(manifest)
        .map_err(|error| Error::from_source(Step::Write, store.uri(MANIFEST), error))?;
    store.put(MANIFEST, json.into()).await?;
    store.put(SUCCESS, Bytes::new()).await
}

/// The manifest of a finished output.
pub(crate) async fn manifest<T: DeserializeOwned>(store: &dyn Store) -> Result<T> {
    let json = store.get(MANIFEST, MAX_FILE).await?;
    if let Err(error) = store.get(SUCCESS, MAX_FILE).await {
        let message = format!(
            "there is no {SUCCESS} in it: whatever wrote it did not finish ({})",
            error.message()
        );
        return Err(Error::new(ErrorKind::Invalid, Step::Read, store.uri(""), message));
    }
    serde_json::from_slice(&json).map_err(|error| Error::from_source(Step::Read, store.uri(MANIFEST), error))
}
