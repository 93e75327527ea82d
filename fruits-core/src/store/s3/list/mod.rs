//! Listing: in the order of keys, whatever the order of the service.

mod pages;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::mpsc;

use self::pages::{Page, Pages, Place};
use self::spans::Spans;
use super::Bucket;
use crate::error::Result;
use crate::store::Entry;

/// How the names of S3 Express' buckets, and of their access points, end. Their listings are in no order.
const EXPRESS: [&str; 2] = ["--x-s3", "--xa-s3"];

/// Sends all entries of a bucket, in the order of their keys.
pub(super) async fn list(bucket: Arc<Bucket>, entries: &mpsc::Sender<Result<Entry>>) -> Result<()> {
    let is_express = EXPRESS.iter().any(|end| bucket.name.ends_with(end));
    let pages = Pages::new(bucket);
    let first = pages.keys(Place::Start).await?;
    if is_express || !first.is_sorted_after("") {
        return sort(&pages, first, entries).await;
    }
    Spans::new(pages, first).send(entries).await
}

/// Lists a service that lists in no order to its end, and then sends what it found.
async fn sort(pages: &Pages, first: Page, entries: &mpsc::Sender<Result<Entry>>) -> Result<()> {
    let (mut all, mut page) = (Vec::new(), first);
    loop {
        all.append(&mut page.entries);
        for (_, error) in page.failed {
            if entries.send(Err(error)).await.is_err() {
                return Ok(());
            }
        }
        match page.next {
            Some(next) => page = pages.keys(next).await?,
            None => break,
        }
    }
    all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    for entry in all {
        if entries.send(Ok(entry)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
