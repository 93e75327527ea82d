//! Contact sheets: some photos of each label, side by side.

use futures::stream::{self, StreamExt};
use maud::{Markup, html};

use crate::error::Result;
use crate::features::Features;
use crate::folder::{ImageFolder, spread};
use crate::store::Store;
use crate::thumbnail::{photos_of, thumbnail};

/// Side of a photo in pixels.
const SIDE: u32 = 64;
/// Labels that are shown; more are counted.
const MAX_LABELS: usize = 500;
/// Labels whose photos are read at the same time.
const LABELS_AHEAD: usize = 8;
/// Photos of a label that are read at the same time.
const PHOTOS_AHEAD: usize = 4;
/// Side of a photo that was chosen, in pixels.
const CHOSEN_SIDE: u32 = 128;
/// Photos that are shown of those that were chosen; more are counted.
const MAX_CHOSEN: usize = 500;

/// Some photos of each label, as HTML that needs nothing else.
///
/// ```no_run
/// use fruits_core::Features;
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// let odd = features.outliers(5).await; // which photos are unlike the others of their label?
/// println!("{}", odd.html());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactSheet {
    html: String,
    description: String,
}

/// A label, how many photos it has, and some of them: paths, and what to say of each.
type Row<'a> = (&'a str, usize, Vec<(&'a str, String)>);

impl ImageFolder {
    /// Up to so many photos of each label, evenly spread. Photos that cannot be read leave an empty frame.
    pub async fn contact_sheet(&self, per_label: usize) -> ContactSheet {
        let rows = self.by_label().into_iter().map(|(label, photos)| {
            let shown = spread(photos.len(), per_label).into_iter();
            let shown = shown.map(|i| (self.photos()[photos[i]].path.as_str(), String::new()));
            (label, photos.len(), shown.collect())
        });
        let description = format!("photos of {}", self.location());
        ContactSheet::new(Some(&**self.store()), rows.collect(), description).await
    }
}

impl Features {
    /// Up to so many photos of each label, evenly spread. Photos that are gone leave an empty frame.
    pub async fn contact_sheet(&self, per_label: usize) -> ContactSheet {
        let rows = self.by_label().into_iter().map(|(label, photos)| {
            let shown = spread(photos.len(), per_label).into_iter().map(|i| photos[i]).collect();
            (label, photos.len(), shown)
        });
        self.sheet(rows, |_| String::new(), "photos of each label").await
    }

    /// The photos of each label that are nearest to the mean of the label's features, the nearest first.
    pub async fn typical(&self, per_label: usize) -> ContactSheet {
        self.by_distance(per_label, false, "typical photos of each label").await
    }

    /// The photos of each label that are farthest from the mean of the label's features, the farthest first: what is odd about them?
    pub async fn outliers(&self, per_label: usize) -> ContactSheet {
        self.by_distance(per_label, true, "outliers of each label").await
    }

    /// The photos in these rows, in the order in which they are given, each with its label and path. Photos that are gone leave an empty frame.
    ///
    /// ```no_run
    /// # use fruits_core::{ContactSheet, Features, Result};
    /// # async fn example(features: Features) -> Result<ContactSheet> {
    /// features.show(&[3, 17, 40]).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if there is no such row.
    pub async fn show(&self, rows: &[usize]) -> Result<ContactSheet> {
        let chosen = self.take(rows)?;
        let (labels, paths) = (chosen.label_column(), chosen.path_column());
        let photos = labels.into_iter().zip(paths).collect();
        let store = photos_of(&self.manifest().source).await;
        Ok(ContactSheet::of_chosen(store.as_deref(), photos).await)
    }

    async fn by_distance(&self, per_label: usize, is_farthest_first: bool, description: &str) -> ContactSheet {
        let distances = self.distances_to_label_mean();
        let rows = self.by_label().into_iter().map(|(label, mut photos)| {
            photos.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
            if is_farthest_first {
                photos.reverse();
            }
            let count = photos.len();
            photos.truncate(per_label);
            (label, count, photos)
        });
        let say = |photo: usize| format!(", distance {:.2}", distances[photo]);
        self.sheet(rows, say, description).await
    }

    async fn sheet<'a>(
        &'a self,
        rows: impl Iterator<Item = (&'a str, usize, Vec<usize>)>,
        say: impl Fn(usize) -> String,
        description: &str,
    ) -> ContactSheet {
        let paths = self.path_column();
        let with_paths = |photos: Vec<usize>| photos.into_iter().map(|i| (paths[i], say(i))).collect();
        let rows = rows.map(|(label, count, photos)| (label, count, with_paths(photos)));
        let store = photos_of(&self.manifest().source).await;
        ContactSheet::new(store.as_deref(), rows.collect(), description.to_owned()).await
    }
}

impl ContactSheet {
    async fn new(store: Option<&dyn Store>, rows: Vec<Row<'_>>, description: String) -> Self {
        let labels = rows.len();
        let cards: Vec<Markup> = stream::iter(rows.into_iter().take(MAX_LABELS))
            .map(async |(label, count, photos)| {
                let pictures = stream::iter(photos).map(async |(path, say)| match store {
                    Some(store) => (path, say, thumbnail(store, path, SIDE).await.ok()),
                    None => (path, say, None),
                });
                card(label, count, pictures.buffered(PHOTOS_AHEAD).collect().await)
            })
            .buffered(LABELS_AHEAD)
            .collect()
            .await;
        let page = html! {
            div style="display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 14px 24px" {
                @for card in &cards { (card) }
            }
            @if labels > MAX_LABELS { p { "and " (labels - MAX_LABELS) " more labels" } }
        };
        ContactSheet {
            html: page.into_string(),
            description,
        }
    }

    /// Photos by label and path.
    pub(crate) async fn of_chosen(store: Option<&dyn Store>, photos: Vec<(&str, &str)>) -> Self {
        let count = photos.len();
        let shown = stream::iter(photos.into_iter().take(MAX_CHOSEN)).map(async |(label, path)| {
            let picture = match store {
                Some(store) => thumbnail(store, path, CHOSEN_SIDE).await.ok(),
                None => None,
            };
            (label, path, picture)
        });
        let shown: Vec<(&str, &str, Option<String>)> = shown.buffered(LABELS_AHEAD).collect().await;
        let page = html! {
            div style="display: flex; flex-wrap: wrap; gap: 14px 16px" {
                @for (label, path, picture) in &shown {
                    figure style={ "margin: 0; width: " (CHOSEN_SIDE) "px" } {
                        (photo(picture.as_deref(), label, path, CHOSEN_SIDE))
                        figcaption style="overflow-wrap: anywhere; line-height: 1.25" { strong { (label) } br; small { (path) } }
                    }
                }
            }
            @if count > MAX_CHOSEN { p { "and " (count - MAX_CHOSEN) " more photos" } }
        };
        ContactSheet {
            html: page.into_string(),
            description: shown
                .iter()
                .map(|(label, path, _)| format!("{label}: {path}\n"))
                .collect(),
        }
    }

    pub(super) fn of(html: String, description: String) -> Self {
        ContactSheet { html, description }
    }

    /// The sheet as HTML text: one element that needs nothing else.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// What it shows, where no HTML can be shown.
    pub fn description(&self) -> &str {
        &self.description
    }
}

fn card(label: &str, count: usize, photos: Vec<(&str, String, Option<String>)>) -> Markup {
    html! {
        div {
            p style="margin: 0 0 4px; overflow-wrap: anywhere" { strong { (label) } " " small { (count) " photos" } }
            @for (path, say, picture) in &photos { (photo(picture.as_deref(), label, &format!("{path}{say}"), SIDE)) }
        }
    }
}

/// A picture of so many pixels, or an empty frame.
pub(super) fn photo(picture: Option<&str>, label: &str, title: &str, side: u32) -> Markup {
    let size =
        format!("width: {side}px; height: {side}px; margin: 0 3px 3px 0; vertical-align: middle; object-fit: contain");
    html! {
        @match picture {
            Some(picture) => img src=(picture) alt=(label) title=(title) style=(size);
            None => span title=(title) style={ (size) "; display: inline-block; border: 1px dashed" } {}
        }
    }
}
