//! The photos along any components, to look around in: one HTML page that needs nothing else.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::stream::{self, StreamExt};
use image::RgbImage;
use maud::{DOCTYPE, PreEscaped, html};
use ndarray::{Array2, Axis};
use serde_json::json;

use super::palette::mark;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;
use crate::folder::spread;
use crate::interrupt;
use crate::pca::Pca;
use crate::store;
use crate::thumbnail::{jpeg_uri, photos_of, small};

const SCRIPT: &str = include_str!("explorer.js");
const STYLE: &str = include_str!("explorer.css");
/// Components to choose from.
const AXES: usize = 10;
/// Side of a thumbnail in pixels, for so many photos at most: a page with 20,000 photos stays at some 20 MB.
const TILES: [(usize, u32); 3] = [(1_000, 96), (5_000, 64), (MAX_PHOTOS, 40)];
/// Photos that are shown at most.
pub(super) const MAX_PHOTOS: usize = 20_000;
/// Photos that are read at the same time.
const READ_AHEAD: usize = 32;
/// Height of the figure in a notebook, in pixels.
const HEIGHT: u32 = 560;

/// An interactive scatter plot: hover shows the photo with its label and path, the legend hides labels, the wheel zooms, dragging pans,
/// and any two components can be chosen, or three to turn in space.
///
/// ```no_run
/// use fruits_core::{Features, Pca};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// Pca::fit(&features)?.explore(&features).await?.write("explorer.html").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Explorer {
    page: String,
    description: String,
}

impl Pca {
    /// The photos along the first components (ten at most), with thumbnails. Photos are read where they lie; those that are gone are
    /// grey. Of more than 20,000 photos so many are shown, evenly spread.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no photo or the features are not of the PCA's kind.
    pub async fn explore(&self, features: &Features) -> Result<Explorer> {
        let projection = self.project_features(features)?;
        if features.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                Step::Draw,
                "explorer",
                "there is no photo",
            ));
        }
        let axes = projection.ncols().min(AXES);
        let ratios = self.explained_variance_ratio();
        let axis = |i: usize| format!("PC{} ({:.1} %)", i + 1, 100.0 * ratios[i]);
        let names = (0..axes).map(axis).collect();
        let shown = spread(features.len(), MAX_PHOTOS);
        let coordinates = projection.select(Axis(0), &shown);
        Explorer::new(features, &shown, &coordinates, names).await
    }
}

impl Explorer {
    /// `coordinates` has a row for each of the photos shown, and a column for each of the named axes; the first two are shown at first.
    pub(super) async fn new(
        features: &Features,
        shown: &[usize],
        coordinates: &Array2<f64>,
        axes: Vec<String>,
    ) -> Result<Self> {
        let of_shown = |all: Vec<&'_ str>| shown.iter().map(|&photo| all[photo].to_owned()).collect::<Vec<_>>();
        let (label, path) = (of_shown(features.label_column()), of_shown(features.path_column()));
        let mut labels: BTreeMap<&str, usize> = label.iter().map(|label| (label.as_str(), 0)).collect();
        labels
            .values_mut()
            .enumerate()
            .for_each(|(index, value)| *value = index);
        let label: Vec<usize> = label.iter().map(|label| labels[label.as_str()]).collect();
        let marks = labels.keys().enumerate().map(|(index, name)| {
            let (colour, shape) = mark(index);
            let colour = format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2);
            json!({ "name": name, "colour": colour, "corners": shape.corners() })
        });
        let floats: Vec<u8> = (0..axes.len())
            .flat_map(|axis| coordinates.column(axis).to_vec())
            .map(|value| value as f32)
            .flat_map(f32::to_le_bytes)
            .collect();
        let (side, columns, sheet) = interrupt::race(Step::Draw, sheet(&features.manifest().source, &path)).await??;
        let data = json!({
            "n": shown.len(),
            "axes": axes,
            "labels": marks.collect::<Vec<_>>(),
            "label": label,
            "path": of_shown(features.short_paths()),
            "coordinates": BASE64_STANDARD.encode(&floats),
            "sheet": { "side": side, "columns": columns, "uri": sheet },
        });
        // Within a script element, only `<` could end it.
        let data = data.to_string().replace('<', "\\u003c");
        let description = format!(
            "Interactive scatter plot of {} photos with {} labels along {} components",
            count(shown.len(), features.len()),
            labels.len(),
            axes.len()
        );
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (description) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        div #bar {
                            label { "across " select {} }
                            label { "up " select {} }
                            label { "depth " select {} }
                            button #reset { "Reset" }
                            @if shown.len() < features.len() { span { (count(shown.len(), features.len())) " photos" } }
                        }
                        div #stage {
                            canvas #plot role="img" aria-label=(description) {}
                            div #tip hidden { canvas {} strong {} span {} }
                        }
                        nav #legend aria-label="Labels" {}
                    }
                    script #data type="application/json" { (PreEscaped(data)) }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        Ok(Explorer {
            page: page.into_string(),
            description,
        })
    }

    /// The page as HTML text.
    pub fn html(&self) -> &str {
        &self.page
    }

    /// What it shows, for screen readers and where no HTML can be shown.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The page in a frame of its own, to be part of another page: on light paper, as the other figures are, whatever the system's theme.
    /// What is in the frame can reach nothing outside of it.
    pub fn frame(&self) -> String {
        let frame = html! {
            iframe srcdoc=(self.page) title=(self.description) sandbox="allow-scripts" width="100%" height=(HEIGHT) style="border: 0" {}
        };
        frame.into_string()
    }

    /// Writes the page to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn write(&self, path: &str) -> Result<()> {
        store::write(path, self.page.clone().into()).await
    }
}

impl std::fmt::Debug for Explorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes of HTML)", self.description, self.page.len())
    }
}

fn count(shown: usize, all: usize) -> String {
    match shown == all {
        true => all.to_string(),
        false => format!("{shown} of {all}"),
    }
}

/// All thumbnails on one picture, row by row: their side, the number of columns, and the picture as a `data:` URI.
async fn sheet(source: &str, paths: &[String]) -> Result<(u32, u32, String)> {
    let side = TILES
        .iter()
        .find(|(photos, _)| paths.len() <= *photos)
        .map_or(0, |tile| tile.1);
    let columns = (paths.len() as f64).sqrt().ceil() as u32;
    let rows = (paths.len() as u32).div_ceil(columns);
    let store = photos_of(source).await;
    let thumbnails = stream::iter(paths)
        .map(async |path| small(store.as_deref()?, path, side).await.ok())
        .buffered(READ_AHEAD);
    let mut sheet = RgbImage::from_pixel(columns * side, rows * side, image::Rgb([0x80; 3]));
    let mut thumbnails = std::pin::pin!(thumbnails.enumerate());
    while let Some((index, thumbnail)) = thumbnails.next().await {
        if let Some(thumbnail) = thumbnail {
            let (column, row) = (index as u32 % columns, index as u32 / columns);
            let x = column * side + (side - thumbnail.width()) / 2;
            let y = row * side + (side - thumbnail.height()) / 2;
            image::imageops::replace(&mut sheet, &thumbnail, x.into(), y.into());
        }
    }
    let uri = tokio::task::spawn_blocking(move || jpeg_uri(&sheet))
        .await
        .unwrap_or_else(|panic| Err(Error::from_source(Step::Draw, "", std::io::Error::other(panic))))?;
    Ok((side, columns, uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_photos_it_says_how_many_are_shown() {
        assert_eq!((count(3, 3), count(3, 5)), ("3".to_owned(), "3 of 5".to_owned()));
    }
}
