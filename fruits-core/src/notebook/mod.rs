//! How values show themselves in a notebook cell: evcxr calls `evcxr_display` on the last value of a cell.

mod failure;
mod recognise;
mod table;

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use futures::future::join_all;
use maud::{Markup, PreEscaped, html};
use polars::prelude::{Column, DataFrame, PolarsError, Series};
use tokio::runtime::RuntimeFlavor;
use tokio::time::Instant;

use crate::alike::{Issues, Neighbours};
use crate::error::{Error, Failure, Result, counted, printable_lines};
use crate::extractor::Model;
use crate::features::{Features, Manifest};
use crate::figure::scree::percent;
use crate::figure::{ContactSheet, Exploration, Explorer, Figure, THRESHOLDS};
use crate::folder::{ImageFolder, Photo, Survey};
use crate::map::Map;
use crate::mobilenet::MobileNetV2;
use crate::pca::Pca;
use crate::recognise::{Answer, Answers, Classifier, Evaluation, Recogniser, Recognition};
use crate::report::Report;
use crate::store;
use crate::thumbnail::{by, photos_of, thumbnail};
pub use failure::{begin_cell, cell_failed};
use table::{matrix, shown_rows, table};

/// Photos shown of each label.
const SAMPLES: usize = 5;
/// Side of a photo in a table, in pixels.
const SIDE: u32 = 40;
/// Side of one photo that is shown by itself, in pixels.
const PHOTO_SIDE: u32 = 256;
/// Bytes of text that are printed of a value.
const PRINTED: usize = 4000;
/// Photos whose neighbours are shown, and issues of each kind.
const NEIGHBOURS: usize = 10;
const ISSUES: usize = 10;
/// Failures that are listed; more are counted.
const FAILURES: usize = 5;
/// A cell should answer at once: it does without photos that take longer, and without what is made of them if that takes longer still.
const PATIENCE: Duration = Duration::from_secs(2);
const LAST_PATIENCE: Duration = Duration::from_secs(4);

impl ImageFolder {
    /// Shows each label with some of its photos and their number.
    pub fn evcxr_display(&self) {
        let counts = self.counts();
        let shape = format!(
            "{} photos with {} labels in {}",
            self.len(),
            counts.len(),
            self.location()
        );
        let text: String = counts
            .iter()
            .map(|(label, count)| format!("{label}: {count}\n"))
            .collect();
        let (sheet, late) = wait(self.contact_sheet(SAMPLES));
        let page = html! {
            p { (shape) }
            @match &sheet {
                Some(sheet) => (PreEscaped(sheet.html())),
                None => table {
                    thead { tr { th { "label" } th { "photos" } } }
                    tbody { @for (label, count) in &counts { tr { td style="text-align: left" { (label) } td { (count) } } } }
                }
            }
            (late)
            (failures(self.failures()))
            (notes(self.survey()))
        };
        let notes = self.survey().sentences().join("\n");
        emit(page, &format!("{shape}\n{text}{notes}"));
    }
}

impl Features {
    /// Shows the first and the last rows with their photos, and what failed.
    pub fn evcxr_display(&self) {
        let failed = self.failures().len();
        let partial = if self.manifest().is_partial {
            ", not all photos"
        } else {
            ""
        };
        let source = &self.manifest().source;
        let shape = format!(
            "{} photos with features, {failed} failures{partial}, of {source}",
            self.len()
        );
        let (paths, rows) = (self.path_column(), shown_rows(self.len()));
        let pictures = async {
            let store = photos_of(source).await;
            let pictures = rows
                .iter()
                .map(async |&row| thumbnail(store.as_deref()?, paths[row], SIDE).await.ok());
            join_all(pictures).await
        };
        let (pictures, late) = wait(pictures);
        let pictures = pictures.unwrap_or_else(|| vec![None; rows.len()]);
        let page = html! { p { (shape) } (table(self.table(), &pictures, source)) (late) (failures(self.failures())) (notes(&self.manifest().survey)) };
        let notes = self.manifest().survey.sentences().join("\n");
        emit(page, &format!("{shape}\n{}\n{notes}", self.table()));
    }
}

