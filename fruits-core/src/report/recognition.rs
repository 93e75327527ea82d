//! The pages about how well fruit is recognised.

use maud::{Markup, PreEscaped, html};
use polars::prelude::DataFrame;

use super::{Report, tile};
use crate::error::Result;
use crate::recognise::{Evaluation, Recognition};

/// Pairs of labels that are shown; more are counted.
const PAIRS: usize = 30;

impl Report {
    /// A page about how far a classifier can be trusted: right by chance and by group, whether it is as sure as it may be, what it mistakes.
    ///
    /// # Errors
    /// If a figure cannot be drawn.
    pub async fn of_recognition(recognition: &Recognition) -> Result<Self> {
        let (by_chance, by_group) = (recognition.by_chance(), recognition.by_group());
        let features = by_group.features();
        let (covered, plausible) = by_group.plausible();
        let how = format!(
            "Scores are divided by the temperature that fits best, {:.2}; here, each half of the groups by that of the other half. Before, \
             probabilities were {} from how often they were right. Of {} of the photos, the label is among those that are plausible, {plausible:.2} on \
             average. ",
            by_group.temperature(),
            share(by_group.calibration_error()),
            share(covered),
        );
        let body = html! {
            section.tiles {
                (tile(&features.len().to_string(), "photos"))
                (tile(&features.by_label().len().to_string(), "labels"))
                (tile(&share(by_chance.accuracy()), "right, by chance"))
                (tile(&share(by_group.accuracy()), "right, by group"))
            }
            section {
                h2 { "How often is it right?" }
                p { (recognition.sentence()) }
                (measured(&[("by chance", by_chance), ("by group", by_group)]))
            }
            (evaluated(&by_group.calibrated(), &how).await?)
            @if let Some(strangers) = recognition.strangers() { section {
                h2 { "What it does not know" }
                p.note {
                    "Each label was left out of the training once: " (strangers) ". The others pass for a label that it knows; below, those that pass most."
                }
                (passing(&strangers.table()))
            } }
        };
        Ok(Self::page(features, "How well fruit is recognised", body))
    }

    /// A page about what a classifier said of photos that it was not trained with.
    ///
    /// # Errors
    /// If a figure cannot be drawn.
    pub async fn of_evaluation(evaluation: &Evaluation) -> Result<Self> {
        let features = evaluation.features();
        let body = html! {
            section.tiles {
                (tile(&evaluation.tested().to_string(), "photos tested"))
                (tile(&share(evaluation.accuracy()), "right"))
            }
            section { h2 { "How often is it right?" } (measured(&[("these photos", evaluation)])) }
            (evaluated(evaluation, "").await?)
        };
        Ok(Self::page(features, "How well fruit is recognised", body))
    }
}

fn share(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// How often evaluations were right.
fn measured(evaluations: &[(&str, &Evaluation)]) -> Markup {
    html! {
        table {
            thead { tr {
                th { "Photos are split" } th.number { "Photos" } th.number { "Right" } th.number { "95\u{a0}% interval" }
                th.number { "Among the first five" } th.number { "Macro F1" }
            } }
            tbody { @for (name, evaluation) in evaluations {
                @let (low, high) = evaluation.interval();
                tr {
                    td { (name) } td.number { (evaluation.tested()) } td.number { (share(evaluation.accuracy())) }
                    td.number { (share(low)) " to " (share(high)) } td.number { (share(evaluation.top(5))) }
                    td.number { (format!("{:.3}", evaluation.macro_f1())) }
                }
            } }
        }
        @for (_, evaluation) in evaluations {
            @if let [label, more @ ..] = evaluation.splits().optimistic() {
                p.note { "One group only: " (label) @for label in more { ", " (label) } ". What is measured of these labels is too good." }
            }
        }
    }
}

/// How sure a classifier is, what it mistakes, and how well it knows each label.
async fn evaluated(evaluation: &Evaluation, how: &str) -> Result<Markup> {
    let (diagram, sheet) = (
        evaluation.reliability_diagram()?,
        evaluation.confusions_sheet(PAIRS).await,
    );
    Ok(html! {
        section {
            h2 { "Is it as sure as it may be?" }
            p.note {
                (how) "Probabilities are " (share(evaluation.calibration_error())) " from how often they are right, on average. "
                "A dot is as large as its number of photos; on the line, 80\u{a0}% means 80\u{a0}%."
            }
            figure { (PreEscaped(diagram.svg())) }
        }
        section {
            h2 { "What is mistaken" }
            p.note { "At the left photos that were mistaken, at the right photos of what they were taken for." }
            (PreEscaped(sheet.html()))
        }
        section {
            h2 { "Labels, the worst first" }
            (labels(&evaluation.labels_table()))
        }
    })
}

fn text(table: &DataFrame, name: &str, row: usize) -> String {
    let column = table.column(name).ok().and_then(|column| column.str().ok());
    column.and_then(|column| column.get(row)).unwrap_or_default().to_owned()
}

fn count(table: &DataFrame, name: &str, row: usize) -> u32 {
    let column = table.column(name).ok().and_then(|column| column.u32().ok());
    column.and_then(|column| column.get(row)).unwrap_or_default()
}

fn number(table: &DataFrame, name: &str, row: usize) -> String {
    let column = table.column(name).ok().and_then(|column| column.f64().ok());
    format!("{:.2}", column.and_then(|column| column.get(row)).unwrap_or_default())
}

fn labels(table: &DataFrame) -> Markup {
    html! {
        table {
            thead { tr {
                th { "Label" } th.number { "Photos" } th.number { "Right" } th.number { "Recall" } th.number { "Precision" } th.number { "F1" }
                th { "Mostly taken for" }
            } }
            tbody { @for row in 0..table.height() { tr {
                td { (text(table, "label", row)) }
                @for name in ["photos", "right"] { td.number { (count(table, name, row)) } }
                @for name in ["recall", "precision", "f1"] { td.number { (number(table, name, row)) } }
                td { (text(table, "taken_for", row)) }
            } } }
        }
    }
}

/// Labels that were left out, and what they were called.
fn passing(table: &DataFrame) -> Markup {
    html! {
        table {
            thead { tr { th { "Label" } th.number { "Photos" } th.number { "Unknown" } th { "Mostly called" } } }
            tbody { @for row in 0..table.height().min(PAIRS) { tr {
                td { (text(table, "label", row)) }
                @for name in ["photos", "refused"] { td.number { (count(table, name, row)) } }
                td { (text(table, "called", row)) }
            } } }
        }
        @if table.height() > PAIRS { p.note { "and " (table.height() - PAIRS) " more" } }
    }
}
