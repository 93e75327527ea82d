//! Whether a location can be used, step by step: what is known about the way there, and what may be done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::error::{Error, ErrorKind, Result, printable};
use crate::store::{self, Entry, Length, S3Store, Store};

/// Objects that the line's speed is measured on, at most, and how many are read at once.
const OBJECTS: usize = 256;
const AT_ONCE: usize = 8;
/// How long the line's speed is measured, at most.
const SPEED: Duration = Duration::from_secs(5);
/// A larger object is not read to try it.
const MAX_BYTES: u64 = 64 << 20;

/// Tries what runs do at a location and tells each step as it is done: which settings lead there, whether objects may be listed, read,
/// written, written on a condition, copied and deleted, and how fast the line is. Of the first step that fails, the error says what to do; the
/// steps that need it are left out.
///
/// `tell` gets a step's name and what was found: `profile`, `region`, `endpoint`, `proxy`, `certificates`, `credentials`, `list`, `read`,
/// `speed`, `write`, `copy`, `condition` and `delete`, in this order; the first six on S3 only.
///
/// What it writes is one small object with a name of its own below the location, which it deletes; nothing if the check `is_read_only`.
/// No secret is in what it tells.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let photos = concat!(env!("CARGO_MANIFEST_DIR"), "/../data-sample");
/// let mut steps = Vec::new();
/// fruits_core::check_access(photos, true, |step, _| steps.push(step)).await?;
/// assert_eq!(steps, ["list", "read", "speed"]);
/// # Ok::<(), fruits_core::Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// The first step's that fails, which was told, too; before the first step, that the location or the settings themselves are wrong.
pub async fn check_access(
    location: &str,
    is_read_only: bool,
    tell: impl FnMut(&'static str, std::result::Result<&str, &Error>),
) -> Result<()> {
    let mut check = Check { tell, first: None };
    let is_folder = !location.starts_with("s3://");
    let store = match is_folder {
        true => store::open(location)?,
        false => {
            let store = S3Store::new(location)?;
            for (step, found) in store.settings().await? {
                check.note(step, &found);
            }
            match check.step("credentials", store.credentials().await) {
                Some(found) => check.note("credentials", &found),
                None => return check.end(),
            }
            Arc::new(store)
        }
    };
    let is_there = check.read(&*store).await;
    if !is_read_only && (is_there || !is_folder) && !check.is_hopeless() {
        check.write(&*store).await;
    }
    check.end()
}

struct Check<F> {
    tell: F,
    first: Option<Error>,
}

impl<F: FnMut(&'static str, std::result::Result<&str, &Error>)> Check<F> {
    fn note(&mut self, step: &'static str, found: &str) {
        (self.tell)(step, Ok(found));
    }

    /// Tells of a failure; gives back a success.
    fn step<T>(&mut self, step: &'static str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                (self.tell)(step, Err(&error));
                self.first.get_or_insert(error);
                None
            }
        }
    }

    /// Whether nothing else can succeed.
    fn is_hopeless(&self) -> bool {
        self.first
            .as_ref()
            .is_some_and(|error| matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Invalid))
    }

    fn end(self) -> Result<()> {
        self.first.map_or(Ok(()), Err)
    }

    /// Lists, reads one object, and then many. Gives back whether there is something.
    async fn read(&mut self, store: &dyn Store) -> bool {
        let start = Instant::now();
        let (mut listing, mut entries) = (store.list(), Vec::new());
        let mut is_more = false;
        while let Some(entry) = listing.next().await {
            match entry {
                Ok(_) if entries.len() == OBJECTS => {
                    is_more = true;
                    break;
                }
                Ok(entry) => entries.push(entry),
                // A run takes a new prefix, too.
                Err(error) if error.kind() == ErrorKind::NotFound && store::is_about_all(store, &error) => {
                    self.note("list", "yes; nothing is there yet");
                    return false;
                }
                Err(error) => {
                    self.step::<()>("list", Err(error));
                    return false;
                }
            }
        }
        drop(listing);
        let more = if is_more { " and more" } else { "" };
        self.note("list", &format!("{} objects{more}, after {}", entries.len(), ms(start)));

        entries.retain(|entry| entry.size <= MAX_BYTES);
        let Some(first) = entries.first() else {
            return true;
        };
        let start = Instant::now();
        let get = |entry: Entry| async move { store.get(&entry.key, Length::Exactly(entry.size)).await };
        let Some(content) = self.step("read", get(first.clone()).await) else {
            return true;
        };
        let what = format!(
            "{}: {} bytes, after {}",
            store.uri(&first.key),
            content.len(),
            ms(start)
        );
        self.note("read", &printable(&what));

        let start = Instant::now();
        let (mut objects, mut bytes) = (0, 0);
        let mut reads = stream::iter(entries).map(get).buffer_unordered(AT_ONCE);
        while start.elapsed() < SPEED
            && let Some(read) = reads.next().await
        {
            match self.step("speed", read) {
                Some(content) => (objects, bytes) = (objects + 1, bytes + content.len()),
                None => return true,
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let speed = bytes as f64 / seconds / 1e6;
        self.note(
            "speed",
            &format!("{speed:.2} MB/s ({objects} objects, {AT_ONCE} at once, {seconds:.1} s)"),
        );
        true
    }

    async fn write(&mut self, store: &dyn Store) {
        // Hidden, so that no run takes offence if it cannot be deleted.
        let key = format!(".fruits-check-access-{:016x}", fastrand::u64(..));
        let copy = format!("{key}-copy");
        let start = Instant::now();
        let put = store.put(&key, Bytes::from_static(b"fruits check-access")).await;
        if self.step("write", put).is_none() {
            return;
        }
        self.note("write", &format!("yes, after {}", ms(start)));
        let copied = store.copy(&key, &copy).await;
        if self.step("copy", copied).is_some() {
            self.note("copy", "yes");
        }
        if let Some(compares) = self.step("condition", store.compares(&key).await) {
            let found = match compares {
                true => "yes: of two runs that take a location, one is refused",
                false => "no: runs that take a location at the same moment may not see each other",
            };
            self.note("condition", found);
        }
        let (deleted, copy_deleted) = futures::join!(store.delete(&key), store.delete(&copy));
        if self.step("delete", deleted.and(copy_deleted)).is_some() {
            self.note("delete", "yes");
        }
    }
}

fn ms(start: Instant) -> String {
    format!("{} ms", start.elapsed().as_millis())
}
