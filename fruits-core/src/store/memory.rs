//! Objects in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, StreamExt};

use super::{Entry, Length, Store};
use crate::error::{Error, ErrorKind, Result, Step};

/// A store in memory: for tests, and for photos that are made rather than found. Clones share the objects.
///
/// ```
/// use std::sync::Arc;
/// use fruits_core::ImageFolder;
/// use fruits_core::store::{MemoryStore, Store};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = MemoryStore::default();
/// store.put("Lemon/1.jpg", std::fs::read("../data-sample/Lemon/view-00.jpg").unwrap().into()).await?;
/// let photos = ImageFolder::list(Arc::new(store)).await?;
/// assert_eq!(photos.photos()[0].label, "Lemon");
/// # Ok::<(), fruits_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<Objects>>,
}

#[derive(Debug, Default)]
struct Objects {
    writes: u64,
    /// Content and version of each key.
    content: BTreeMap<String, (Bytes, u64)>,
}

impl MemoryStore {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: ErrorKind, step: Step, key: &str, message: impl Into<String>) -> Error {
        Error::new(kind, step, self.uri(key), message)
    }
}

impl Objects {
    fn insert(&mut self, key: &str, content: Bytes) {
        self.writes += 1;
        self.content.insert(key.to_owned(), (content, self.writes));
    }
}

impl Store for MemoryStore {
    fn uri(&self, key: &str) -> String {
        format!("memory://{key}")
    }

    fn list(&self) -> BoxStream<'static, Result<Entry>> {
        let objects = self.objects();
        let entry = |(key, (content, version)): (&String, &(Bytes, u64))| Entry {
            key: key.clone(),
            size: content.len() as u64,
            version: version.to_string(),
        };
        let entries: Vec<_> = match objects.writes {
            0 => vec![Err(self.error(
                ErrorKind::NotFound,
                Step::List,
                "",
                "nothing was ever put here",
            ))],
            _ => objects.content.iter().map(entry).map(Ok).collect(),
        };
        stream::iter(entries).boxed()
    }

    fn get<'a>(&'a self, key: &'a str, length: Length) -> BoxFuture<'a, Result<Bytes>> {
        let content = self.objects().content.get(key).map(|(content, _)| content.clone());
        let result = match content {
            None => Err(self.error(ErrorKind::NotFound, Step::Read, key, "no such key")),
            Some(content) => length.check(content.len() as u64, || self.uri(key)).map(|()| content),
        };
        Box::pin(future::ready(result))
    }

    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        self.objects().insert(key, content);
        Box::pin(future::ready(Ok(())))
    }

    fn swap<'a>(&'a self, key: &'a str, from: Option<Bytes>, to: Option<Bytes>) -> BoxFuture<'a, Result<()>> {
        let mut objects = self.objects();
        let result = if objects.content.get(key).map(|(content, _)| content) != from.as_ref() {
            Err(self.error(ErrorKind::AlreadyExists, Step::Write, key, super::CHANGED))
        } else {
            match to {
                Some(content) => objects.insert(key, content),
                None => drop(objects.content.remove(key)),
            }
            Ok(())
        };
        Box::pin(future::ready(result))
    }

    fn compares<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(future::ready(Ok(true)))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut objects = self.objects();
        let content = |key| objects.content.get(key).map(|(content, _)| content.clone());
        let result = match (content(from), content(to)) {
            (None, _) => Err(self.error(ErrorKind::NotFound, Step::Write, from, "no such key")),
            (Some(from), Some(there)) if from != there => {
                Err(self.error(ErrorKind::AlreadyExists, Step::Write, to, super::CHANGED))
            }
            (Some(content), _) => {
                objects.insert(to, content);
                Ok(())
            }
        };
        Box::pin(future::ready(result))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.objects().content.remove(key);
        Box::pin(future::ready(Ok(())))
    }
}
