//! Tables as polars prints them: shape, names, types, first and last rows.

use maud::{Markup, html};
use polars::prelude::{AnyValue, DataFrame, DataType};

/// Rows of a table's beginning, and of its end.
const ROWS: usize = 5;
/// Numbers shown of a list.
const NUMBERS: usize = 3;

/// The rows of a table of this height that are shown: its beginning and its end.
pub(super) fn shown_rows(height: usize) -> Vec<usize> {
    let tail = height.saturating_sub(ROWS).max(ROWS.min(height));
    (0..height.min(ROWS)).chain(tail..height).collect()
}

/// The table, with `pictures` (as many as rows are shown) in a column of their own if there are any.
pub(super) fn table(frame: &DataFrame, pictures: &[Option<String>]) -> Markup {
    let height = frame.height();
    let rows = shown_rows(height);
    let columns = frame.width() + usize::from(!pictures.is_empty());
    html! {
        p { "shape: (" (height) ", " (frame.width()) ")" }
        table {
            thead {
                tr {
                    @if !pictures.is_empty() { th {} }
                    @for column in frame.columns() { th style=(alignment(column.dtype())) { (column.name()) br; small { (column.dtype()) } } }
                }
            }
            tbody {
                @for (i, &row) in rows.iter().enumerate() {
                    @if i > 0 && rows[i - 1] + 1 < row { tr { @for _ in 0..columns { td { "…" } } } }
                    tr {
                        @if let Some(picture) = pictures.get(i) {
                            td { @if let Some(picture) = picture { img src=(picture) alt="photo" style="margin: 0"; } }
                        }
                        @for column in frame.columns() {
                            td style=(alignment(column.dtype())) { (cell(column.dtype(), column.get(row).unwrap_or(AnyValue::Null))) }
                        }
                    }
                }
            }
        }
    }
}

/// Text begins at the left, numbers end at the right, whatever the page does with cells.
fn alignment(dtype: &DataType) -> &'static str {
    match dtype.is_numeric() || dtype.is_temporal() {
        true => "text-align: right",
        false => "text-align: left",
    }
}

fn cell(dtype: &DataType, value: AnyValue) -> Markup {
    match (dtype, value) {
        (DataType::List(_), AnyValue::List(list)) => {
            let numbers: Vec<String> = list
                .iter()
                .take(NUMBERS)
                .map(|value| value.str_value().into_owned())
                .collect();
            let more = if list.len() > NUMBERS { ", …" } else { "" };
            html! { "[" (numbers.join(", ")) (more) "] " small { (list.len()) } }
        }
        (_, value) => html! { (value.str_value()) },
    }
}
