//! What a location holds instead of what was wanted there. It is looked at only when something has failed, so that the error can say it.

use futures::StreamExt;
use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::output::{self, MANIFEST, SUCCESS};
use crate::pixels::EXTENSIONS;
use crate::store::{self, Length, Store};

/// Names that are looked at; a location may have millions.
const LOOKED_AT: usize = 1000;

/// What a command or a call needs at a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Photos,
    Features,
    Pca,
    Classifier,
}

/// What is there.
#[derive(Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// A file, not a folder.
    Photo,
    Part,
    File,
    Photos,
    Features,
    Pca,
    Classifier,
    Answers,
    /// An output of either kind without its last mark.
    Unfinished,
    /// An output of this version of the crate, newer than ours.
    Newer(String),
    /// A folder of a table, within an output.
    Table,
    /// Other files, of which this is one.
    Others(String),
}

/// The error with what lies there, if that is not what was wanted.
pub(crate) async fn explain(store: &dyn Store, wanted: Wanted, error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Io) {
        return error;
    }
    let here = store.uri("");
    let give = |steps| above(&here, steps).map_or(String::new(), |folder| format!("; give the folder {folder}"));
    let makes = match wanted {
        Wanted::Photos => String::new(),
        Wanted::Features => format!("; `fruits features PHOTOS --out {here}` makes it"),
        Wanted::Pca => format!("; `fruits pca FEATURES --out {here}` makes it"),
        Wanted::Classifier => format!("; `fruits train PHOTOS --out {here}` makes it"),
    };
    let what = match wanted {
        Wanted::Photos => "photos",
        Wanted::Features => "features",
        Wanted::Pca => "a PCA",
        Wanted::Classifier => "a classifier",
    };
    let Some(there) = look(store).await else {
        return error;
    };
    let message = match there {
        Holds::Nothing => format!("there is nothing here{makes}"),
        Holds::Photo if wanted == Wanted::Photos => {
            format!("one photo, not a folder of photos{}", give(2))
        }
        Holds::Photo => format!("one photo, not {what}"),
        Holds::Part | Holds::Table if wanted == Wanted::Photos => "a table of an output, not photos".to_owned(),
        Holds::Part => format!("one file of a table, not an output{}", give(2)),
        Holds::Table => format!("a table of an output, not all of it{}", give(1)),
        Holds::File => format!("a file; give the folder that holds {what}"),
        Holds::Photos if wanted == Wanted::Features => {
            format!("holds photos, not features; `fruits features {here} --out FEATURES` comes first")
        }
        Holds::Photos if wanted == Wanted::Pca => {
            "holds photos, not a PCA; `fruits features` and `fruits pca` come first".to_owned()
        }
        Holds::Photos if wanted == Wanted::Classifier => {
            format!("holds photos, not a classifier; `fruits train {here} --out CLASSIFIER` comes first")
        }
        Holds::Features if wanted == Wanted::Classifier => {
            format!("holds features, not a classifier; `fruits train {here} --out CLASSIFIER` comes first")
        }
        Holds::Answers => format!("holds answers, not {what}"),
        Holds::Classifier if wanted != Wanted::Classifier => format!("holds a classifier, not {what}"),
        Holds::Features if wanted == Wanted::Pca => {
            format!("holds features, not a PCA; `fruits pca {here} --out PCA` comes first")
        }
        Holds::Features if wanted == Wanted::Photos => "holds features, not photos".to_owned(),
        Holds::Pca if wanted != Wanted::Pca => {
            format!("holds a PCA, not {what}; give the folder that holds {what}")
        }
        Holds::Newer(version) => {
            let ours = env!("CARGO_PKG_VERSION");
            format!("written by fruits {version}, which is newer than this one, {ours}")
        }
        Holds::Others(name) if wanted != Wanted::Photos => {
            format!("holds no {}, but {name}", what.trim_start_matches("a "))
        }
        // It is what was wanted, and something is wrong with it.
        Holds::Photos | Holds::Features | Holds::Pca | Holds::Classifier | Holds::Unfinished | Holds::Others(_) => {
            return error;
        }
    };
    Error::new(error.kind(), error.step(), here, message)
}

/// What is there; nothing if nobody can say.
async fn look(store: &dyn Store) -> Option<Holds> {
    if store::is_file(&store.uri("")).await {
        return Some(file(&store.uri("")));
    }
    let mut keys = Vec::new();
    let mut entries = store.list();
    while keys.len() < LOOKED_AT
        && let Some(entry) = entries.next().await
    {
        match entry {
            Ok(entry) => keys.push(entry.key),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    if let Ok(json) = store.get(MANIFEST, Length::AtMost(output::MAX_FILE)).await
        && let Ok(manifest) = serde_json::from_slice::<Value>(&json)
    {
        let version = manifest["version"].as_str().unwrap_or_default();
        if is_newer(version) {
            return Some(Holds::Newer(version.to_owned()));
        }
        if store.get(SUCCESS, Length::AtMost(output::MAX_FILE)).await.is_err() {
            return Some(Holds::Unfinished);
        }
        if manifest.get("model").is_some() {
            return Some(Holds::Features);
        }
        if manifest.get("centre_projection").is_some() {
            return Some(Holds::Pca);
        }
        if manifest.get("temperature").is_some() {
            return Some(Holds::Classifier);
        }
        if manifest.get("answers").is_some() {
            return Some(Holds::Answers);
        }
    }
    Some(match keys.iter().find(|key| !key.starts_with('.')) {
        None => Holds::Nothing,
        Some(_) if keys.iter().any(|key| output::is_mark(key) || key.starts_with("_part-")) => Holds::Unfinished,
        Some(_) if keys.iter().any(|key| ending(key).is_some_and(is_photo)) => Holds::Photos,
        Some(first) if first.starts_with("part-") && first.ends_with(".parquet") => Holds::Table,
        Some(first) => Holds::Others(first.clone()),
    })
}

/// What a file is by its name.
fn file(uri: &str) -> Holds {
    let name = uri.rsplit('/').next().unwrap_or_default();
    if ending(name).is_some_and(is_photo) {
        Holds::Photo
    } else if name.starts_with("part-") && name.ends_with(".parquet") {
        Holds::Part
    } else {
        Holds::File
    }
}

fn ending(name: &str) -> Option<String> {
    Some(name.rsplit_once('.')?.1.to_lowercase())
}

fn is_photo(ending: String) -> bool {
    EXTENSIONS.contains(&ending.as_str())
}

/// The folder that is so many steps above, if there is one with a name.
fn above(location: &str, steps: usize) -> Option<&str> {
    let mut folder = location;
    for _ in 0..steps {
        folder = folder.rsplit_once('/')?.0;
    }
    (!folder.is_empty() && !folder.ends_with('/') && folder != "s3:").then_some(folder)
}

/// Whether a version is later than this one's.
fn is_newer(version: &str) -> bool {
    let numbers = |version: &str| {
        version
            .split('.')
            .map_while(|number| number.parse().ok())
            .collect::<Vec<u64>>()
    };
    numbers(version) > numbers(env!("CARGO_PKG_VERSION"))
}
