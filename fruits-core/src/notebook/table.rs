//! Tables as polars prints them: shape, names, types, first and last rows.

use std::any::Any;

use maud::{Markup, PreEscaped, html};
use ndarray::{Array1, Array2};
use polars::prelude::{AnyValue, Column, DataFrame, DataType};
use serde_json::json;

/// Rows of a table's beginning, and of its end.
const ROWS: usize = 5;
/// Rows of a table that is sorted and searched in the browser, and bytes that it may take: of larger ones, beginning and end are shown.
const MAX_ROWS: usize = 10_000;
const MAX_BYTES: usize = 4 << 20;
/// What does that, where scripts of notebooks are trusted.
const SCRIPT: &str = include_str!("table.js");
const STYLE: &str = include_str!("table.css");
/// Numbers shown of a list.
const NUMBERS: usize = 3;

/// The rows of a table of this height that are shown: its beginning and its end.
pub(super) fn shown_rows(height: usize) -> Vec<usize> {
    let tail = height.saturating_sub(ROWS).max(ROWS.min(height));
    (0..height.min(ROWS)).chain(tail..height).collect()
}

/// The table, with `pictures` (as many as rows are shown) in a column of their own if there are any. Texts are whole, since people filter by what
/// they see; what many of them begin with, `source`, is faint. One with more rows than are shown can be sorted, searched and paged through.
pub(super) fn table(frame: &DataFrame, pictures: &[Option<String>], source: &str) -> Markup {
    let height = frame.height();
    let rows = shown_rows(height);
    let columns = frame.width() + usize::from(!pictures.is_empty());
    let page = html! {
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
                    tr data-row=(row) {
                        @if let Some(picture) = pictures.get(i) {
                            td { @if let Some(picture) = picture { img src=(picture) alt="photo" style="margin: 0"; } }
                        }
                        @for column in frame.columns() {
                            td style=(alignment(column.dtype())) { (cell(column, row, source)) }
                        }
                    }
                }
            }
        }
    };
    match all_rows(frame, source).filter(|_| rows.len() < height) {
        Some(data) => html! {
            div.fruits-table {
                (page)
                style { (PreEscaped(STYLE)) }
                script type="application/json" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        },
        None => page,
    }
}

/// All that is in a table, for the script; nothing if that is too much.
fn all_rows(frame: &DataFrame, source: &str) -> Option<String> {
    let height = frame.height();
    if height > MAX_ROWS || frame.width() == 0 {
        return None;
    }
    let columns = frame.columns().iter().map(|column| {
        let values: Vec<String> = (0..height).map(|row| text(column, row)).collect();
        json!({ "isNumber": column.dtype().is_numeric(), "values": values })
    });
    let data = json!({ "source": source, "columns": columns.collect::<Vec<_>>() });
    // Within a script element, only `<` could end it.
    let data = data.to_string().replace('<', "\\u003c");
    (data.len() <= MAX_BYTES).then_some(data)
}

/// Text begins at the left, numbers end at the right, whatever the page does with cells.
fn alignment(dtype: &DataType) -> &'static str {
    match dtype.is_numeric() || dtype.is_temporal() {
        true => "text-align: right",
        false => "text-align: left",
    }
}

/// A matrix or a vector of numbers, as a page and as text: its shape, and its corners.
pub(super) fn matrix(value: &dyn Any) -> Option<(Markup, String)> {
    if let Some(matrix) = value.downcast_ref::<Array2<f32>>() {
        return Some(corners(matrix.dim(), false, "f32", |row, column| {
            matrix[(row, column)].into()
        }));
    }
    if let Some(matrix) = value.downcast_ref::<Array2<f64>>() {
        return Some(corners(matrix.dim(), false, "f64", |row, column| matrix[(row, column)]));
    }
    if let Some(vector) = value.downcast_ref::<Array1<f32>>() {
        return Some(corners((1, vector.len()), true, "f32", |_, column| {
            vector[column].into()
        }));
    }
    let vector = value.downcast_ref::<Array1<f64>>()?;
    Some(corners((1, vector.len()), true, "f64", |_, column| vector[column]))
}

fn corners(
    (height, width): (usize, usize),
    is_vector: bool,
    dtype: &str,
    number: impl Fn(usize, usize) -> f64,
) -> (Markup, String) {
    let (rows, columns) = (shown_rows(height), shown_rows(width));
    // A gap before what does not follow on the one before.
    let with_gaps = |shown: &[usize]| {
        let gap = |(i, index): (usize, &usize)| (i > 0 && shown[i - 1] + 1 < *index, *index);
        shown.iter().enumerate().map(gap).collect::<Vec<_>>()
    };
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (is_gap, row) in with_gaps(&rows) {
        let mut line = Vec::new();
        for (is_gap, column) in with_gaps(&columns) {
            line.extend(is_gap.then(|| "…".to_owned()));
            line.push(short(number(row, column)));
        }
        lines.extend(is_gap.then(|| vec!["…".to_owned(); line.len()]));
        lines.push(line);
    }
    let shape = if is_vector {
        format!("{width} numbers ({dtype})")
    } else {
        format!("shape: ({height}, {width}) ({dtype})")
    };
    let text: String = lines.iter().map(|line| line.join("  ") + "\n").collect();
    let page = html! {
        p { (shape) }
        table { tbody { @for line in &lines { tr { @for number in line { td style="text-align: right" { (number) } } } } } }
    };
    (page, format!("{shape}\n{text}"))
}

/// A number as a table has room for.
fn short(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if (1e-4..1e6).contains(&size) => format!("{number:.5}"),
        size if size.is_finite() => format!("{number:.3e}"),
        _ => number.to_string(),
    }
}

fn cell(column: &Column, row: usize, source: &str) -> Markup {
    let text = text(column, row);
    match text.strip_prefix(source).filter(|_| !source.is_empty()) {
        Some(rest) => html! { span style="opacity: 0.7" { (source) } (rest) },
        None => html! { (text) },
    }
}

/// What is shown of a value: of a list, its first numbers and how many there are.
fn text(column: &Column, row: usize) -> String {
    match column.get(row).unwrap_or(AnyValue::Null) {
        AnyValue::List(list) => {
            let numbers: Vec<String> = list
                .iter()
                .take(NUMBERS)
                .map(|value| value.str_value().into_owned())
                .collect();
            let more = if list.len() > NUMBERS { ", …" } else { "" };
            format!("[{}{more}] {}", numbers.join(", "), list.len())
        }
        value => value.str_value().into_owned(),
    }
}
