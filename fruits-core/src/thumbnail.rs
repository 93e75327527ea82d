//! Small pictures that fit into a page.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use image::RgbImage;
use turbojpeg::{Image, PixelFormat, Subsamp};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;
use crate::pixels::{self, Limits};
use crate::store::{self, Length, Store};

const QUALITY: i32 = 85;

/// Where the photos of features lie; nothing if it does not answer: then they are shown without pictures, instead of waiting for each.
pub(crate) async fn photos_of(location: &str) -> Option<Arc<dyn Store>> {
    let store = store::open(location).ok()?;
    let first = store.list().next().await;
    let is_gone = matches!(&first, Some(Err(error)) if error.kind() == ErrorKind::Unavailable);
    (!is_gone).then_some(store)
}

/// The photo at a path below the store's root, scaled to fit into `side` x `side` pixels, as a `data:` URI.
pub(crate) async fn thumbnail(store: &dyn Store, path: &str, side: u32) -> Result<String> {
    jpeg_uri(&interrupt::race(Step::Draw, small(store, path, side)).await??)
}

/// The photo at a path below the store's root, scaled to fit into `side` x `side` pixels.
pub(crate) async fn small(store: &dyn Store, path: &str, side: u32) -> Result<RgbImage> {
    let key = path
        .strip_prefix(&store.uri(""))
        .and_then(|rest| rest.strip_prefix('/'));
    let elsewhere = || {
        Error::new(
            ErrorKind::NotFound,
            Step::Draw,
            path,
            "not below the location of the photos",
        )
    };
    let limits = Limits::default();
    let bytes = store
        .get(key.ok_or_else(elsewhere)?, Length::AtMost(limits.bytes))
        .await?;
    let work = move || pixels::thumbnail(&bytes, limits, side);
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(Error::from_source(Step::Draw, "", std::io::Error::other(panic))))
        .map_err(|error| error.about(path))
}

/// A picture as a JPEG in a `data:` URI.
pub(crate) fn jpeg_uri(picture: &RgbImage) -> Result<String> {
    Ok(data_uri(&jpeg(picture)?))
}

/// A JPEG as a `data:` URI.
pub(crate) fn data_uri(jpeg: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg))
}

/// A picture as a JPEG.
pub(crate) fn jpeg(picture: &RgbImage) -> Result<Bytes> {
    let image = Image {
        pixels: picture.as_raw().as_slice(),
        width: picture.width() as usize,
        pitch: picture.width() as usize * 3,
        height: picture.height() as usize,
        format: PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, QUALITY, Subsamp::None)
        .map_err(|error| Error::from_source(Step::Draw, "", error))?;
    Ok(Bytes::copy_from_slice(&jpeg))
}
