//! The line that photos come over: as many at once as fill it, and no more than memory is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures::future;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    room: Arc<Semaphore>,
    kib: u32,
    permits: Arc<Semaphore>,
    allowed: AtomicUsize,
    most: usize,
    long: Duration,
}

/// The turn of a photo.
#[derive(Default)]
pub(super) struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    _room: Option<OwnedSemaphorePermit>,
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
            room: Arc::new(Semaphore::new(kib as usize)),
            kib,
            permits: Arc::new(Semaphore::new(first)),
            allowed: first.into(),
            most,
            long,
        }
    }

    /// The turn of a photo of so many bytes: when those before it have theirs, and there is room for it. One that is larger than all of the
    /// room waits until it is alone. It stands in line from this call on, whoever waits for it and when.
    pub fn turn(&self, bytes: u64) -> impl Future<Output = Turn> + Send + 'static {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.kib);
        let (room, permits) = (self.room.clone(), self.permits.clone());
        let mut turn = Box::pin(future::maybe_done(async move {
            // The semaphores are never closed.
            let room = room.acquire_many_owned(kib).await.ok();
            let permit = permits.acquire_owned().await.ok();
            Turn { permit, _room: room }
        }));
        let _ = turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        async move {
            turn.as_mut().await;
            turn.as_mut().take_output().expect("it is done, and was not taken yet")
        }
    }

    /// Reads, in a turn. The room is taken until the turn is dropped.
    pub async fn share<T>(&self, turn: &mut Turn, read: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = read.await;
        let is_long = start.elapsed() > self.long;
        let change = |allowed| match is_long {
            true => (allowed > LEAST).then(|| allowed - 1),
            false => (allowed < self.most).then(|| allowed + 1),
        };
        let is_changed = self.allowed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        match (is_changed, is_long, turn.permit.take()) {
            (Ok(_), false, _) => self.permits.add_permits(1),
            (Ok(before), true, Some(permit)) => {
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
                let turn = line.turn(0);
                let read = async {
                    let count = open.fetch_add(1, Ordering::Relaxed) + 1;
                    let turn = wire.lock().await;
                    tokio::time::sleep(photo).await;
                    drop(turn);
                    open.fetch_sub(1, Ordering::Relaxed);
                    count
                };
                async { line.share(&mut turn.await, read).await }
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
        let half = line.turn(600 << 10).await;
        assert!(futures::poll!(std::pin::pin!(line.turn(500 << 10))).is_pending());
        drop(half);
        let _whole = line.turn(5 << 20).await;
        assert!(futures::poll!(std::pin::pin!(line.turn(1))).is_pending());
    }

    #[tokio::test]
    async fn turns_come_in_the_order_in_which_they_were_asked_for() {
        let line = Line::with(1, 1 << 20, LONG);
        let (first, second, third) = (line.turn(1), line.turn(1), line.turn(1));
        let first = first.await;
        let (mut second, mut third) = (Box::pin(second), Box::pin(third));
        assert!(futures::poll!(third.as_mut()).is_pending() && futures::poll!(second.as_mut()).is_pending());
        drop(first);
        assert!(futures::poll!(third.as_mut()).is_pending(), "it is the second's turn");
        let second = second.await;
        drop(second);
        third.await;
    }
}
