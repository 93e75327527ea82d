//! One suite that every store passes: in memory, a folder, S3 as moto plays it, S3 as s3s-fs plays it.

mod s3;
mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use fruits_core::ErrorKind;
use fruits_core::store::{Entry, Length, LocalStore, MemoryStore, Store};
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use support::Need;

const NO_LIMIT: Length = Length::AtMost(1 << 30);

/// The tests that a store passes: the suite, and more of it that not all stores pass.
macro_rules! conformance {
    ($($need:expr, $name:literal, $new:expr, $($own:ident)*;)*) => {{
        let mut trials = Vec::new();
        $(conformance!(@store trials, $need, $name, $new; $($own)* missing_root content_comes_back large_objects lengths missing_key versions
            keys_are_opaque deleted_twice readers_see_whole_objects pages);)*
        trials
    }};
    (@store $trials:ident, $need:expr, $name:literal, $new:expr; $($test:ident)*) => {
        $($trials.push(support::trial($need, concat!($name, "::", stringify!($test)), async || $test($new(stringify!($test)).await).await));)*
    };
}

// What a store does not pass, it does not claim: file systems know no empty names, moto's server finds no key with a line break, s3s-fs
// lists + and % wrongly, makes long names longer, and knows not all conditions; of copies, neither server knows any.
fn main() -> ExitCode {
    support::run(conformance! {
        Need::Nothing, "memory", memory, swapped_once swapped_if_unchanged copies_replace_nothing late_copies_fail line_breaks_are_kept long_names_are_kept slashes_are_kept plus_and_percent_are_kept;
        Need::Nothing, "local", local, swapped_once swapped_if_unchanged copies_replace_nothing late_copies_fail line_breaks_are_kept long_names_are_kept plus_and_percent_are_kept;
        Need::Variable(s3::PYTHON), "moto", s3::moto, swapped_once swapped_if_unchanged late_copies_fail long_names_are_kept slashes_are_kept plus_and_percent_are_kept;
        Need::Variable(s3::S3S_FS), "s3s_fs", s3::s3s_fs, late_copies_fail line_breaks_are_kept;
    })
}

async fn memory(_: &str) -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

async fn local(test: &str) -> Arc<dyn Store> {
    Arc::new(LocalStore::new(s3::folder("local", test).join("new")))
}

async fn list(store: &dyn Store) -> Vec<Entry> {
    store.list().map(Result::unwrap).collect().await
}

async fn missing_root(store: Arc<dyn Store>) {
    let entries: Vec<_> = store.list().collect().await;
    assert_eq!(entries.len(), 1);
    let error = entries[0].as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.subject()),
        (ErrorKind::NotFound, store.uri("").as_str())
    );
}

async fn content_comes_back(store: Arc<dyn Store>) {
    for size in [0, 1, 1 << 20] {
        let content: Bytes = (0..size).map(|i| (i * 7 + size) as u8).collect();
        store.put("a/b.bin", content.clone()).await.unwrap();
        assert_eq!(store.get("a/b.bin", NO_LIMIT).await.unwrap(), content);
        let entries = list(&*store).await;
        assert_eq!(
            (entries.len(), entries[0].key.as_str(), entries[0].size),
            (1, "a/b.bin", size as u64)
        );
    }
}

/// On S3, two parts.
async fn large_objects(store: Arc<dyn Store>) {
    let content: Bytes = (0..(64 << 20) + 1).map(|i: u32| (i >> 9) as u8).collect();
    store.put("a", content.clone()).await.unwrap();
    let length = Length::Exactly(content.len() as u64);
    assert!(store.get("a", length).await.unwrap() == content, "other bytes");
}

