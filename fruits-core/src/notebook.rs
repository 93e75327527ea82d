//! How values show themselves in a notebook cell: evcxr calls `evcxr_display` on the last value of a cell.

use maud::{Markup, PreEscaped, html};
use polars::prelude::{DataFrame, DataType};

use crate::error::Result;
use crate::features::Features;
use crate::figure::scree::percent;
use crate::figure::{Explorer, Figure, THRESHOLDS};
use crate::folder::ImageFolder;
use crate::pca::Pca;

/// Rows of a table's beginning, and of its end.
const ROWS: usize = 5;
/// Numbers shown of a list.
const NUMBERS: usize = 3;

impl ImageFolder {
    /// Shows the number of photos of each label.
    pub fn evcxr_display(&self) {
        let counts = self.counts();
        let shape = format!(
            "{} photos with {} labels in {}",
            self.len(),
            counts.len(),
            self.location()
        );
        let text = counts
            .iter()
            .map(|(label, count)| format!("{label}: {count}\n"))
            .collect::<String>();
        let table = html! {
            p { (shape) }
            table {
                thead { tr { th { "label" } th { "photos" } } }
                tbody { @for (label, count) in &counts { tr { td { (label) } td { (count) } } } }
            }
        };
        emit(table, &format!("{shape}\n{text}"));
    }
}

impl Features {
    /// Shows the first and the last rows, and how many photos failed.
    pub fn evcxr_display(&self) {
        let shape = format!(
            "{} photos with features, {} failures",
            self.len(),
            self.failures().len()
        );
        emit(
            html! { p { (shape) } (table(self.table())) },
            &format!("{shape}\n{}", self.table()),
        );
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
        let text = rows
            .iter()
            .map(|(share, k)| format!("{share} % of the variance: {k} components\n"))
            .collect::<String>();
        let table = html! {
            p { (shape) }
            table {
                thead { tr { th { "share of the variance" } th { "components" } } }
                tbody { @for (share, k) in &rows { tr { td { (share) " %" } td { (k) } } } }
            }
        };
        emit(table, &format!("{shape}\n{text}"));
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

/// Shows a value, or fails the cell with its error: what a cell that ends in a `Result` would need `?` for.
pub trait Show {
    /// Called by evcxr on the last value of a cell.
    fn evcxr_display(&self);
}

impl Show for DataFrame {
    fn evcxr_display(&self) {
        emit(table(self), &self.to_string());
    }
}

impl Show for Result<Figure> {
    fn evcxr_display(&self) {
        match self {
            Ok(figure) => figure.evcxr_display(),
            Err(error) => eprintln!("{error}"),
        }
    }
}

/// One block a MIME type, as evcxr takes them from standard output.
fn emit(page: Markup, text: &str) {
    for (mime, content) in [("text/html", page.into_string().as_str()), ("text/plain", text)] {
        // A name from outside must not be able to end the block and begin one of its own.
        let content = content.replace("EVCXR_", "EVCXR-");
        println!("EVCXR_BEGIN_CONTENT {mime}\n{content}\nEVCXR_END_CONTENT");
    }
}

/// A table as polars prints it: shape, names, types, first and last rows.
fn table(frame: &DataFrame) -> Markup {
    let height = frame.height();
    let tail = height.saturating_sub(ROWS).max(ROWS.min(height));
    html! {
        p { "shape: (" (height) ", " (frame.width()) ")" }
        table {
            thead {
                tr { @for column in frame.columns() { th { (column.name()) br; small { (column.dtype()) } } } }
            }
            tbody {
                @for row in 0..height.min(ROWS) { (table_row(frame, row)) }
                @if tail > ROWS { tr { @for _ in frame.columns() { td { "…" } } } }
                @for row in tail..height { (table_row(frame, row)) }
            }
        }
    }
}

fn table_row(frame: &DataFrame, row: usize) -> Markup {
    html! {
        tr {
            @for column in frame.columns() {
                td {
                    @match (column.dtype(), column.get(row)) {
                        (DataType::List(_), Ok(polars::prelude::AnyValue::List(list))) => {
                            "[" @for i in 0..list.len().min(NUMBERS) { (list.get(i).map_or(String::new(), |v| v.to_string())) ", " } "… " (list.len()) "]"
                        }
                        (_, Ok(value)) => (value.str_value()),
                        (_, Err(_)) => "",
                    }
                }
            }
        }
    }
}