impl Photo {
    /// Shows the photo, with its label, path and size.
    pub fn evcxr_display(&self) {
        let said = format!("{}: {}, {} bytes", self.label, self.path, self.size);
        let (picture, _) = wait(async {
            let (folder, _) = store::split(&self.path).ok()?;
            thumbnail(&*store::open(folder).ok()?, &self.path, PHOTO_SIDE)
                .await
                .ok()
        });
        let page = html! {
            @if let Some(picture) = picture.flatten() { img src=(picture) alt=(self.label); }
            p { strong { (self.label) } " " (self.path) " " small { (self.size) " bytes" } }
        };
        emit(page, &said);
    }
}

impl Manifest {
    /// Shows where the features come from and what made them.
    pub fn evcxr_display(&self) {
        let Model { decoding, .. } = self.model;
        let rows = [
            ("photos of", self.source.clone()),
            ("network", self.model.name.clone()),
            ("weights, SHA-256", self.model.weights_sha256.clone()),
            ("preprocessing", self.model.preprocessing.clone()),
            (
                "decoding",
                format!("upright: {}, draft: {}", decoding.upright, decoding.draft),
            ),
            ("photos are seen", self.model.sight()),
            ("features of a photo", self.model.features.to_string()),
            ("photos with features", self.photos.to_string()),
            ("of an earlier run", self.reused.to_string()),
            ("failures", self.failures.to_string()),
            ("files", self.parts.len().to_string()),
            (
                "all photos",
                if self.is_partial { "no, some" } else { "yes" }.to_owned(),
            ),
            ("seconds", format!("{:.1}", self.timings.elapsed)),
            ("version of fruits", self.version.clone()),
        ];
        let text: String = rows.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let left = "text-align: left; overflow-wrap: anywhere";
        let page = html! {
            table { tbody { @for (name, value) in &rows { tr { th style=(left) { (name) } td style=(left) { (value) } } } } }
            (notes(&self.survey))
        };
        emit(page, &text);
    }
}

impl Pca {
    /// Shows how many components explain how much.
    pub fn evcxr_display(&self) {
        let shape = format!(
            "{} photos, {} features, {} components",
            self.n(),
            self.mean().len(),
            self.explained_variance().len()
        );
        let rows = THRESHOLDS.map(|share| (percent(share), self.components_for(share)));
        let text: String = rows
            .iter()
            .map(|(share, k)| format!("{share} % of the variance: {k} components\n"))
            .collect();
        let page = html! {
            p { (shape) }
            table {
                thead { tr { th { "share of the variance" } th { "components" } } }
                tbody { @for (share, k) in &rows { tr { td { (share) " %" } td { (k) } } } }
            }
        };
        emit(page, &format!("{shape}\n{text}"));
    }
}

impl Neighbours {
    /// Shows the first photos, each beside its neighbours.
    pub fn evcxr_display(&self) {
        let (sheet, late) = wait(self.contact_sheet(NEIGHBOURS));
        let page = html! {
            @match &sheet { Some(sheet) => (PreEscaped(sheet.html())), None => (table(&self.table(), &[], "")) }
            (late)
        };
        emit(page, &self.table().to_string());
    }
}

impl Issues {
    /// Shows how many issues there are of each kind, and the strongest, with what speaks for them.
    pub fn evcxr_display(&self) {
        let counts = self
            .counts()
            .into_iter()
            .map(|(kind, count)| format!(", {count} {}", kind.as_str()));
        let shape = format!(
            "{} photos, {}{}",
            self.features().len(),
            self.groups(),
            counts.collect::<String>()
        );
        let (sheet, late) = wait(self.contact_sheet(ISSUES));
        let page = html! {
            p { (shape) }
            @match &sheet { Some(sheet) => (PreEscaped(sheet.html())), None => (table(&self.table(), &[], "")) }
            (late)
        };
        emit(page, &format!("{shape}\n{}", self.table()));
    }
}

impl Figure {
    /// Shows the figure.
    pub fn evcxr_display(&self) {
        emit(html! { (PreEscaped(self.svg())) }, &format!("{self:?}"));
    }
}

impl Explorer {
    /// Shows the figure, in a frame of its own.
    pub fn evcxr_display(&self) {
        emit(html! { (PreEscaped(self.frame())) }, self.description());
    }
}

