//! Listing side by side: the keys are divided where folders begin, and each span of them is listed page after page.
//!
//! A page that holds few folders tells that they are large. Then the service is asked which others there are behind it, with a delimiter,
//! while the listing goes on; where one of them begins, a span may begin. How many folders a span takes in follows from how many pages the
//! spans before it took. Where a page holds many folders, asking for them would cost as much as listing them: such keys are listed as ever.
//!
//! A span is that part of the order of all keys that lies between two strings. So each key is in one span, whatever the service does.
//!
//! The price is a request for every thousand folders, and at the end of each span a page that is partly the next one's. The pages of one folder
//! come one after the other, and only so many wait: folders of hundreds of pages gain little, a single folder nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::pages::{Page, Pages, Place};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::store::Entry;

/// Requests at the same time.
pub(super) const REQUESTS: usize = 32;
/// Pages that wait for those before them, up to which others are asked for; some 20 MB.
pub(super) const PAGES_AHEAD: usize = 128;
/// Keys that folders hold on average, at least, for it to pay to ask for them: a page of folders then spares ten of keys.
const KEYS_A_FOLDER: usize = 10;

/// A listing in spans.
pub(super) struct Spans {
    pages: Arc<Pages>,
    /// In the order of their keys. The first is the one that is being sent.
    spans: VecDeque<Span>,
    requests: JoinSet<Answer>,
    /// Folders that a span takes in.
    width: usize,
    /// Whether the service knows delimiters and where to begin.
    is_divisible: bool,
    begun: u64,
}

/// What came of a request that was made for a span.
struct Answer {
    span: u64,
    is_of_folders: bool,
    page: Result<Page>,
}

/// The keys behind `after`, up to `upto` and with it.
#[derive(Default)]
struct Span {
    id: u64,
    /// If empty, there is nothing before.
    after: String,
    upto: Option<String>,
    /// The folder whose folders may divide it.
    level: String,
    /// Of a span that has not begun: the folders that begin in it, where it begins itself with the first, and whether these are all.
    folders: VecDeque<String>,
    is_closed: bool,
    /// How many folders it takes in, if somebody knows.
    width: Option<usize>,
    /// Where its next page begins, if there is one and it is not on its way.
    next: Option<Place>,
    is_asked: bool,
    asking: Asking,
    /// Pages that wait to be sent, or why there are no more.
    waiting: VecDeque<Result<Vec<Result<Entry>>>>,
    /// Pages that came, and the last key in them.
    came: usize,
    last: String,
}

/// Whether folders are asked for.
#[derive(Default, PartialEq, Eq)]
enum Asking {
    #[default]
    No,
    Wanted,
    Underway,
}

impl Spans {
    /// All keys, of which the first page is there.
    pub fn new(pages: Pages, first: Page) -> Self {
        let mut spans = Spans {
            pages: Arc::new(pages),
            spans: VecDeque::from([Span::default()]),
            requests: JoinSet::new(),
            width: usize::MAX,
            is_divisible: true,
            begun: 0,
        };
        spans.listed(0, Ok(first));
        spans
    }

    /// Sends all entries, until nobody wants them.
    pub async fn send(mut self, entries: &mpsc::Sender<Result<Entry>>) -> Result<()> {
        loop {
            while let Some(answer) = self.requests.try_join_next() {
                self.take(answer);
            }
            self.ask();
            let Some(first) = self.spans.front_mut() else {
                return Ok(());
            };
            if let Some(page) = first.waiting.pop_front() {
                for item in page? {
                    if entries.send(item).await.is_err() {
                        return Ok(());
                    }
                }
            } else if first.is_listed() {
                self.spans.pop_front();
            } else if let Some(answer) = self.requests.join_next().await {
                self.take(answer);
            }
        }
    }

    /// Asks for the next pages, of the spans in their order.
    fn ask(&mut self) {
        let (mut at, mut ahead) = (0, 0);
        while at < self.spans.len() && self.requests.len() < REQUESTS {
            self.divide(at);
            let span = &mut self.spans[at];
            ahead += span.waiting.len() + 1;
            // Whoever is sent gets its pages.
            if ahead > PAGES_AHEAD && at > 0 {
                return;
            }
            let id = span.id;
            if span.asking == Asking::Wanted {
                span.asking = Asking::Underway;
                let (level, place) = (span.level.clone(), Place::After(span.last.clone()));
                let pages = self.pages.clone();
                self.request(id, true, async move { pages.folders(&level, place).await });
            }
            let span = &mut self.spans[at];
            if self.requests.len() < REQUESTS
                && let Some(place) = span.next.take()
            {
                span.is_asked = true;
                let pages = self.pages.clone();
                self.request(id, false, async move { pages.keys(place).await });
            }
            at += 1;
        }
    }

    fn request(&mut self, span: u64, is_of_folders: bool, page: impl Future<Output = Result<Page>> + Send + 'static) {
        self.requests.spawn(async move {
            Answer {
                span,
                is_of_folders,
                page: page.await,
            }
        });
    }

    /// Cuts a span off from one that has not begun, if more folders are in it than one should take in.
    fn divide(&mut self, at: usize) {
        let rest = &mut self.spans[at];
        if rest.folders.len() <= self.width {
            if let Some(first) = rest.folders.pop_front() {
                let width = rest.folders.drain(..).count() + 1;
                rest.take_in(first, rest.is_closed.then_some(width));
            }
            return;
        }
        let first = rest.folders[0].clone();
        rest.folders.drain(..self.width);
        let cut = before(&rest.folders[0]);
        let after = std::mem::replace(&mut rest.after, cut.clone());
        rest.next = Some(Place::After(cut.clone()));
        let level = rest.level.clone();
        let mut part = self.begin(after, Some(cut), level);
        part.take_in(first, Some(self.width));
        self.spans.insert(at, part);
    }

