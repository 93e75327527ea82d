//! Listing folders of this machine by several threads, because on a network each look at a file takes its time.
//!
//! The list is a row of pieces in its order: folders to be read, files to be looked at, and entries. Threads work on the first of them; a folder
//! that was read gives way to the pieces of what is in it.

use std::collections::VecDeque;
use std::fs::{DirEntry, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::Entry;
use crate::error::{Error, ErrorKind, Result, Step};

const THREADS: usize = 16;
/// Files that a thread looks at in one go.
const FILES: usize = 256;
/// Pieces at the beginning of the row on which threads work.
const PIECES_AHEAD: usize = 128;

/// Sends all entries below a folder, in the order in which S3 lists: by the bytes of the whole key, so a folder sorts as its name with `/`
/// behind it.
pub(super) async fn walk(root: PathBuf, entries: &Sender<Result<Entry>>) {
    let top = Folder {
        path: root.clone(),
        above: None,
    };
    let root: Arc<Path> = root.into();
    let mut row = VecDeque::from([Piece::Folder(top.into())]);
    let mut threads = JoinSet::new();
    let mut begun = 0;
    loop {
        for at in 0..row.len().min(PIECES_AHEAD) {
            if threads.len() == THREADS {
                break;
            }
            if !matches!(row[at], Piece::Underway(_) | Piece::Entries(_)) {
                begun += 1;
                let (number, root, entries) = (begun, root.clone(), entries.clone());
                let piece = std::mem::replace(&mut row[at], Piece::Underway(number));
                threads.spawn_blocking(move || (number, work(piece, &root, &|| entries.is_closed())));
            }
        }
        match row.pop_front() {
            Some(Piece::Entries(found)) => {
                for entry in found {
                    // Nobody wants the rest of the list.
                    if entries.send(entry).await.is_err() {
                        return;
                    }
                }
            }
            Some(piece) => row.push_front(piece),
            None => return,
        }
        let is_waiting = matches!(row.front(), Some(Piece::Underway(_)));
        let mut done = match is_waiting {
            true => threads.join_next().await,
            false => threads.try_join_next(),
        };
        while let Some(result) = done {
            let (number, pieces) = result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let is_it = |piece: &Piece| matches!(piece, Piece::Underway(other) if *other == number);
            if let Some(at) = row.iter().position(is_it) {
                row.remove(at);
                for piece in pieces.into_iter().rev() {
                    row.insert(at, piece);
                }
            }
            done = threads.try_join_next();
        }
    }
}

/// A part of the list.
enum Piece {
    Folder(Arc<Folder>),
    Files(Vec<PathBuf>),
    /// What a thread works on.
    Underway(usize),
    Entries(Vec<Result<Entry>>),
}

/// A folder, and the one in which it was found.
struct Folder {
    path: PathBuf,
    above: Option<Arc<Folder>>,
}

impl Folder {
    /// Whether it leads back to itself or a folder above.
    fn is_within(&self, there: &Metadata) -> bool {
        let above = std::iter::successors(Some(self), |folder| folder.above.as_deref());
        let is_same = |folder: &Folder| {
            let here = folder.path.metadata();
            here.is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()))
        };
        above.into_iter().any(is_same)
    }
}

/// What is in a folder, or what files are.
fn work(piece: Piece, root: &Path, is_over: &dyn Fn() -> bool) -> Vec<Piece> {
    match piece {
        Piece::Folder(folder) => match read(&folder, is_over) {
            Ok(found) => pieces(found, root, is_over),
            Err(error) => vec![Piece::Entries(vec![Err(error)])],
        },
        Piece::Files(paths) => vec![Piece::Entries(entries(&paths, root, is_over))],
        piece => vec![piece],
    }
}

/// What a folder holds.
enum Found {
    File(PathBuf),
    Folder(Folder),
    Failed(Error),
}