impl Exploration {
    /// Shows the photos, without waiting long for those that are slow.
    pub fn evcxr_display(&self) {
        let (explorer, late) = wait(self.clone().draw());
        match explorer {
            Some(Ok(explorer)) => emit(html! { (late) (PreEscaped(explorer.frame())) }, explorer.description()),
            Some(Err(error)) => cell_failed(&error.to_string()),
            None => emit(
                html! { p { code { ".draw().await?" } " waits for all photos, and shows them." } },
                "add .draw().await?",
            ),
        }
    }
}

impl Map {
    /// Shows the map to look around in, and how far it can be believed.
    pub fn evcxr_display(&self) {
        let (explorer, late) = wait(self.explore());
        let page = html! {
            p { (self) }
            (late)
            @match &explorer {
                Some(Ok(explorer)) => (PreEscaped(explorer.frame())),
                _ => {
                    p { code { "map.explore().await?" } " waits for all photos, and shows them." }
                    (table(&self.table(), &[], ""))
                }
            }
        };
        emit(page, &format!("{self}\n{}", self.table()));
    }
}

impl ContactSheet {
    /// Shows the photos.
    pub fn evcxr_display(&self) {
        emit(html! { (PreEscaped(self.html())) }, self.description());
    }
}

/// What evcxr calls for every other value. Without it, evcxr compiles the cell a second time to print the value.
///
/// Tables and matrices show themselves as tables, errors of this crate and of polars fail the cell as `?` would, other values print themselves.
pub trait Show {
    /// Called by evcxr on the last value of a cell.
    fn evcxr_display(&self);
}

impl<T: Debug + 'static> Show for T {
    fn evcxr_display(&self) {
        let value = self as &dyn Any;
        if value.is::<()>() {
            return;
        }
        let is_shown = show_table(value)
            || show_result::<(), Error>(value, |()| {})
            || show_result::<_, PolarsError>(value, show_frame)
            || show_result::<_, PolarsError>(value, |column: &Series| show_frame(&column.clone().into_frame()))
            || show_result::<_, Error>(value, ImageFolder::evcxr_display)
            || show_result::<_, Error>(value, Features::evcxr_display)
            || show_result::<_, Error>(value, Pca::evcxr_display)
            || show_result::<_, Error>(value, Neighbours::evcxr_display)
            || show_result::<_, Error>(value, Issues::evcxr_display)
            || show_result::<_, Error>(value, Evaluation::evcxr_display)
            || show_result::<_, Error>(value, Recognition::evcxr_display)
            || show_result::<_, Error>(value, Classifier::evcxr_display)
            || show_result::<_, Error>(value, Answers::evcxr_display)
            || show_result::<_, Error>(value, Answer::evcxr_display)
            || show_result::<_, Error>(value, Figure::evcxr_display)
            || show_result::<_, Error>(value, Explorer::evcxr_display)
            || show_result::<_, Error>(value, Exploration::evcxr_display)
            || show_result::<_, Error>(value, Map::evcxr_display)
            || show_result::<_, Error>(value, Manifest::evcxr_display)
            || show_result::<_, Error>(value, ContactSheet::evcxr_display)
            || show_result::<_, Error>(value, show_frame)
            || show_result::<MobileNetV2, Error>(value, print)
            || show_result::<Recogniser, Error>(value, print)
            || show_result::<Report, Error>(value, print);
        if !is_shown {
            print(self);
        }
    }
}

impl<T: Debug + 'static> Show for [T] {
    fn evcxr_display(&self) {
        show_list(self);
    }
}

/// Photos and failures show themselves as tables, other lists print themselves.
fn show_list<T: Debug + 'static>(list: &[T]) {
    fn all<T: Debug + 'static, U: 'static>(list: &[T]) -> Option<Vec<&U>> {
        list.iter().map(|item| (item as &dyn Any).downcast_ref()).collect()
    }
    if let Some(photos) = all::<T, Photo>(list).filter(|photos| !photos.is_empty()) {
        let text = |name: &str, of: fn(&Photo) -> &str| {
            Column::new(name.into(), photos.iter().map(|photo| of(photo)).collect::<Vec<_>>())
        };
        let size = Column::new("size".into(), photos.iter().map(|photo| photo.size).collect::<Vec<_>>());
        let columns = vec![
            text("key", |photo| &photo.key),
            text("label", |photo| &photo.label),
            size,
        ];
        show_frame(&DataFrame::new_infer_height(columns).expect("three columns of one length"));
    } else if let Some(found) = all::<T, Failure>(list).filter(|found| !found.is_empty()) {
        let found: Vec<Failure> = found.into_iter().cloned().collect();
        emit(failures(&found), &format!("{found:?}"));
    } else {
        print(&list);
    }
}

