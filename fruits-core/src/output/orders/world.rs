//! A store that does what runs ask of it in an order that the test decides, and everything that can go wrong on the way.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::store::{Entry, Length, Store};

/// What is asked of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    List,
    Get(String),
    Put(String, Bytes),
    Swap(String, Option<Bytes>, Option<Bytes>),
    Copy(String, String),
    Delete(String),
}

impl Request {
    pub fn is_write(&self) -> bool {
        !matches!(self, Request::List | Request::Get(_))
    }
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    Keys(Vec<String>),
    Content(Bytes),
    Done,
    Failed(Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    NotFound,
    Changed,
    Lost,
}

/// The objects, and what the runs wait for.
#[derive(Default)]
pub struct World {
    pub objects: BTreeMap<String, Bytes>,
    pub waiting: Vec<Waiting>,
    /// Requests whose runs do not wait for them any more; they may arrive at any time, or never.
    pub late: Vec<Request>,
    /// Of each run, what it has asked and been answered, and what of this at the same time as what it still waits for.
    histories: Vec<(u64, u64)>,
    answers: BTreeMap<usize, Answer>,
    tickets: usize,
}

pub struct Waiting {
    pub run: usize,
    pub request: Request,
    ticket: usize,
    waker: Waker,
}

impl World {
    pub fn of(objects: BTreeMap<String, Bytes>, runs: usize) -> Self {
        World {
            objects,
            histories: vec![(0, 0); runs],
            ..World::default()
        }
    }

    /// Does what is asked, at this moment.
    pub fn carry_out(&mut self, request: &Request) -> Answer {
        let objects = &mut self.objects;
        match request {
            Request::List => Answer::Keys(objects.keys().cloned().collect()),
            Request::Get(key) => match objects.get(key) {
                Some(content) => Answer::Content(content.clone()),
                None => Answer::Failed(Failure::NotFound),
            },
            Request::Put(key, content) => {
                objects.insert(key.clone(), content.clone());
                Answer::Done
            }
            Request::Swap(key, from, to) => {
                if objects.get(key) != from.as_ref() {
                    return Answer::Failed(Failure::Changed);
                }
                match to {
                    Some(content) => objects.insert(key.clone(), content.clone()),
                    None => objects.remove(key),
                };
                Answer::Done
            }
            Request::Copy(from, to) => match objects.get(from).cloned() {
                Some(content) if objects.get(to).is_some_and(|there| *there != content) => {
                    Answer::Failed(Failure::Changed)
                }
                Some(content) => {
                    objects.insert(to.clone(), content);
                    Answer::Done
                }
                None => Answer::Failed(Failure::NotFound),
            },
            Request::Delete(key) => {
                objects.remove(key);
                Answer::Done
            }
        }
    }

    /// Answers a request that is waiting.
    pub fn answer(&mut self, index: usize, answer: Answer) {
        let Waiting {
            run,
            request,
            ticket,
            waker,
        } = self.waiting.remove(index);
        let mut hasher = DefaultHasher::new();
        match &answer {
            Answer::Keys(_) => request.hash(&mut hasher), // what matters of them, the run says itself
            answer => (request, answer).hash(&mut hasher),
        }
        let (before, now) = self.histories[run];
        let now = now.wrapping_add(hasher.finish()); // in whatever order they came
        self.histories[run] = match self.waiting.iter().any(|waiting| waiting.run == run) {
            true => (before, now),
            false => (hash(&(before, now)), 0),
        };
        self.answers.insert(ticket, answer);
        waker.wake();
    }

    /// A run knows nothing but this.
    pub fn remember(&mut self, run: usize, what: impl Hash) {
        self.histories[run] = (hash(&what), 0);
    }

    /// It has learned something besides.
    pub fn learn(&mut self, run: usize, what: u64) {
        let (before, now) = self.histories[run];
        self.histories[run] = (hash(&(before, what)), now);
    }

