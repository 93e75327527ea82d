//! All photos of a page, small, on few pictures.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::stream::{self, StreamExt};
use image::RgbImage;
use serde_json::{Value, json};

use crate::error::{Error, Result, Step};
use crate::folder::spread;
use crate::store::Store;
use crate::thumbnail::{in_time, photos_of, small, webp_uri};

/// Side of a thumbnail in pixels, for so many photos at most: a page with 20,000 photos stays at some 12 MB.
const TILES: [(usize, u32); 3] = [(1_000, 96), (5_000, 64), (MAX_THUMBNAILS, 40)];
/// Photos of which there are thumbnails.
const MAX_THUMBNAILS: usize = 20_000;
/// Side of a sheet at most, in pixels: phones have no larger ones.
const SHEET: u32 = 2_048;
/// Sheets that are made at the same time, and photos of each that are read at the same time.
const SHEETS_AHEAD: usize = 2;
const READ_AHEAD: usize = 16;
/// What is where a photo is not.
const GREY: image::Rgb<u8> = image::Rgb([0x80; 3]);

/// Thumbnails of the photos with these paths, as the page takes them. Of more than 20,000 photos so many have one, evenly spread.
pub(super) async fn thumbnails(source: &str, paths: &[&str]) -> Result<Value> {
    let with = spread(paths.len(), MAX_THUMBNAILS);
    let side = TILES
        .iter()
        .find(|(photos, _)| with.len() <= *photos)
        .map_or(0, |tile| tile.1);
    let columns = (SHEET / side).min((with.len() as f64).sqrt().ceil() as u32).max(1);
    let per_sheet = (columns * columns) as usize;
    let store = photos_of(source).await;
    let sheets = stream::iter(with.chunks(per_sheet))
        .map(async |photos| {
            let paths: Vec<&str> = photos.iter().map(|&photo| paths[photo]).collect();
            sheet(store.as_deref(), &paths, side, columns).await
        })
        .buffered(SHEETS_AHEAD)
        .collect::<Vec<Result<(String, usize)>>>()
        .await;
    let sheets = sheets.into_iter().collect::<Result<Vec<_>>>()?;
    let missing: usize = sheets.iter().map(|sheet| sheet.1).sum();
    let tiles = (with.len() < paths.len()).then(|| {
        let mut tiles = vec![-1_i32; paths.len()];
        with.iter().zip(0..).for_each(|(&photo, tile)| tiles[photo] = tile);
        BASE64_STANDARD.encode(tiles.into_iter().flat_map(i32::to_le_bytes).collect::<Vec<u8>>())
    });
    Ok(json!({
        "side": side,
        "columns": columns,
        "perSheet": per_sheet,
        "sheets": sheets.into_iter().map(|sheet| sheet.0).collect::<Vec<_>>(),
        "tiles": tiles,
        "missing": missing,
    }))
}

/// One sheet, row by row, and how many of its photos are missing.
async fn sheet(store: Option<&dyn Store>, paths: &[&str], side: u32, columns: u32) -> Result<(String, usize)> {
    let rows = (paths.len() as u32).div_ceil(columns);
    let mut sheet = RgbImage::from_pixel(columns * side, rows * side, GREY);
    let mut missing = paths.len();
    let photos = stream::iter(paths.iter().enumerate()).map(async |(index, path)| {
        let picture = in_time(small(store?, path, side)).await.ok()?;
        Some((index as u32, picture))
    });
    let mut photos = std::pin::pin!(photos.buffer_unordered(READ_AHEAD));
    while let Some(photo) = photos.next().await {
        let Some((index, picture)) = photo else { continue };
        missing -= 1;
        let (column, row) = (index % columns, index / columns);
        let x = column * side + (side - picture.width()) / 2;
        let y = row * side + (side - picture.height()) / 2;
        image::imageops::replace(&mut sheet, &picture, x.into(), y.into());
    }
    let uri = tokio::task::spawn_blocking(move || webp_uri(&sheet))
        .await
        .unwrap_or_else(|panic| Err(Error::from_source(Step::Draw, "", std::io::Error::other(panic))))?;
    Ok((uri, missing))
}
