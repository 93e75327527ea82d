//! The open connections: so many at most, and those that ask nothing make room for others.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use futures::future::{AbortHandle, Abortable};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// Bytes that are read ahead of a connection, and so the bytes that a request's line and headers have at most. A browser sends along the
/// cookies of whatever else is served on this machine.
const BUFFER: usize = 16 << 10;
/// Files that the process may have open beside connections.
const OTHER_FILES: usize = 64;
/// Pause after a connection could not be accepted, for want of files mostly.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves at most `most` connections at a time. If there are as many, the one without a request for longest makes room for the next; if all
/// are in requests, the next one waits. One that is without a request for the time `patience` is closed.
pub(super) async fn serve(listener: TcpListener, router: Router, most: usize, patience: Duration) -> Infallible {
    let places = Arc::new(Semaphore::new(allowed(most)));
    let idle = Arc::new(Idle::default());
    let mut tasks = JoinSet::new();
    let accepting = async {
        loop {
            let stream = accept(&listener).await;
            let place = tokio::select! {
                biased;
                place = places.clone().acquire_owned() => place,
                () = idle.close_oldest() => places.clone().acquire_owned().await,
            };
            let (handle, registration) = AbortHandle::new_pair();
            let seat = Arc::new(Seat::new(idle.clone(), handle));
            let talk = Abortable::new(talk(stream, router.clone(), seat), registration);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                let _place = place;
                talk.await
            });
        }
    };
    let closing = async {
        loop {
            tokio::time::sleep(patience / 8).await;
            idle.close_older_than(patience);
        }
    };
    tokio::select! {
        never = accepting => never,
        never = closing => never,
    }
}

/// The next connection. An error says nothing of those that follow.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Requests and responses of one connection, to its end.
async fn talk(stream: TcpStream, router: Router, seat: Arc<Seat>) {
    let _ = stream.set_nodelay(true); // no part of a response waits until the one before it is acknowledged
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let request_of = InRequest::new(seat.clone());
        let response = router.call(request);
        Box::pin(async move {
            let response = response.await;
            drop(request_of);
            response
        })
    });
    let mut connection = http1::Builder::new()
        .header_read_timeout(None) // as `Idle` does it
        .max_buf_size(BUFFER)
        .max_header_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    // What a client still sends after a refusal is read and forgotten. Otherwise the system would reset the connection, and the client might
    // not see the refusal.
    let mut stream = connection.into_parts().io.into_inner();
    if stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

/// The connections that are in no request.
#[derive(Default)]
struct Idle {
    connections: Mutex<Turns>,
    more: Notify,
}

/// Connections by turn: who came first, is without a request for longest.
#[derive(Default)]
struct Turns {
    next: u64,
    waiting: BTreeMap<u64, (Instant, AbortHandle)>,
}

impl Idle {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection be closed from now on; gives back its turn.
    fn enter(&self, handle: AbortHandle) -> u64 {
        let mut turns = self.turns();
        let turn = turns.next;
        turns.next += 1;
        turns.waiting.insert(turn, (Instant::now(), handle));
        drop(turns);
        self.more.notify_one();
        turn
    }

    /// The connection of this turn is not to be closed any more.
    fn leave(&self, turn: u64) {
        self.turns().waiting.remove(&turn);
    }

    /// Closes the connection that is without a request for longest, as soon as there is one.
    async fn close_oldest(&self) {
        loop {
            let oldest = self.turns().waiting.pop_first();
            if let Some((_, (_, handle))) = oldest {
                return handle.abort();
            }
            self.more.notified().await;
        }
    }

    fn close_older_than(&self, patience: Duration) {
        let mut turns = self.turns();
        while let Some(first) = turns.waiting.first_entry()
            && first.get().0.elapsed() >= patience
        {
            first.remove().1.abort();
        }
    }
}

/// A connection's place among the idle ones.
struct Seat {
    idle: Arc<Idle>,
    handle: AbortHandle,
    turn: AtomicU64,
}

impl Seat {
    fn new(idle: Arc<Idle>, handle: AbortHandle) -> Self {
        let turn = AtomicU64::new(idle.enter(handle.clone()));
        Seat { idle, handle, turn }
    }

    fn enter(&self) {
        self.turn.store(self.idle.enter(self.handle.clone()), Ordering::Relaxed);
    }

    fn leave(&self) {
        self.idle.leave(self.turn.load(Ordering::Relaxed));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// As long as this lives, the connection is in a request.
struct InRequest(Arc<Seat>);

impl InRequest {
    fn new(seat: Arc<Seat>) -> Self {
        seat.leave();
        InRequest(seat)
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.enter();
    }
}

/// So many connections, or as many as the system's limit on open files allows, which is raised as far as that takes and it may be.
#[allow(unsafe_code)] // a system call
fn allowed(connections: usize) -> usize {
    let needed = (connections + OTHER_FILES) as libc::rlim_t;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a value of ours, of the type that is asked for.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return connections;
    }
    if limit.rlim_cur < needed {
        let raised = libc::rlimit {
            rlim_cur: needed.min(limit.rlim_max),
            ..limit
        };
        // SAFETY: as above; the value is only read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    let files = usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX);
    connections.min(files.saturating_sub(OTHER_FILES)).max(1)
}
