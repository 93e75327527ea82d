//! Folders of this machine.

use std::cmp::Ordering;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use walkdir::{DirEntry, WalkDir};

use super::{Entry, Store};
use crate::error::{Error, ErrorKind, Result, Step};

/// Entries that may wait between the thread that walks the folders and whoever reads the stream.
const LIST_AHEAD: usize = 1024;

/// A folder as a store. Symbolic links are followed; a link that leads back to a folder above it is skipped.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// The store at `root`, which need not exist yet. Its URIs are absolute paths.
    pub fn new(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref();
        let absolute = root.canonicalize().or_else(|_| std::path::absolute(root));
        LocalStore {
            root: absolute.unwrap_or_else(|_| root.to_owned()),
        }
    }
}

impl Store for LocalStore {
    fn uri(&self, key: &str) -> String {
        let path = if key.is_empty() {
            self.root.clone()
        } else {
            self.root.join(key)
        };
        path.display().to_string()
    }

    fn list(&self) -> BoxStream<'static, Result<Entry>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(LIST_AHEAD);
        let root = self.root.clone();
        tokio::task::spawn_blocking(move || {
            // The receiver is gone when nobody wants the rest of the list.
            walk(&root, |entry| sender.blocking_send(entry).is_ok());
        });
        Box::pin(futures::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|entry| (entry, receiver))
        }))
    }

    fn get<'a>(&'a self, key: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes>> {
        let path = self.root.join(key);
        Box::pin(async move {
            on_blocking_thread(move || {
                read(&path, max_bytes)
                    .map_err(|error| Error::from_source(Step::Read, path.display().to_string(), error))?
                    .ok_or_else(|| {
                        Error::new(
                            ErrorKind::TooLarge,
                            Step::Read,
                            path.display().to_string(),
                            format!("larger than the limit of {max_bytes} bytes"),
                        )
                    })
            })
            .await
        })
    }

    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        let path = self.root.join(key);
        Box::pin(async move {
            on_blocking_thread(move || {
                write_whole(&path, &content)
                    .map_err(|error| Error::from_source(Step::Write, path.display().to_string(), error))
            })
            .await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        let path = self.root.join(key);
        Box::pin(async move {
            on_blocking_thread(move || match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::from_source(Step::Write, path.display().to_string(), error))
                }
                _ => Ok(()),
            })
            .await
        })
    }
}

/// Walks `root` in the order in which S3 lists: by the bytes of the whole key, so a folder sorts as its name with `/` behind it.
fn walk(root: &Path, mut emit: impl FnMut(Result<Entry>) -> bool) {
    for item in WalkDir::new(root).follow_links(true).sort_by(by_key) {
        let entry = match item {
            Ok(item) if item.depth() == 0 && !item.file_type().is_dir() => Err(list_error(item.path(), "not a folder")),
            Ok(item) if item.file_type().is_file() => entry(root, &item),
            Ok(_) => continue,
            Err(error) if error.loop_ancestor().is_some() => continue,
            Err(error) => {
                let path = error.path().unwrap_or(root).display().to_string();
                match error.into_io_error() {
                    Some(error) => Err(Error::from_source(Step::List, path, error)),
                    None => continue,
                }
            }
        };
        if !emit(entry) {
            return;
        }
    }
}

fn by_key(a: &DirEntry, b: &DirEntry) -> Ordering {
    let key = |entry: &DirEntry| {
        let mut key = entry.file_name().as_bytes().to_vec();
        // Links are not followed yet when a folder is sorted.
        if entry.file_type().is_dir() || (entry.path_is_symlink() && entry.path().is_dir()) {
            key.push(b'/');
        }
        key
    };
    key(a).cmp(&key(b))
}

fn entry(root: &Path, item: &DirEntry) -> Result<Entry> {
    let key = item.path().strip_prefix(root).unwrap_or(item.path());
    let key = key
        .to_str()
        .ok_or_else(|| list_error(item.path(), "the name is not UTF-8"))?;
    let metadata = item
        .metadata()
        .map_err(|error| Error::from_source(Step::List, item.path().display().to_string(), error))?;
    Ok(Entry {
        key: key.to_owned(),
        size: metadata.len(),
        modified: metadata.modified().ok(),
    })
}

fn list_error(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Invalid, Step::List, path.display().to_string(), message)
}

/// The content of a file, or nothing if it is longer than `max_bytes`.
fn read(path: &Path, max_bytes: u64) -> std::io::Result<Option<Bytes>> {
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > max_bytes {
        return Ok(None);
    }
    let mut content = Vec::with_capacity(size as usize + 1);
    // The file may grow while it is read.
    file.take(max_bytes + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= max_bytes).then(|| content.into()))
}

/// Writes beside the target and renames, so that the target is whole at every moment.
fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".fruits-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::from_source(Step::Read, "", std::io::Error::other(error))))
}
