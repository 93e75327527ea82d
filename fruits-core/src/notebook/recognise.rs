//! How a classifier, what was measured of it, and its answers show themselves.

use futures::future::join_all;
use maud::{Markup, PreEscaped, html};

use super::table::{shown_rows, table};
use super::{PHOTO_SIDE, SIDE, emit, failures, wait};
use crate::recognise::{Answer, Answers, Classifier, Evaluation, Recognition};
use crate::store;
use crate::thumbnail::{data_uri, photos_of, thumbnail};

/// Labels that are shown of an evaluation, the worst first.
const WORST: usize = 10;
/// Pairs of labels that are shown.
const PAIRS: usize = 5;
const CARD: &str = "display: inline-block; margin: 0 8px 8px 0; text-align: center; vertical-align: top; width: 104px; overflow-wrap: anywhere";

impl Evaluation {
    /// Shows how many photos are right, and the labels that are mistaken most.
    pub fn evcxr_display(&self) {
        let shape = self.to_string();
        let worst = self.labels_table().head(Some(WORST));
        let (sheet, late) = wait(self.confusions_sheet(PAIRS));
        let page = html! {
            p { (shape) }
            (table(&worst, &[], ""))
            @if let Some(sheet) = &sheet { p { "Mistaken most:" } (PreEscaped(sheet.html())) }
            (late)
        };
        emit(page, &format!("{shape}\n{worst}"));
    }
}

impl Recognition {
    /// Shows what is recognised by chance and by group, and the labels that are mistaken most by group.
    pub fn evcxr_display(&self) {
        let worst = self.by_group().labels_table().head(Some(WORST));
        let page = html! {
            p { (self.sentence()) }
            (table(&self.table(), &[], ""))
            @if let Some(strangers) = self.strangers() { p { "Strangers: " (strangers) "." } }
            p { "Mistaken most, by group:" }
            (table(&worst, &[], ""))
        };
        emit(page, &format!("{self}\n{worst}"));
    }
}

impl Classifier {
    /// Shows what it knows, and how far it can be trusted.
    pub fn evcxr_display(&self) {
        let shape = format!(
            "{} labels, {} photos, {}",
            self.labels().len(),
            self.features().len(),
            self.model().sight()
        );
        let page = html! { p { (shape) } p { (self.sentence()) } };
        emit(page, &format!("{shape}\n{}", self.sentence()));
    }
}

impl Answers {
    /// Shows the first and the last answers with their photos, and what failed.
    pub fn evcxr_display(&self) {
        let unknown = self.all().iter().filter(|answer| answer.is_unknown).count();
        let shape = format!("{} photos, {unknown} unknown, of {}", self.all().len(), self.source());
        let rows = shown_rows(self.all().len());
        let (pictures, late) = wait(async {
            let store = photos_of(self.source()).await;
            let picture = async |row: &usize| thumbnail(store.as_deref()?, &self.all()[*row].path, SIDE).await.ok();
            join_all(rows.iter().map(picture)).await
        });
        let pictures = pictures.unwrap_or_else(|| vec![None; rows.len()]);
        let page =
            html! { p { (shape) } (table(&self.table(), &pictures, self.source())) (late) (failures(self.failures())) };
        emit(page, &format!("{shape}\n{}", self.table()));
    }
}

impl Answer {
    /// Shows the photo, what it may be, and the nearest photos.
    pub fn evcxr_display(&self) {
        let (picture, _) = wait(async {
            let (folder, _) = store::split(&self.path).ok()?;
            thumbnail(&*store::open(folder).ok()?, &self.path, PHOTO_SIDE)
                .await
                .ok()
        });
        let near = |photo: &crate::recognise::NearPhoto| -> Markup {
            html! {
                div style=(CARD) {
                    @if let Some(picture) = &photo.picture { img src=(data_uri(picture)) alt=(photo.label) title=(photo.path); br; }
                    (photo.label) br; small { (format!("cosine {:.3}", photo.similarity)) }
                }
            }
        };
        let page = html! {
            @if let Some(picture) = picture.flatten() { img src=(picture) alt=(self.path); }
            p {
                @if self.is_unknown { "I do not know this. It is most like:" }
                @else { strong { (self.headline()) } }
            }
            table { tbody { @for (label, probability) in &self.answers {
                tr { td style="text-align: left" { (label) } td { (format!("{:.1} %", 100.0 * probability)) } }
            } } }
            p { "The nearest photos:" }
            div { @for photo in &self.nearest { (near(photo)) } }
        };
        emit(page, &self.in_words());
    }
}