    fn begin(&mut self, after: String, upto: Option<String>, level: String) -> Span {
        self.begun += 1;
        Span {
            id: self.begun,
            next: Some(Place::After(after.clone())),
            after,
            upto,
            level,
            ..Span::default()
        }
    }

    fn take(&mut self, answer: Result<Answer, JoinError>) {
        let answer = answer.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if let Some(at) = self.spans.iter().position(|span| span.id == answer.span) {
            match answer.is_of_folders {
                true => self.cut(at, answer.page),
                false => self.listed(at, answer.page),
            }
        }
    }

    /// A page of a span came.
    fn listed(&mut self, at: usize, page: Result<Page>) {
        let span = &mut self.spans[at];
        span.is_asked = false;
        span.came += 1;
        let sorted = page.and_then(|page| match page.is_sorted_after(&span.last) {
            true => Ok(page),
            false => {
                let message = "the service lists keys in order first, and then not: no order of rows could be kept";
                let root = self.pages.bucket.uri("");
                Err(Error::new(ErrorKind::Unavailable, Step::List, root, message))
            }
        });
        let mut page = match sorted {
            Ok(page) => page,
            Err(error) => {
                span.waiting.push_back(Err(error));
                // Nothing is sent behind it.
                self.spans.truncate(at + 1);
                return;
            }
        };
        let is_astray = page.entries.first().is_some_and(|first| first.key <= span.after);
        if is_astray {
            // The service does not begin where it should: all that is left is one span.
            span.upto = None;
            self.is_divisible = false;
        }
        let keys = page.entries.len();
        if let Some(last) = page.entries.last() {
            span.last.clone_from(&last.key);
        }
        let is_passed = span.upto.as_ref().is_some_and(|upto| span.last > *upto);
        span.next = page.next.take().filter(|_| !is_passed);
        page.entries.retain(|entry| span.holds(entry.key.as_bytes()));
        page.failed.retain(|(key, _)| span.holds(key));
        match (&span.next, span.width) {
            (None, Some(width)) if span.came == 1 && page.entries.len() * 2 <= keys => {
                self.width = self.width.max(2 * width);
            }
            (None, Some(width)) if span.came > 2 => self.width = self.width.min(width.div_ceil(2)),
            // Several folders are asked for again only if they prove to be large.
            (Some(_), Some(2..)) if span.came == 1 => {}
            (Some(_), _) if span.asking == Asking::No && self.is_divisible => {
                let folders = folders_in(&span.level, &page.entries);
                if folders > 0 && keys >= KEYS_A_FOLDER * folders {
                    span.asking = Asking::Wanted;
                    self.width = self.width.min(folders);
                }
            }
            _ => {}
        }
        let failed = page.failed.into_iter().map(|(_, error)| Err(error));
        let items = failed.chain(page.entries.into_iter().map(Ok));
        span.waiting.push_back(Ok(items.collect()));
        if is_astray {
            self.spans.truncate(at + 1);
        }
    }

    /// The folders came that begin behind what was the last key of a span when they were asked for: it ends where the first of them begins that
    /// still is behind its keys.
    fn cut(&mut self, at: usize, page: Result<Page>) {
        let span = &mut self.spans[at];
        span.asking = Asking::No;
        let is_below = |key: &str| key.strip_prefix(&*span.level).is_some_and(|rest| rest.contains('/'));
        let page = match page {
            Ok(page) if !page.entries.iter().any(|entry| is_below(&entry.key)) => page,
            // It may not be asked, or knows no delimiter.
            _ => {
                self.is_divisible = false;
                return;
            }
        };
        if !self.is_divisible || span.is_listed() {
            return;
        }
        let mut last = span.last.clone();
        let mut is_behind = |folder: &String| {
            let cut = before(folder);
            let is_behind = cut > last && span.upto.as_ref().is_none_or(|upto| cut < *upto);
            if is_behind {
                last = cut;
            }
            is_behind
        };
        let folders: VecDeque<String> = page.folders.into_iter().filter(|folder| is_behind(folder)).collect();
        let level = span.level.clone();
        if let Some((folder, _)) = span.last.strip_prefix(&*level).and_then(|rest| rest.split_once('/')) {
            span.level = format!("{level}{folder}/");
        }
        let Some(first) = folders.front() else { return };
        let cut = before(first);
        let upto = span.upto.replace(cut.clone());
        span.width = None;
        let rest = Span {
            is_closed: page.next.is_none(),
            folders,
            ..self.begin(cut, upto, level)
        };
        self.spans.insert(at + 1, rest);
    }
}

impl Span {
    /// Begins with this folder, and takes in so many, if somebody knows.
    fn take_in(&mut self, first: String, width: Option<usize>) {
        self.width = width;
        if width == Some(1) {
            self.level = first;
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        let is_behind = self.after.is_empty() || key > self.after.as_bytes();
        is_behind && self.upto.as_ref().is_none_or(|upto| key <= upto.as_bytes())
    }

    /// Whether all its pages came.
    fn is_listed(&self) -> bool {
        self.next.is_none() && !self.is_asked
    }
}

/// Where a key might stand just before those in a folder. Hardly any does, and those that do are in the span before.
fn before(folder: &str) -> String {
    format!("{}.~", folder.strip_suffix('/').unwrap_or(folder))
}

/// How many folders of a folder some keys lie in, and how many lie in none of them.
fn folders_in(level: &str, entries: &[Entry]) -> usize {
    let below = entries.iter().filter_map(|entry| entry.key.strip_prefix(level));
    let mut folders: Vec<&str> = below
        .map(|key| key.split_once('/').map_or(key, |(folder, _)| folder))
        .collect();
    folders.dedup();
    folders.len()
}
