//! How much of the variance each component explains.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::{BLUE, ORANGE};
use super::{FAINT, Figure, INK, line, px, text, tick};
use crate::error::Result;
use crate::pca::Pca;

const SIZE: (u32, u32) = (900, 480);

/// Shares of the variance that the figure and the reports mark.
pub const THRESHOLDS: [f64; 4] = [0.90, 0.95, 0.99, 0.9999];

impl Pca {
    /// The scree plot: a bar a component, the running sum as a line, and marks at 90, 95, 99 and 99.99 % of the variance.
    ///
    /// # Errors
    /// If drawing fails, which no data that a PCA can hold make it do.
    pub fn scree(&self) -> Result<Figure> {
        let ratios: Vec<f64> = self
            .explained_variance_ratio()
            .iter()
            .map(|ratio| 100.0 * ratio)
            .collect();
        let cumulative: Vec<f64> = self.cumulative_ratio().iter().map(|sum| 100.0 * sum).collect();
        let marks = THRESHOLDS.map(|share| (share, self.components_for(share)));
        let count = ratios.len();
        let description = format!(
            "Scree plot of {count} components: the first explains {:.1} % of the variance; {}",
            ratios[0],
            marks
                .map(|(share, k)| format!("{k} explain {} %", percent(share)))
                .join(", "),
        );
        Figure::draw(SIZE, &description, |sheet| {
            let end = count as f64 + 0.5;
            let mut chart = ChartBuilder::on(&sheet)
                .margin(px(16))
                .x_label_area_size(px(44))
                .y_label_area_size(px(58))
                .right_y_label_area_size(px(58))
                .build_cartesian_2d(0.5..end, 0.0..ratios[0] * 1.1)?
                .set_secondary_coord(0.5..end, 0.0..110.0);
            chart
                .configure_mesh()
                .disable_x_mesh()
                .x_desc("Component")
                .y_desc("Explained variance (%)")
                .axis_desc_style(text(17))
                .label_style(text(15))
                .x_label_formatter(&tick)
                .y_label_formatter(&tick)
                .axis_style(line(INK.mix(0.4), 1))
                .bold_line_style(line(FAINT, 1))
                .light_line_style(TRANSPARENT)
                .set_all_tick_mark_size(px(5))
                .draw()?;
            chart
                .configure_secondary_axes()
                .y_desc("Cumulative (%)")
                .y_label_formatter(&|y| if *y > 100.0 { String::new() } else { tick(y) })
                .axis_desc_style(text(17))
                .label_style(text(15))
                .axis_style(line(INK.mix(0.4), 1))
                .set_all_tick_mark_size(px(5))
                .draw()?;
            let half = if count > 60 { 0.5 } else { 0.4 };
            chart.draw_series(ratios.iter().enumerate().map(|(i, ratio)| {
                let x = (i + 1) as f64;
                Rectangle::new([(x - half, 0.0), (x + half, *ratio)], BLUE.mix(0.85).filled())
            }))?;
            for (_, k) in marks {
                let foot = [(k as f64, 0.0), (k as f64, cumulative[k - 1])];
                chart.draw_secondary_series([PathElement::new(foot, line(ORANGE.mix(0.45), 1))])?;
                let dot = Circle::new((k as f64, cumulative[k - 1]), px(4), ORANGE.filled());
                chart.draw_secondary_series([dot])?;
            }
            let sums = cumulative.iter().enumerate().map(|(i, sum)| ((i + 1) as f64, *sum));
            chart.draw_secondary_series(LineSeries::new(sums, line(ORANGE, 2)))?;
            for (row, (share, k)) in marks.into_iter().enumerate() {
                // The text stands on the side of the mark that has room, a row lower for each mark.
                let (side, offset) = if k as f64 > 0.7 * end {
                    (HPos::Right, -6)
                } else {
                    (HPos::Left, 6)
                };
                let style = text(16).pos(Pos::new(side, VPos::Center));
                let entry = format!("{} % with {k}", percent(share));
                let at = (k as f64, 74.0 - 11.0 * row as f64);
                chart.draw_secondary_series([EmptyElement::at(at) + Text::new(entry, (px(offset), 0), style)])?;
            }
            sheet.present()
        })
    }
}

/// `90`, `99.99`: a share as a percentage without needless digits.
pub(crate) fn percent(share: f64) -> String {
    let rounded = format!("{:.2}", 100.0 * share);
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}