async fn lengths(store: Arc<dyn Store>) {
    store.put("a", "123456".into()).await.unwrap();
    for length in [Length::AtMost(6), Length::AtMost(u64::MAX), Length::Exactly(6)] {
        assert_eq!(store.get("a", length).await.unwrap(), "123456");
    }
    for (length, kind) in [
        (Length::AtMost(5), ErrorKind::TooLarge),
        (Length::Exactly(5), ErrorKind::Io),
        (Length::Exactly(7), ErrorKind::Io),
    ] {
        let error = store.get("a", length).await.unwrap_err();
        assert_eq!((error.kind(), error.subject()), (kind, store.uri("a").as_str()));
    }
}

async fn missing_key(store: Arc<dyn Store>) {
    store.put("a", "1".into()).await.unwrap();
    let error = store.get("b", NO_LIMIT).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.subject()),
        (ErrorKind::NotFound, store.uri("b").as_str())
    );
}

async fn versions(store: Arc<dyn Store>) {
    store.put("a", "1".into()).await.unwrap();
    store.put("b", "1".into()).await.unwrap();
    let before = list(&*store).await;
    assert_eq!(list(&*store).await, before, "listing changes nothing");
    // Times of modification are as fine as the kernel's clock.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    store.put("b", "2".into()).await.unwrap();
    let after = list(&*store).await;
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1].version, before[1].version);
}

async fn keys_are_opaque(store: Arc<dyn Store>) {
    let keys = [
        "Apple Red/1 (2).jpg",
        "it's \"quoted\"/&<script>alert(1)</script>.jpg",
        "back\\slash;$(id)`id`|*?[x]~#.jpg",
        "caf\u{e9}/nfc.jpg",
        "cafe\u{301}/nfd.jpg",
        "🍌/🍎🍏.jpg",
        "a=b&c=d.jpg",
        "name with space at the end ",
        "b/1.jpg",
        "b-c/1.jpg",
        "b.jpg",
    ];
    round_trip(&*store, &keys).await;
}

async fn line_breaks_are_kept(store: Arc<dyn Store>) {
    round_trip(&*store, &["line\nbreak\ttab.jpg"]).await;
}

async fn long_names_are_kept(store: Arc<dyn Store>) {
    round_trip(&*store, &[&"n".repeat(240)]).await;
}

async fn slashes_are_kept(store: Arc<dyn Store>) {
    round_trip(&*store, &["a//b.jpg", "/c.jpg", "d/./e.jpg", "d/../f.jpg"]).await;
}

async fn plus_and_percent_are_kept(store: Arc<dyn Store>) {
    round_trip(&*store, &["1+1=2.jpg", "a%2Fb.jpg", "100%.jpg", "%20 %2B+.jpg"]).await;
}

async fn round_trip(store: &dyn Store, keys: &[&str]) {
    for key in keys {
        store.put(key, Bytes::copy_from_slice(key.as_bytes())).await.unwrap();
    }
    let listed: Vec<String> = list(store).await.into_iter().map(|entry| entry.key).collect();
    let mut sorted = keys.to_vec();
    sorted.sort();
    assert_eq!(listed, sorted, "every key once, in byte order");
    for key in keys {
        assert_eq!(store.get(key, NO_LIMIT).await.unwrap(), key.as_bytes());
    }
}

async fn swapped_once(store: Arc<dyn Store>) {
    let contents: Vec<Bytes> = (0..8).map(|i| vec![i; 1000].into()).collect();
    let tries = contents
        .iter()
        .map(|content| store.swap("a", None, Some(content.clone())));
    let results = join_all(tries).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let winner = results.iter().position(|result| result.is_ok()).unwrap();
    assert_eq!(store.get("a", NO_LIMIT).await.unwrap(), contents[winner]);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(
            (error.kind(), error.subject()),
            (ErrorKind::AlreadyExists, store.uri("a").as_str())
        );
    }
}

