//! This crate's side of `commit.py`: opens features at a location.
//!
//!     commit-peer LOCATION      prints how many photos there are, seconds, and the bytes of the manifest

use std::time::Instant;

use fruits_core::Features;
use fruits_core::store::{self, Length};

#[tokio::main]
async fn main() {
    let location = std::env::args().skip(1).find(|argument| argument != "--bench");
    let location = location.expect("usage: commit-peer LOCATION");
    let start = Instant::now();
    let scan = Features::scan(&location).await.expect("features");
    let seconds = start.elapsed().as_secs_f64();
    let store = store::open(&location).expect("a location");
    let manifest = store.get("_manifest.json", Length::AtMost(1 << 30)).await;
    println!("{} {seconds} {}", scan.len(), manifest.expect("a manifest").len());
}
