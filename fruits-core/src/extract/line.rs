//! The line that photos come over: as many at once as fill it, and no more than memory is for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::debug;

/// Reads at the same time, before anything is known.
const FIRST: usize = 8;
/// Of two, one fills the line while the other waits for an answer.
const LEAST: usize = 2;
/// A read that takes longer shares its line with too many others: they all come late, and more is lost with each that breaks off.
const LONG: Duration = Duration::from_secs(5);

/// How many reads there may be at the same time. Each that is done soon makes room for one more, each that takes long takes room away, so
/// that a fast line is full after a few round trips, and over a slow one the photos come one after another.
pub(super) struct Line {
    /// A permit a KiB.
    room: Semaphore,
    kib: u32,
    permits: Semaphore,
    allowed: AtomicUsize,
    most: usize,
    long: Duration,
}

impl Line {
    /// A line for so many photos at once, and so many bytes of them.
    pub fn new(most: usize, bytes: u64) -> Self {
        Self::with(most, bytes, LONG)
    }

    fn with(most: usize, bytes: u64, long: Duration) -> Self {
        let first = FIRST.min(most);
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
        Line {
            room: Semaphore::new(kib as usize),
            kib,
            permits: Semaphore::new(first),
            allowed: first.into(),
            most,
            long,
        }
    }

    /// Waits until there is room for a photo of so many bytes, which it has until what this gives is dropped. One that is larger than all of
    /// the room waits until it is alone.
    pub async fn room(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.kib);
        // The semaphore is never closed.
        self.room.acquire_many(kib).await.ok()
    }

    /// Reads when it is its turn.
    pub async fn share<T>(&self, read: impl Future<Output = T>) -> T {
        // The semaphore is never closed.
        let permit = self.permits.acquire().await;
        let start = Instant::now();
        let result = read.await;
        let is_long = start.elapsed() > self.long;
        let change = |allowed| match is_long {
            true => (allowed > LEAST).then(|| allowed - 1),
            false => (allowed < self.most).then(|| allowed + 1),
        };
        let is_changed = self.allowed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        match (is_changed, is_long, permit) {
            (Ok(_), false, _) => self.permits.add_permits(1),
            (Ok(before), true, Ok(permit)) => {
                debug!(
                    "a photo came after {:.1} s; {} come at once",
                    start.elapsed().as_secs_f64(),
                    before - 1
                );
                permit.forget();
            }
            _ => {}
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::{self, StreamExt};
    use tokio::sync::Mutex;

    use super::*;

    /// How many reads went on at the same time, as each of them began, over a line on which one photo comes after the other.
    async fn at_once(photos: usize, photo: Duration, line: Line) -> Vec<usize> {
        let (wire, open) = (Mutex::new(()), AtomicUsize::new(0));
        stream::iter(0..photos)
            .map(|_| {
                line.share(async {
                    let count = open.fetch_add(1, Ordering::Relaxed) + 1;
                    let turn = wire.lock().await;
                    tokio::time::sleep(photo).await;
                    drop(turn);
                    open.fetch_sub(1, Ordering::Relaxed);
                    count
                })
            })
            .buffered(32)
            .collect()
            .await
    }

    #[tokio::test]
    async fn a_fast_line_takes_all_and_a_slow_one_few() {
        let fast = at_once(100, Duration::ZERO, Line::with(32, 1 << 20, Duration::from_secs(600))).await;
        assert_eq!(fast.iter().max(), Some(&32), "{fast:?}");
        let slow = at_once(
            40,
            Duration::from_millis(20),
            Line::with(32, 1 << 20, Duration::from_millis(10)),
        )
        .await;
        assert_eq!((slow.iter().max(), slow.last()), (Some(&8), Some(&2)), "{slow:?}");
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_bytes() {
        let line = Line::with(32, 1 << 20, LONG);
        let half = line.room(600 << 10).await;
        assert!(futures::poll!(std::pin::pin!(line.room(500 << 10))).is_pending());
        drop(half);
        let whole = line.room(5 << 20).await;
        assert!(whole.is_some() && futures::poll!(std::pin::pin!(line.room(1))).is_pending());
    }
}
