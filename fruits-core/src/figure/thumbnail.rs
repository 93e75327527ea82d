//! Small pictures that fit into a page.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use turbojpeg::{Image, PixelFormat, Subsamp};

use crate::error::{Error, Result, Step};
use crate::pixels::{Limits, decode, resize};
use crate::store::{Length, Store};

const QUALITY: i32 = 85;

/// A photo, scaled to fit into `side` x `side` pixels, as a `data:` URI.
pub(crate) async fn thumbnail(store: &dyn Store, key: &str, side: u32) -> Result<String> {
    let limits = Limits::default();
    let bytes = store.get(key, Length::AtMost(limits.bytes)).await?;
    let work = move || data_uri(&decode(&bytes, &limits)?, side);
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(Error::from_source(Step::Draw, "", std::io::Error::other(panic))))
        .map_err(|error| error.about(store.uri(key)))
}

fn data_uri(photo: &RgbImage, side: u32) -> Result<String> {
    let (width, height) = photo.dimensions();
    let scale = f64::from(side) / f64::from(width.max(height));
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let small = resize(photo, scaled(width), scaled(height));
    let image = Image {
        pixels: small.as_raw().as_slice(),
        width: small.width() as usize,
        pitch: small.width() as usize * 3,
        height: small.height() as usize,
        format: PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, QUALITY, Subsamp::None)
        .map_err(|error| Error::from_source(Step::Draw, "", error))?;
    Ok(format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(&jpeg)))
}
