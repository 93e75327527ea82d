//! Small pictures that fit into a page.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use image::RgbImage;
use tokio::time::{Instant, timeout_at};
use turbojpeg::{Image, PixelFormat, Subsamp};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;
use crate::pixels::{self, Limits};
use crate::store::{self, Length, Store};

/// Of JPEGs, which classifiers keep, and of WebP, which pages have, as libwebp has it by itself.
const JPEG_QUALITY: i32 = 85;
const WEBP_QUALITY: f32 = 75.0;
/// So long a page waits for a photo, unless what shows the page says [by when](by).
const PATIENCE: Duration = Duration::from_secs(10);

tokio::task_local! {
    static WAITING: Waiting;
}

/// Until when pictures are waited for, and how many came too late.
#[derive(Clone)]
struct Waiting {
    until: Instant,
    late: Arc<AtomicUsize>,
}

/// Does work of which no picture is waited for beyond this moment, and says how many came too late: a slow photo costs its own picture only.
pub(crate) async fn by<T>(until: Instant, work: impl Future<Output = T>) -> (T, usize) {
    let late = Arc::new(AtomicUsize::new(0));
    let waiting = Waiting {
        until,
        late: late.clone(),
    };
    let done = WAITING.scope(waiting, work).await;
    (done, late.load(Ordering::Relaxed))
}

/// A picture, unless it comes too late.
pub(crate) async fn in_time<T>(picture: impl Future<Output = Result<T>>) -> Result<T> {
    let waiting = WAITING.try_with(Waiting::clone).ok();
    let until = waiting
        .as_ref()
        .map_or_else(|| Instant::now() + PATIENCE, |waiting| waiting.until);
    timeout_at(until, picture).await.unwrap_or_else(|_| {
        if let Some(waiting) = waiting {
            waiting.late.fetch_add(1, Ordering::Relaxed);
        }
        Err(Error::new(
            ErrorKind::TimedOut,
            Step::Read,
            "",
            "the photo comes too late for the page",
        ))
    })
}

/// Where the photos of features lie; nothing if it does not answer: then they are shown without pictures, instead of waiting for each.
pub(crate) async fn photos_of(location: &str) -> Option<Arc<dyn Store>> {
    let store = store::open(location).ok()?;
    let first = async { store.list().next().await };
    let first = match WAITING.try_with(|waiting| waiting.until) {
        Ok(until) => timeout_at(until, first).await.ok()?,
        Err(_) => first.await,
    };
    let is_gone = matches!(&first, Some(Err(error)) if error.kind() == ErrorKind::Unavailable);
    (!is_gone).then_some(store)
}

/// The photo at a path below the store's root, scaled to fit into `side` x `side` pixels, as a `data:` URI.
pub(crate) async fn thumbnail(store: &dyn Store, path: &str, side: u32) -> Result<String> {
    let picture = in_time(small(store, path, side));
    webp_uri(&interrupt::race(Step::Draw, picture).await??)
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

/// A picture as WebP in a `data:` URI: half of what a JPEG takes, and less of small ones, which are hardly more than a JPEG's head.
pub(crate) fn webp_uri(picture: &RgbImage) -> Result<String> {
    let file = pixels::to_webp(picture, WEBP_QUALITY)?;
    Ok(format!("data:image/webp;base64,{}", BASE64_STANDARD.encode(file)))
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
    let jpeg = turbojpeg::compress(image, JPEG_QUALITY, Subsamp::None)
        .map_err(|error| Error::from_source(Step::Draw, "", error))?;
    Ok(Bytes::copy_from_slice(&jpeg))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_photo_costs_its_own_picture_only() {
        let picture = async |is_slow: bool| {
            in_time(async {
                if is_slow {
                    std::future::pending::<()>().await;
                }
                Ok(())
            })
            .await
        };
        let soon = Instant::now() + Duration::from_millis(20);
        let (pictures, late) = by(soon, futures::future::join_all([false, true, false].map(picture))).await;
        let is_there: Vec<bool> = pictures.iter().map(Result::is_ok).collect();
        assert_eq!((is_there, late), (vec![true, false, true], 1));
        assert_eq!(pictures[1].as_ref().unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_picture_as_webp_is_smaller_and_can_be_decoded() {
        let picture = RgbImage::from_fn(40, 30, |x, y| image::Rgb([(6 * x) as u8, (8 * y) as u8, 90]));
        let file = pixels::to_webp(&picture, WEBP_QUALITY).unwrap();
        assert!(file.len() < jpeg(&picture).unwrap().len());
        let again = pixels::decode(&file, &Limits::default()).unwrap();
        assert_eq!(again.dimensions(), (40, 30));
        let apart = again.iter().zip(picture.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart < Some(24), "{apart:?}");
        assert!(pixels::to_webp(&RgbImage::new(0, 0), WEBP_QUALITY).is_err());
    }
}
