//! Folders of this machine.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tempfile::NamedTempFile;

use super::walk::walk;
use super::{CHANGED, Entry, LIST_AHEAD, Length, Store, stream_of};
use crate::error::{Error, Result, Step};

/// How the names of files begin that are being written, or were when the power went; six letters and digits follow.
const TEMPORARY: &str = ".fruits-temporary-";
/// Tries to put a file into a folder that others remove, because it is empty.
const ATTEMPTS: u32 = 10;
/// Links that are followed, one after the other, as Linux does.
const LINKS: u32 = 40;

/// Whether a key is that of a file that was being written when its process was killed.
pub(crate) fn is_temporary(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    let random = name.strip_prefix(TEMPORARY).unwrap_or_default();
    random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A folder as a store. Symbolic links are followed; a link that leads back to a folder above it is skipped. Several threads list, since on a
/// network each look at a file takes its time.
///
/// Folders are made when something is put into them, and removed with the last that was in them. What a condition is tied to is done under
/// a lock of the folder (`flock`), which is given up with the process; where a file system has no locks, under none.
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

    /// Does something to a file, while no other process does that swaps, copies or deletes. `makes` says whether the root is made for it.
    fn locked(
        &self,
        key: &str,
        makes: bool,
        work: impl FnOnce(&Path, &Path) -> std::io::Result<()> + Send + 'static,
    ) -> BoxFuture<'static, Result<()>> {
        let (root, path) = (self.root.clone(), self.root.join(key));
        Box::pin(on_blocking_thread(move || {
            let work = || {
                if makes {
                    std::fs::create_dir_all(&root)?;
                }
                let lock = std::fs::File::open(&root);
                if let Ok(lock) = &lock {
                    let _ = lock.lock();
                }
                work(&root, &path)
            };
            work().map_err(|error| Error::from_source(Step::Write, path.display().to_string(), error))
        }))
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
        let task = tokio::spawn(async move { walk(root, &sender).await });
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
        let path = self.root.join(key);
        Box::pin(on_blocking_thread(move || {
            write(&path, &content).map_err(|error| Error::from_source(Step::Write, path.display().to_string(), error))
        }))
    }

    fn swap<'a>(&'a self, key: &'a str, from: Option<Bytes>, to: Option<Bytes>) -> BoxFuture<'a, Result<()>> {
        self.locked(key, to.is_some(), move |root, path| {
            let limit = from.as_ref().map_or(0, Bytes::len) as u64;
            let there = match read(path, limit) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                there => Some(there?),
            };
            let is_expected = match (&there, &from) {
                (None, None) => true,
                (Some((content, size)), Some(from)) => *size == limit && content == from,
                _ => false,
            };
            match to {
                _ if !is_expected => Err(std::io::Error::new(ErrorKind::AlreadyExists, CHANGED)),
                Some(content) => write(path, &content),
                None => remove(root, path),
            }
        })
    }

    fn compares<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        let root = self.root.clone();
        Box::pin(on_blocking_thread(move || {
            let lock = std::fs::create_dir_all(&root).and_then(|()| std::fs::File::open(&root)?.lock());
            Ok(lock.is_ok())
        }))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        let (source, target) = (self.root.join(from), self.root.join(to));
        let linked = self.locked(to, true, move |_, path| {
            let folder = path.parent().unwrap_or(Path::new("."));
            let linked = in_folder(folder, || match std::fs::hard_link(&source, path) {
                Err(error) if error.kind() == ErrorKind::NotFound && !source.exists() => Ok(Err(error)),
                linked => linked.map(Ok),
            });
            match linked {
                Ok(linked) => linked?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists && is_same(&source, path) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
                // This file system has no links.
                Err(_) => write(path, &std::fs::read(&source)?)?,
            }
            Ok(())
        });
        Box::pin(async move {
            linked.await?;
            // Without the lock, so that the disk makes many of them last at once.
            on_blocking_thread(move || {
                let synced = sync(target.parent().unwrap_or(Path::new(".")));
                synced.map_err(|error| Error::from_source(Step::Write, target.display().to_string(), error))
            })
            .await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.locked(key, false, remove)
    }
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
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    let size = content.len() as u64;
    Ok((content.into(), size))
}

/// Writes a file beside the target and renames it, so that the target is whole at every moment. Links are followed; what is no file, such as
/// a pipe or `/dev/stdout`, is written to.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if path.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return std::fs::File::options().write(true).open(path)?.write_all(content);
    }
    let path = followed(path);
    let folder = path.parent().unwrap_or(Path::new("."));
    in_folder(folder, || {
        let file = write_in(folder, content)?;
        file.persist(&path).map_err(|error| error.error)
    })?;
    sync(folder)
}

/// Makes what has happened in a folder last.
fn sync(folder: &Path) -> std::io::Result<()> {
    match std::fs::File::open(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // with what was in it
        folder => folder?.sync_all(),
    }
}

/// The file that a name stands for, whether or not it exists.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    path
}

/// Whether two names are those of one file.
fn is_same(a: &Path, b: &Path) -> bool {
    let inode = |path: &Path| path.symlink_metadata().map(|there| (there.dev(), there.ino())).ok();
    inode(a).is_some_and(|a| inode(b) == Some(a))
}

/// Makes a folder and something in it.
fn in_folder<T>(folder: &Path, mut make: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    let mut attempt = 1;
    loop {
        match std::fs::create_dir_all(folder).and_then(|()| make()) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// The content in a new file with a temporary name.
fn write_in(folder: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Removes a file, and the folders below `root` that it leaves empty.
fn remove(root: &Path, path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let above = path.ancestors().skip(1).take_while(|folder| *folder != root);
    for folder in above {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::from_source(Step::Read, "", std::io::Error::other(error))))
}
