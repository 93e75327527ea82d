//! Photos along two components, coloured by label.

use std::collections::BTreeMap;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::palette::{Shape, mark};
use super::{FAINT, Figure, INK, UNITS, line, px, shown, text, tick};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;
use crate::pca::Pca;

const PLOT_WIDTH: i32 = 660;
const HEIGHT: i32 = 560;
const LEGEND_TOP: i32 = 44;
const LEGEND_ROW: i32 = 20;
const LEGEND_COLUMN: i32 = 164;
const LABEL_LENGTH: usize = 18;

impl Pca {
    /// The photos along the first two components.
    ///
    /// # Errors
    /// As [`scatter_of`](Self::scatter_of).
    pub fn scatter(&self, features: &Features) -> Result<Figure> {
        self.scatter_of(features, 1, 2)
    }

    /// The photos along any two components, counted from 1.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the PCA keeps fewer components, or the features are not of its kind.
    pub fn scatter_of(&self, features: &Features, across: usize, up: usize) -> Result<Figure> {
        let kept = self.components().nrows();
        if across.min(up) == 0 || across.max(up) > kept {
            let message = format!("components {across} and {up} of {kept}");
            return Err(Error::new(ErrorKind::Invalid, Step::Draw, "scatter", message));
        }
        let projection = self.project_features(features)?;
        let (x, y) = (projection.column(across - 1), projection.column(up - 1));
        let mut groups: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for ((label, x), y) in features.label_column().into_iter().zip(x).zip(y) {
            groups.entry(label).or_default().push((*x, *y));
        }
        let ratios = self.explained_variance_ratio();
        let axis = |component: usize| {
            format!(
                "PC{component}  ({:.1} % of the variance)",
                100.0 * ratios[component - 1]
            )
        };
        draw(&groups, features.len(), [axis(across), axis(up)])
    }
}

fn draw(groups: &BTreeMap<&str, Vec<(f64, f64)>>, n: usize, axes: [String; 2]) -> Result<Figure> {
    let rows = (HEIGHT - LEGEND_TOP - 20) / LEGEND_ROW;
    let legend_columns = groups.len().div_ceil(rows as usize).max(1) as i32;
    let size = ((PLOT_WIDTH + LEGEND_COLUMN * legend_columns) as u32, HEIGHT as u32);
    let description = format!(
        "Scatter plot of {n} photos with {} labels along {} and {}",
        groups.len(),
        axes[0],
        axes[1]
    );
    Figure::draw(size, &description, |sheet| {
        let (plot, legend) = sheet.split_horizontally(px(PLOT_WIDTH));
        let points = || groups.values().flatten();
        let mut chart = ChartBuilder::on(&plot)
            .margin(px(16))
            .x_label_area_size(px(44))
            .y_label_area_size(px(58))
            .build_cartesian_2d(range(points().map(|p| p.0)), range(points().map(|p| p.1)))?;
        chart
            .configure_mesh()
            .x_desc(&axes[0])
            .y_desc(&axes[1])
            .axis_desc_style(text(17))
            .label_style(text(15))
            .x_label_formatter(&tick)
            .y_label_formatter(&tick)
            .axis_style(line(INK.mix(0.4), 1))
            .bold_line_style(line(FAINT, 1))
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(px(5))
            .x_labels(8)
            .y_labels(8)
            .draw()?;
        let radius = if n > 2000 { 3.0 } else { 4.5 };
        for (index, points) in groups.values().enumerate() {
            for point in points {
                draw_mark(&plot, chart.backend_coord(point), index, radius)?;
            }
        }
        draw_legend(&legend, groups, rows)
    })
}

fn draw_legend<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    groups: &BTreeMap<&str, Vec<(f64, f64)>>,
    rows: i32,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    for (index, (label, points)) in groups.iter().enumerate() {
        let x = 8 + LEGEND_COLUMN * (index as i32 / rows);
        let y = LEGEND_TOP + LEGEND_ROW * (index as i32 % rows);
        draw_mark(area, (px(x), px(y)), index, 5.0)?;
        let entry = format!("{} ({})", shown(label, LABEL_LENGTH), points.len());
        area.draw(&Text::new(entry, (px(x + 12), px(y - 6)), text(15)))?;
    }
    Ok(())
}

/// Draws the mark of a label at a place in drawing units; the radius is in pixels.
fn draw_mark<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    (x, y): (i32, i32),
    index: usize,
    radius: f64,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let (colour, shape) = mark(index);
    let radius = radius * f64::from(UNITS);
    let fill = colour.mix(0.75).filled();
    match shape {
        Shape::Circle => area.draw(&Circle::new((x, y), radius.round() as i32, fill)),
        Shape::Polygon(corners) => {
            let pixels = |length: f64| (length * radius).round() as i32;
            let corners: Vec<_> = corners
                .iter()
                .map(|(dx, dy)| (x + pixels(*dx), y + pixels(*dy)))
                .collect();
            area.draw(&Polygon::new(corners, fill))
        }
    }
}

/// The extent of values with a margin of 4 %.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let margin = if high > low { 0.04 * (high - low) } else { 1.0 };
    low - margin..high + margin
}
