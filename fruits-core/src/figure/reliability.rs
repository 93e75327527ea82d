//! How often a classifier is right, by how sure it is.

use plotters::prelude::*;

use super::palette::{BLUE, ORANGE};
use super::{FAINT, Figure, INK, line, px, text, tick};
use crate::error::Result;
use crate::recognise::Evaluation;

const SIZE: (u32, u32) = (520, 460);

impl Evaluation {
    /// The reliability diagram: a dot a bin of probabilities, as large as the bin has photos, at how often these are right. Dots on the diagonal are
    /// what probabilities mean.
    ///
    /// # Errors
    /// If drawing fails, which no data that an evaluation can hold make it do.
    pub fn reliability_diagram(&self) -> Result<Figure> {
        let bins = self.reliability();
        let error = 100.0 * self.calibration_error();
        let description = format!(
            "Reliability diagram of {} photos: probabilities are {error:.1} points from how often they are right, on average",
            self.tested()
        );
        let most = bins.iter().map(|bin| bin.photos).max().unwrap_or(1) as f64;
        Figure::draw(SIZE, &description, |sheet| {
            let mut chart = ChartBuilder::on(&sheet)
                .margin(px(16))
                .x_label_area_size(px(44))
                .y_label_area_size(px(58))
                .build_cartesian_2d(0.0..102.0, 0.0..105.0)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .x_desc("Probability that it says (%)")
                .y_desc("Photos that are right (%)")
                .axis_desc_style(text(17))
                .label_style(text(15))
                .x_label_formatter(&tick)
                .y_label_formatter(&tick)
                .axis_style(line(INK.mix(0.4), 1))
                .bold_line_style(line(FAINT, 1))
                .light_line_style(TRANSPARENT)
                .set_all_tick_mark_size(px(5))
                .draw()?;
            chart.draw_series(LineSeries::new([(0.0, 0.0), (100.0, 100.0)], line(INK.mix(0.4), 1)))?;
            let at = |probability: f64, accuracy: f64| (100.0 * probability, 100.0 * accuracy);
            for bin in &bins {
                let apart = [at(bin.probability, bin.probability), at(bin.probability, bin.accuracy)];
                chart.draw_series([PathElement::new(apart, line(ORANGE.mix(0.8), 2))])?;
            }
            chart.draw_series(bins.iter().map(|bin| {
                let size = 3.0 + 9.0 * (bin.photos as f64 / most).sqrt();
                Circle::new(
                    at(bin.probability, bin.accuracy),
                    px(size as i32),
                    BLUE.mix(0.85).filled(),
                )
            }))?;
            sheet.present()
        })
    }
}
