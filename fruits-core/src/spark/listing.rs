//! The photos of an extraction, as the lines of its tasks.

use std::io::{BufRead, BufReader, BufWriter, Error as IoError, Seek, Write};
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use tempfile::SpooledTempFile;

use super::protocol::{Item, to_line};
use crate::error::{Error, Failure, Result, Step};
use crate::folder::Photo;
use crate::store::{self, Store};

/// Bytes of lines that wait in memory. With those behind them, a temporary file is begun.
const IN_MEMORY: usize = 16 << 20;

/// The photos that are still to be given out.
pub(super) struct Listing {
    listed: Listed,
    /// The lines of those that were listed before it was known how to divide them: of many executors, millions.
    waiting: BufReader<SpooledTempFile>,
    count: usize,
}

/// The lines of one task's photos.
#[derive(Default)]
pub(super) struct Lines {
    pub text: String,
    pub count: usize,
}

/// Photos as they are listed, and what could not be.
struct Listed {
    photos: BoxStream<'static, Result<Photo>>,
    source: Arc<dyn Store>,
    failures: Vec<Failure>,
}

impl Lines {
    /// Lines of any items.
    pub fn of(items: &[impl serde::Serialize]) -> Result<Self> {
        let text = items
            .iter()
            .map(|item| Ok(to_line(item)? + "\n"))
            .collect::<Result<_>>()?;
        Ok(Lines {
            text,
            count: items.len(),
        })
    }
}

impl Listing {
    /// Lists until so many photos wait, or there are no more.
    pub async fn begin(
        photos: BoxStream<'static, Result<Photo>>,
        source: Arc<dyn Store>,
        failures: Vec<Failure>,
        wanted: usize,
    ) -> Result<Self> {
        let mut listed = Listed {
            photos,
            source,
            failures,
        };
        let (mut waiting, mut count) = (BufWriter::new(SpooledTempFile::new(IN_MEMORY)), 0);
        while count < wanted
            && let Some(line) = listed.next().await?
        {
            waiting.write_all(line.as_bytes()).map_err(failed)?;
            count += 1;
        }
        let mut waiting = waiting.into_inner().map_err(|error| failed(error.into_error()))?;
        waiting.rewind().map_err(failed)?;
        Ok(Listing {
            listed,
            waiting: BufReader::new(waiting),
            count,
        })
    }

    /// Photos that wait.
    pub fn waiting(&self) -> usize {
        self.count
    }

    /// The next task's photos, at most so many: those that wait, and those listed after them. None when all have been given out.
    pub async fn next(&mut self, most: usize) -> Result<Option<Lines>> {
        let mut lines = Lines::default();
        while lines.count < most {
            if self.count > 0 {
                self.waiting.read_line(&mut lines.text).map_err(failed)?;
                self.count -= 1;
            } else {
                let Some(line) = self.listed.next().await? else { break };
                lines.text.push_str(&line);
            }
            lines.count += 1;
        }
        Ok((lines.count > 0).then_some(lines))
    }

    /// What could not be listed.
    pub fn failures(self) -> Vec<Failure> {
        self.listed.failures
    }
}

impl Listed {
    /// The next photo's line. An error about the store as a whole ends the listing; others are failures.
    async fn next(&mut self) -> Result<Option<String>> {
        while let Some(photo) = self.photos.next().await {
            match photo {
                Ok(Photo {
                    key,
                    size,
                    version,
                    label,
                    ..
                }) => {
                    let item = Item {
                        key,
                        size,
                        version,
                        label,
                    };
                    return Ok(Some(to_line(&item)? + "\n"));
                }
                Err(error) if store::is_about_all(&*self.source, &error) => return Err(error),
                Err(error) => self.failures.push(Failure::new(error.subject(), &error)),
            }
        }
        Ok(None)
    }
}

fn failed(error: IoError) -> Error {
    Error::from_source(Step::List, "temporary file", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{self, Census};
    use crate::spark::protocol::from_line;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn photos_behind_the_first_ones_are_given_out_too() {
        let source: Arc<dyn Store> = Arc::new(MemoryStore::default());
        for name in ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "b/5.jpg"] {
            source.put(name, Default::default()).await.unwrap();
        }
        let census = Arc::new(Census::new(source.uri(""), &[""; 0]).unwrap());
        for (ahead, per_task, sizes) in [
            (2, 2, vec![2, 2, 1]),
            (4, 2, vec![2, 2, 1]),
            (9, 3, vec![3, 2]),
            (5, 5, vec![5]),
        ] {
            let photos = folder::photos(&source, &census);
            let mut listing = Listing::begin(photos, source.clone(), Vec::new(), ahead).await.unwrap();
            assert_eq!(listing.waiting(), ahead.min(5));
            let (mut found, mut keys) = (Vec::new(), Vec::new());
            while let Some(lines) = listing.next(per_task).await.unwrap() {
                found.push(lines.count);
                keys.extend(lines.text.lines().map(|line| from_line::<Item>(line).unwrap().key));
            }
            assert!(
                found == sizes && keys.len() == 5 && keys.is_sorted() && listing.failures().is_empty(),
                "{found:?}"
            );
        }
    }

    #[tokio::test]
    async fn millions_wait_outside_of_memory() {
        let photo = |number| Photo {
            key: format!("a/{number:07}-{}.jpg", "x".repeat(200)),
            path: String::new(),
            label: "a".to_owned(),
            size: 1,
            version: "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned(),
        };
        let photos = futures::stream::iter(0..100_000)
            .map(move |number| Ok(photo(number)))
            .boxed();
        let source: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let mut listing = Listing::begin(photos, source, Vec::new(), usize::MAX).await.unwrap();
        assert_eq!(listing.waiting(), 100_000);
        assert!(listing.waiting.get_ref().is_rolled(), "in a file");
        let (mut keys, mut last) = (0, String::new());
        while let Some(lines) = listing.next(30_000).await.unwrap() {
            keys += lines.count;
            last = from_line::<Item>(lines.text.lines().last().unwrap()).unwrap().key;
        }
        assert!(keys == 100_000 && last.starts_with("a/0099999-"), "{last}");
    }
}