async fn swapped_if_unchanged(store: Arc<dyn Store>) {
    let swap = async |from: Option<&'static str>, to: Option<&'static str>| {
        let result = store.swap("a", from.map(Bytes::from), to.map(Bytes::from)).await;
        let there = store.get("a", NO_LIMIT).await.ok();
        (
            result.map_err(|error| (error.kind(), error.subject().to_owned())),
            there,
        )
    };
    let changed = || Err((ErrorKind::AlreadyExists, store.uri("a")));
    assert_eq!(swap(Some("1"), Some("2")).await, (changed(), None));
    assert_eq!(swap(None, None).await, (Ok(()), None));
    assert_eq!(swap(None, Some("1")).await, (Ok(()), Some("1".into())));
    assert_eq!(swap(None, Some("2")).await, (changed(), Some("1".into())));
    assert_eq!(swap(Some("12"), Some("2")).await, (changed(), Some("1".into())));
    assert_eq!(swap(Some(""), Some("2")).await, (changed(), Some("1".into())));
    assert_eq!(swap(Some("1"), Some("22")).await, (Ok(()), Some("22".into())));
    assert_eq!(swap(Some("1"), None).await, (changed(), Some("22".into())));
    assert_eq!(swap(Some("22"), None).await, (Ok(()), None));
    // An answer that was lost is no reason to fail: what was wanted is there.
    assert_eq!(swap(None, Some("1")).await.1, swap(Some("1"), Some("1")).await.1);
}

async fn copies_replace_nothing(store: Arc<dyn Store>) {
    for key in ["a", "b"] {
        store.put(key, key.into()).await.unwrap();
    }
    let error = store.copy("a", "b").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.subject()),
        (ErrorKind::AlreadyExists, store.uri("b").as_str())
    );
    assert_eq!(store.get("b", NO_LIMIT).await.unwrap(), "b");
}

async fn late_copies_fail(store: Arc<dyn Store>) {
    let (from, to) = ("_runs/it's 1+1%2F/a.bin", "tables/a b.bin");
    store.put(from, "1".into()).await.unwrap();
    for _ in 0..2 {
        store.copy(from, to).await.unwrap();
        assert_eq!(store.get(to, NO_LIMIT).await.unwrap(), "1");
    }
    store.delete(from).await.unwrap();
    let error = store.copy(from, to).await.unwrap_err();
    assert_eq!(
        (error.kind(), store.get(to, NO_LIMIT).await.unwrap()),
        (ErrorKind::NotFound, "1".into())
    );
    let keys: Vec<String> = list(&*store).await.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [to]);
}

async fn deleted_twice(store: Arc<dyn Store>) {
    store.put("a", "1".into()).await.unwrap();
    store.put("b", "2".into()).await.unwrap();
    store.delete("a").await.unwrap();
    store.delete("a").await.unwrap();
    let entries = list(&*store).await;
    assert_eq!((entries.len(), entries[0].key.as_str()), (1, "b"));
}

async fn readers_see_whole_objects(store: Arc<dyn Store>) {
    let contents: [Bytes; 2] = [vec![1; 300_000].into(), vec![2; 200_000].into()];
    store.put("a", contents[0].clone()).await.unwrap();
    let write = async {
        for i in 1..20 {
            store.put("a", contents[i % 2].clone()).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..20 {
            let seen = store.get("a", NO_LIMIT).await.unwrap();
            assert!(contents.contains(&seen), "{} bytes", seen.len());
        }
    };
    tokio::join!(write, read);
}

async fn pages(store: Arc<dyn Store>) {
    // S3 lists a thousand keys at a time.
    let keys: Vec<String> = (0..2050).map(|i| format!("{:02}/{i:04}", i % 7)).collect();
    let puts = keys.iter().map(|key| store.put(key, "x".into()));
    stream::iter(puts)
        .buffer_unordered(16)
        .map(Result::unwrap)
        .count()
        .await;
    let listed: BTreeMap<String, u64> = list(&*store)
        .await
        .into_iter()
        .map(|entry| (entry.key, entry.size))
        .collect();
    assert_eq!(listed, keys.into_iter().map(|key| (key, 1)).collect());
}
