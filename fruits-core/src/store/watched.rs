//! A store that tells what was asked of it: for tests.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::{Entry, Length, MemoryStore, Store};
use crate::error::Result;

/// Objects in memory, and the requests for them. Each takes a while, so that others can be made meanwhile.
#[derive(Debug, Default)]
pub(crate) struct WatchedStore {
    pub objects: MemoryStore,
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    read: Vec<String>,
    now: usize,
    most: usize,
}

impl WatchedStore {
    /// The keys that were read.
    pub fn read(&self) -> Vec<String> {
        self.with(|requests| requests.read.clone())
    }

    /// How many requests there were at the same time, at most, since somebody asked.
    pub fn most_at_once(&self) -> usize {
        self.with(|requests| std::mem::take(&mut requests.most))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Requests) -> T) -> T {
        look(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request is there from the moment when it is made, which is before it is sent.
    fn watch<'a, T>(&'a self, request: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
        self.with(|requests| {
            requests.now += 1;
            requests.most = requests.most.max(requests.now);
        });
        Box::pin(async move {
            tokio::task::yield_now().await;
            let answer = request.await;
            self.with(|requests| requests.now -= 1);
            answer
        })
    }
}

impl Store for WatchedStore {
    fn uri(&self, key: &str) -> String {
        self.objects.uri(key)
    }

    fn list(&self) -> BoxStream<'static, Result<Entry>> {
        self.objects.list()
    }

    fn get<'a>(&'a self, key: &'a str, length: Length) -> BoxFuture<'a, Result<Bytes>> {
        self.with(|requests| requests.read.push(key.to_owned()));
        self.watch(self.objects.get(key, length))
    }

    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        self.watch(self.objects.put(key, content))
    }

    fn swap<'a>(&'a self, key: &'a str, from: Option<Bytes>, to: Option<Bytes>) -> BoxFuture<'a, Result<()>> {
        self.watch(self.objects.swap(key, from, to))
    }

    fn compares<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.watch(self.objects.compares(key))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        self.watch(self.objects.copy(from, to))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        // The object is there until the request has arrived.
        self.watch(async move { self.objects.delete(key).await })
    }
}