/// Prints a value as Rust's `{:?}` does; of one that is very long its beginning and its end.
fn print(value: &impl Debug) {
    let text = format!("{value:?}").replace("EVCXR_", "EVCXR-"); // as in `emit`
    if text.len() <= PRINTED {
        return println!("{text}");
    }
    let (head, tail) = (
        text.floor_char_boundary(PRINTED / 2),
        text.ceil_char_boundary(text.len() - PRINTED / 4),
    );
    println!(
        "{} … {}\n({} characters in all)",
        &text[..head],
        &text[tail..],
        text.chars().count()
    );
}

fn show_table(value: &dyn Any) -> bool {
    if let Some(frame) = value.downcast_ref::<DataFrame>() {
        show_frame(frame);
    } else if let Some(series) = value.downcast_ref::<Series>() {
        show_frame(&series.clone().into_frame());
    } else if let Some(column) = value.downcast_ref::<Column>() {
        show_frame(&column.clone().into_frame());
    } else if let Some(texts) = value.downcast_ref::<Vec<String>>() {
        show_frame(&Column::new("".into(), texts).into_frame());
    } else if let Some(photos) = value.downcast_ref::<Vec<Photo>>() {
        show_list(photos);
    } else if let Some(page) = matrix(value) {
        emit(page.0, &page.1);
    } else {
        return false;
    }
    true
}

fn show_frame(frame: &DataFrame) {
    emit(table(frame, &[], ""), &frame.to_string());
}

/// Shows the value of a result of this type, or its error.
fn show_result<T: 'static, E: std::fmt::Display + 'static>(value: &dyn Any, show: impl FnOnce(&T)) -> bool {
    match value.downcast_ref::<Result<T, E>>() {
        Some(Ok(value)) => show(value),
        Some(Err(error)) => cell_failed(&error.to_string()),
        None => return false,
    }
    true
}

fn failures(failures: &[Failure]) -> Markup {
    html! {
        @if !failures.is_empty() {
            table {
                thead { tr { @for name in ["failed", "step", "why"] { th style="text-align: left" { (name) } } } }
                tbody {
                    @for Failure { path, step, message } in failures.iter().take(FAILURES) {
                        tr { @for value in [path, step, message] { td style="text-align: left" { (value) } } }
                    }
                }
            }
            @if failures.len() > FAILURES { p { "and " (failures.len() - FAILURES) " more failures" } }
        }
    }
}

/// What people should know of a folder.
fn notes(survey: &Survey) -> Markup {
    html! { @for sentence in survey.sentences() { p { (sentence) } } }
}

/// Waits for a future where no `await` is possible, in a cell that may itself be awaited; nothing if that takes too long. And what to say of
/// photos that came too late.
fn wait<T>(work: impl Future<Output = T>) -> (Option<T>, Markup) {
    let begun = Instant::now();
    let work = async {
        tokio::time::timeout(LAST_PATIENCE, by(begun + PATIENCE, work))
            .await
            .ok()
    };
    let done = match tokio::runtime::Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::CurrentThread => None,
        Ok(handle) => tokio::task::block_in_place(|| handle.block_on(work)),
        Err(_) => tokio::runtime::Runtime::new().ok().and_then(|runtime| {
            let done = runtime.block_on(work);
            runtime.shutdown_background();
            done
        }),
    };
    let (done, late) = done.map_or((None, 0), |(done, late)| (Some(done), late));
    let said = html! { @if late > 0 { p { (counted(late, "photo")) " came too late to be shown here." } } };
    (done, said)
}

/// One block a MIME type, as evcxr takes them from standard output.
fn emit(page: Markup, text: &str) {
    for (mime, content) in [("text/html", page.into_string().as_str()), ("text/plain", text)] {
        // A name from outside must not be able to end the block and begin one of its own.
        let content = printable_lines(content).replace("EVCXR_", "EVCXR-");
        println!("EVCXR_BEGIN_CONTENT {mime}\n{content}\nEVCXR_END_CONTENT");
    }
}
