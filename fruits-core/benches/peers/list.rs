//! This crate's side of `list.py`: lists a location to its end.
//!
//!     list-peer LOCATION      prints entries, seconds, seconds to the first, the most memory in kB, and what tells the list from others

use std::time::Instant;

use fruits_core::store;
use futures::StreamExt;
use sha2::{Digest, Sha256};

#[tokio::main]
async fn main() {
    let location = std::env::args().skip(1).find(|argument| argument != "--bench");
    let store = store::open(&location.expect("usage: list-peer LOCATION")).expect("a location");
    let start = Instant::now();
    let (mut entries, mut count, mut first, mut digest) = (store.list(), 0, 0.0, Sha256::new());
    while let Some(entry) = entries.next().await {
        let entry = entry.expect("it can be listed");
        if count == 0 {
            first = start.elapsed().as_secs_f64();
        }
        digest.update(format!("{}\0{}\0{}\0", entry.key, entry.size, entry.version));
        count += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = line.expect("and of its memory").trim().trim_end_matches(" kB");
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{count} {seconds} {first} {most} {digest}");
}
