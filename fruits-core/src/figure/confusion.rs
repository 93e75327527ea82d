//! Labels that are mistaken for each other, with photos.

use futures::stream::{self, StreamExt};
use maud::{Markup, html};

use super::ContactSheet;
use super::alike::{ROW, ROWS_AHEAD, WORDS, pictures};
use crate::error::counted;
use crate::recognise::{Confusion, Evaluation};
use crate::thumbnail::photos_of;

/// Side of a photo, in pixels.
const SIDE: u32 = 64;
/// Photos shown of each label.
const PHOTOS: usize = 4;

impl Evaluation {
    /// The pairs of labels that are mistaken most, the most frequent first: photos that were mistaken, and photos of what they were taken for.
    /// Photos that are gone leave an empty frame.
    pub async fn confusions_sheet(&self, pairs: usize) -> ContactSheet {
        let (features, all) = (self.features(), self.confusions());
        let store = photos_of(&features.manifest().source).await;
        let (paths, by_label) = (features.path_column(), features.by_label());
        let card = async |confusion: &Confusion| {
            let spread = |rows: &[usize]| -> Vec<usize> {
                let shown = crate::folder::spread(rows.len(), PHOTOS).into_iter();
                shown.map(|at| rows[at]).collect()
            };
            let shown = async |rows: Vec<usize>, label: &str| {
                let paths = rows.into_iter().map(|row| paths[row]);
                pictures(store.as_deref(), paths, SIDE, label).await
            };
            let taken_for = by_label
                .get(confusion.taken_for.as_str())
                .map_or(&[][..], Vec::as_slice);
            let mistaken = shown(spread(&confusion.rows), &confusion.label).await;
            let others = shown(spread(taken_for), &confusion.taken_for).await;
            html! {
                div style=(ROW) {
                    div { (mistaken) }
                    div style=(WORDS) {
                        strong { (confusion.label) } " → " strong { (confusion.taken_for) } br;
                        small { (counted(confusion.rows.len(), "photo")) " of " (confusion.photos) }
                    }
                    div { (others) }
                }
            }
        };
        let cards: Vec<Markup> = stream::iter(all.iter().take(pairs))
            .map(card)
            .buffered(ROWS_AHEAD)
            .collect()
            .await;
        let more = all.len() - cards.len();
        let page = html! { div {
            @for card in &cards { (card) }
            @if cards.is_empty() { p { "Nothing was mistaken." } }
            @if more > 0 { p { "and " (counted(more, "more pair")) } }
        } };
        ContactSheet::of(
            page.into_string(),
            format!("{} of labels that are mistaken", counted(all.len(), "pair")),
        )
    }
}
