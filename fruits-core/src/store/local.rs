//! Folders of this machine.

use std::cmp::Ordering;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tempfile::{NamedTempFile, PersistError};
use walkdir::{DirEntry, WalkDir};

use super::{Entry, LIST_AHEAD, Length, Store, stream_of};
use crate::error::{Error, ErrorKind, Result, Step};

/// How the names of files begin that are being written, or were when the power went.
pub(crate) const TEMPORARY: &str = ".fruits-";

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

    /// Writes a file beside the target and renames it, so that the target is whole at every moment.
    fn write(&self, key: &str, content: Bytes, rename: Rename) -> BoxFuture<'static, Result<()>> {
        let path = self.root.join(key);
        Box::pin(on_blocking_thread(move || {
            let folder = path.parent().unwrap_or(Path::new("."));
            write_beside(folder, &content)
                .and_then(|file| Ok(rename(file, &path)?))
                // Makes the rename last.
                .and_then(|_| std::fs::File::open(folder)?.sync_all())
                .map_err(|error| Error::from_source(Step::Write, path.display().to_string(), error))
        }))
    }
}

type Rename = fn(NamedTempFile, &Path) -> Result<std::fs::File, PersistError>;

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
        let task = tokio::task::spawn_blocking(move || {
            // The receiver is gone when nobody wants the rest of the list.
            walk(&root, |entry| sender.blocking_send(entry).is_ok());
        });
        stream_of(self.uri(""), receiver, task)
    }

    fn get<'a>(&'a self, key: &'a str, length: Length) -> BoxFuture<'a, Result<Bytes>> {
        let path = self.root.join(key);
        Box::pin(async move {
            on_blocking_thread(move || {
                let uri = || path.display().to_string();
                let (content, size) =
                    read(&path, length.limit()).map_err(|error| Error::from_source(Step::Read, uri(), error))?;
                length.check(size, uri)?;
                Ok(content)
            })
            .await
        })
    }

    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        self.write(key, content, |file, path| file.persist(path))
    }

    fn create<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        self.write(key, content, |file, path| file.persist_noclobber(path))
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
        version: format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec()),
    })
}

fn list_error(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Invalid, Step::List, path.display().to_string(), message)
}

/// The content of a file and its size; of a file that is longer than `limit`, not more of the content than a byte beyond.
fn read(path: &Path, limit: u64) -> std::io::Result<(Bytes, u64)> {
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Ok((Bytes::new(), size));
    }
    let mut content = Vec::with_capacity(size as usize + 1);
    // The file may grow while it is read.
    file.take(limit + 1).read_to_end(&mut content)?;
    let size = content.len() as u64;
    Ok((content.into(), size))
}

/// The content in a new file with a temporary name.
fn write_beside(folder: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::from_source(Step::Read, "", std::io::Error::other(error))))
}