    /// What tells this moment from others.
    pub fn hash(&self, hasher: &mut DefaultHasher) {
        (&self.objects, &self.histories).hash(hasher);
        let mut waiting: Vec<u64> = self
            .waiting
            .iter()
            .map(|waiting| hash(&(waiting.run, &waiting.request)))
            .collect();
        let mut late: Vec<u64> = self.late.iter().map(hash).collect();
        waiting.sort_unstable();
        late.sort_unstable();
        (waiting, late).hash(hasher);
    }
}

pub fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The store as one run sees it.
#[derive(Clone)]
pub struct View {
    pub world: Arc<Mutex<World>>,
    pub run: usize,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "view of run {}", self.run)
    }
}

impl View {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What the run has asked before does not matter any more, but for this.
    pub fn knows(&self, what: impl Hash) {
        super::LEARNED.take();
        self.world().remember(self.run, what);
    }

    fn ask(&self, request: Request) -> Asked {
        Asked {
            view: self.clone(),
            request: Some(request),
            ticket: 0,
        }
    }

    async fn done(&self, key: &str, request: Request) -> Result<()> {
        match self.ask(request).await {
            Answer::Failed(failure) => Err(self.error(key, failure)),
            _ => Ok(()),
        }
    }

    fn error(&self, key: &str, failure: Failure) -> Error {
        let kind = match failure {
            Failure::NotFound => ErrorKind::NotFound,
            Failure::Changed => ErrorKind::AlreadyExists,
            Failure::Lost => ErrorKind::Io,
        };
        Error::new(kind, Step::Write, self.uri(key), format!("{failure:?}"))
    }
}

/// A request under way.
struct Asked {
    view: View,
    request: Option<Request>,
    ticket: usize,
}

impl Future for Asked {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let view = self.view.clone();
        let mut world = view.world();
        if let Some(request) = self.request.take() {
            world.tickets += 1;
            self.ticket = world.tickets;
            world.waiting.push(Waiting {
                run: view.run,
                request,
                ticket: self.ticket,
                waker: context.waker().clone(),
            });
        }
        match world.answers.remove(&self.ticket) {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}

/// Whoever has asked does not wait any more. What only reads changes nothing then.
impl Drop for Asked {
    fn drop(&mut self) {
        let mut world = self.view.world();
        if let Some(index) = world.waiting.iter().position(|waiting| waiting.ticket == self.ticket) {
            let request = world.waiting.remove(index).request;
            if request.is_write() {
                world.late.push(request);
            }
        }
    }
}

impl Store for View {
    fn uri(&self, key: &str) -> String {
        format!("world://{key}")
    }

    fn list(&self) -> BoxStream<'static, Result<Entry>> {
        let (view, asked) = (self.clone(), self.ask(Request::List));
        let entry = |key| {
            Ok(Entry {
                key,
                size: 0,
                version: String::new(),
            })
        };
        let entries = async move {
            let entries: Vec<_> = match asked.await {
                Answer::Keys(keys) => keys.into_iter().map(entry).collect(),
                Answer::Failed(failure) => vec![Err(view.error("", failure))],
                answer => unreachable!("{answer:?}"),
            };
            stream::iter(entries)
        };
        stream::once(entries).flatten().boxed()
    }

    fn get<'a>(&'a self, key: &'a str, _: Length) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            match self.ask(Request::Get(key.to_owned())).await {
                Answer::Content(content) => Ok(content),
                Answer::Failed(failure) => Err(self.error(key, failure)),
                answer => unreachable!("{answer:?}"),
            }
        })
    }

    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.done(key, Request::Put(key.to_owned(), content)))
    }

    fn swap<'a>(&'a self, key: &'a str, from: Option<Bytes>, to: Option<Bytes>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.done(key, Request::Swap(key.to_owned(), from, to)))
    }

    fn compares<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.done(from, Request::Copy(from.to_owned(), to.to_owned())))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.done(key, Request::Delete(key.to_owned())))
    }
}
