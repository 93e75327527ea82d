//! What ImageFolder and the local store find, and what they survive.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use fruits_core::{ErrorKind, ImageFolder};

fn touch(root: &Path, name: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, name).unwrap();
}

fn location(root: &Path) -> &str {
    root.to_str().unwrap()
}

#[tokio::test]
async fn photos_come_in_the_order_of_s3_with_their_labels() {
    let root = tempfile::tempdir().unwrap();
    let names = [
        "b/2.jpg",
        "b/10.PNG",
        "b-c/1.jpeg",
        "b.jpg",
        "é/ü \"<x>\n.jpg",
        "deep/er/est/1.jpg",
    ];
    for name in names
        .iter()
        .chain(&["b/notes.txt", ".git/1.jpg", "_tmp/1.jpg", "b/_x.jpg"])
    {
        touch(root.path(), name);
    }
    let photos = ImageFolder::open(location(root.path())).await.unwrap();
    let keys: Vec<&str> = photos.photos().iter().map(|photo| photo.key.as_str()).collect();
    let mut sorted = names.to_vec();
    sorted.sort_by_key(|name| name.as_bytes());
    assert_eq!(keys, sorted);
    let counts = photos.counts();
    assert_eq!((counts["b"], counts["b-c"], counts["é"], counts["est"]), (2, 1, 1, 1));
    for photo in photos.photos() {
        assert_eq!(fs::read_to_string(&photo.path).unwrap(), photo.key);
        assert_eq!(photo.size, photo.key.len() as u64);
    }
}

#[tokio::test]
async fn links_are_followed_and_loops_survived() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), "a/1.jpg");
    symlink(root.path().join("a"), root.path().join("linked")).unwrap();
    symlink(root.path(), root.path().join("a/up")).unwrap();
    symlink("nowhere", root.path().join("a/2.jpg")).unwrap();
    let photos = ImageFolder::open(location(root.path())).await.unwrap();
    let labels: Vec<&str> = photos.photos().iter().map(|photo| photo.label.as_str()).collect();
    assert_eq!(labels, ["a", "linked"]);
    assert_eq!(
        photos.failures().len(),
        2,
        "the dangling link, seen through both folders"
    );
    assert_eq!(photos.failures()[0].step, "list");
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_a_failure() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), "a/1.jpg");
    fs::write(
        root.path().join("a").join(std::ffi::OsStr::from_bytes(b"\xff.jpg")),
        "x",
    )
    .unwrap();
    let photos = ImageFolder::open(location(root.path())).await.unwrap();
    assert_eq!((photos.len(), photos.failures().len()), (1, 1));
}

#[tokio::test]
async fn what_is_no_folder_of_photos_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let kind = async |location: &str| ImageFolder::open(location).await.unwrap_err().kind();
    assert_eq!(kind(location(root.path())).await, ErrorKind::NotFound);
    assert_eq!(kind(location(&root.path().join("missing"))).await, ErrorKind::NotFound);
    touch(root.path(), "file.jpg");
    assert_eq!(kind(location(&root.path().join("file.jpg"))).await, ErrorKind::Invalid);
    assert_eq!(kind("gopher://photos").await, ErrorKind::Unsupported);
    assert_eq!(kind("").await, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_sample_is_spread_over_each_label() {
    let photos = ImageFolder::open("../data-sample").await.unwrap();
    let sample = photos.sample(3);
    assert!(sample.counts().values().all(|&count| count == 3));
    let views: Vec<&str> = sample.photos()[..3]
        .iter()
        .map(|photo| &photo.key[photo.key.len() - 6..])
        .collect();
    assert_eq!(views, ["00.jpg", "05.jpg", "10.jpg"]);
    assert_eq!((photos.sample(0).len(), photos.sample(1000).len()), (0, 96));
}