/// All that is in a folder, in the order of the list.
fn read(folder: &Arc<Folder>, is_over: &dyn Fn() -> bool) -> Result<Vec<Found>> {
    let failed = |error| Error::from_source(Step::List, folder.path.display().to_string(), error);
    if folder.above.is_none() && !folder.path.metadata().map_err(failed)?.is_dir() {
        return Err(list_error(&folder.path, "not a folder"));
    }
    let mut all = Vec::new();
    for item in std::fs::read_dir(&folder.path).map_err(failed)? {
        if is_over() {
            break;
        }
        match item {
            Ok(item) => {
                let mut name = item.file_name().as_bytes().to_vec();
                let found = find(folder, &item);
                if matches!(found, Some(Found::Folder(_))) {
                    name.push(b'/');
                }
                all.extend(found.map(|found| (name, found)));
            }
            Err(error) => all.push((Vec::new(), Found::Failed(failed(error)))),
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all.into_iter().map(|(_, found)| found).collect())
}

/// What lies in a folder under a name: nothing, if it is a link back to a folder above, or neither file nor folder.
fn find(folder: &Arc<Folder>, item: &DirEntry) -> Option<Found> {
    let path = item.path();
    let found = item.file_type().and_then(|kind| match kind.is_symlink() {
        true => path
            .metadata()
            .map(|there| (there.file_type(), there.is_dir() && folder.is_within(&there))),
        false => Ok((kind, false)),
    });
    match found {
        Ok((_, true)) => None,
        Ok((kind, _)) if kind.is_dir() => Some(Found::Folder(Folder {
            path,
            above: Some(folder.clone()),
        })),
        Ok((kind, _)) => kind.is_file().then_some(Found::File(path)),
        Err(error) => Some(Found::Failed(Error::from_source(
            Step::List,
            path.display().to_string(),
            error,
        ))),
    }
}

/// The row of what was found. The files that it begins with are looked at here, since most folders have few.
fn pieces(found: Vec<Found>, root: &Path, is_over: &dyn Fn() -> bool) -> Vec<Piece> {
    let mut row = Vec::new();
    for found in found {
        match found {
            Found::Folder(folder) => row.push(Piece::Folder(folder.into())),
            Found::Failed(error) => row.push(Piece::Entries(vec![Err(error)])),
            Found::File(path) => match row.last_mut() {
                Some(Piece::Files(files)) if files.len() < FILES => files.push(path),
                _ => row.push(Piece::Files(vec![path])),
            },
        }
    }
    if let Some(Piece::Files(files)) = row.first() {
        row[0] = Piece::Entries(entries(files, root, is_over));
    }
    row
}

fn entries(files: &[PathBuf], root: &Path, is_over: &dyn Fn() -> bool) -> Vec<Result<Entry>> {
    let wanted = files.iter().take_while(|_| !is_over());
    wanted.map(|path| entry(path, root)).collect()
}

fn entry(path: &Path, root: &Path) -> Result<Entry> {
    let key = path.strip_prefix(root).unwrap_or(path);
    let key = key.to_str().ok_or_else(|| list_error(path, "the name is not UTF-8"))?;
    let failed = |error| Error::from_source(Step::List, path.display().to_string(), error);
    let metadata = path.metadata().map_err(failed)?;
    Ok(Entry {
        key: key.to_owned(),
        size: metadata.len(),
        version: format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec()),
    })
}

fn list_error(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Invalid, Step::List, path.display().to_string(), message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::sync::mpsc;
    use walkdir::WalkDir;

    use super::*;

    /// Keys, and subjects of errors.
    async fn listed(root: &Path) -> Vec<Result<String, String>> {
        let (sender, mut receiver) = mpsc::channel(4);
        let root = root.to_owned();
        tokio::spawn(async move { walk(root, &sender).await });
        let mut all = Vec::new();
        while let Some(entry) = receiver.recv().await {
            all.push(entry.map(|entry| entry.key).map_err(|error| error.subject().to_owned()));
        }
        all
    }

    /// The same, of one thread that walks.
    fn expected(root: &Path) -> Vec<Result<String, String>> {
        let mut all = Vec::new();
        for item in WalkDir::new(root).follow_links(true) {
            match item {
                Ok(item) if item.file_type().is_file() => {
                    let key = item.path().strip_prefix(root).unwrap();
                    all.push((key.as_os_str().as_bytes().to_vec(), item.into_path()));
                }
                Err(error) if error.loop_ancestor().is_none() => {
                    let path = error.path().unwrap();
                    all.push((
                        path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(),
                        path.to_owned(),
                    ));
                }
                _ => {}
            }
        }
        all.sort();
        let is_there = |path: &Path| path.exists() && path.to_str().is_some();
        let name = |(key, path): (Vec<u8>, PathBuf)| match is_there(&path) {
            true => Ok(String::from_utf8(key).unwrap()),
            false => Err(path.display().to_string()),
        };
        all.into_iter().map(name).collect()
    }

    #[tokio::test]
    async fn threads_list_as_one_does() {
        let names = ["a", "b", "a-b", "a.b", "a.~", "~", "é", "🍌", "a b", "A", "0"];
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10 {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            for _ in 0..random.usize(1..20) {
                let mut folder = root.to_owned();
                for _ in 0..random.usize(0..4) {
                    folder.push(names[random.usize(..names.len())]);
                }
                // What is a file already is no folder.
                if std::fs::create_dir_all(&folder).is_err() {
                    continue;
                }
                for i in 0..random.usize(..2 * FILES + 9) * usize::from(random.u8(..4) == 0) {
                    std::fs::write(folder.join(format!("{i:03}.jpg")), "").unwrap();
                }
                let name = names[random.usize(..names.len())];
                let _ = match random.u8(..5) {
                    0 => symlink(root, folder.join(name)),
                    1 => symlink("nowhere", folder.join(name)),
                    2 => symlink(
                        root.join(names[random.usize(..names.len())]),
                        folder.join(format!("{name}.link")),
                    ),
                    3 => std::fs::write(folder.join(std::ffi::OsStr::from_bytes(b"\xff.jpg")), ""),
                    _ => std::fs::write(folder.join(name), ""),
                };
            }
            assert_eq!(listed(root).await, expected(root));
        }
    }

    #[tokio::test]
    async fn many_folders_are_listed_in_order() {
        let root = tempfile::tempdir().unwrap();
        let keys: Vec<String> = (0..1000).map(|i| format!("{i:04}/1.jpg")).collect();
        for key in &keys {
            let path = root.path().join(key);
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let listed: Vec<String> = listed(root.path()).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(listed, keys);
    }
}
