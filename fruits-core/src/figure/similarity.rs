//! How alike labels are to the network.

use ndarray::{Array1, Array2, Axis};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::{BLUE, ORANGE};
use super::{Figure, px, shown, text};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;

/// Labels that are shown: those with the most photos.
const MAX_LABELS: usize = 60;
/// Up to so many labels, numbers are written into the cells.
const MAX_NUMBERED: usize = 16;
/// Side of the square of cells in pixels.
const SIDE: i32 = 560;
const MARGIN: i32 = 130;
const LABEL_LENGTH: usize = 16;

impl Features {
    /// The cosine similarity between the mean features of each two labels, `labels x labels`, in the order of the labels' names.
    ///
    /// The mean of all labels' means is subtracted first: features are never negative, so without that all labels would look alike. Two
    /// labels alone are opposites then.
    pub fn similarity(&self) -> (Vec<&str>, Array2<f64>) {
        let directions = self.label_directions();
        let similarity = directions.dot(&directions.t());
        (self.by_label().into_keys().collect(), similarity)
    }

    /// Where the mean of each label lies from the mean of all labels' means, as vectors of length one: `labels x 1280`.
    fn label_directions(&self) -> Array2<f64> {
        let by_label = self.by_label();
        let mut means = Array2::zeros((by_label.len(), self.matrix().ncols()));
        for (mut mean, photos) in means.rows_mut().into_iter().zip(by_label.values()) {
            for &photo in photos {
                mean += &self.matrix().row(photo).mapv(f64::from);
            }
            mean /= photos.len() as f64;
        }
        if let Some(centre) = means.mean_axis(Axis(0)) {
            means -= &centre;
        }
        let lengths: Array1<f64> = means.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
        let largest = lengths.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (mut row, length) in means.rows_mut().into_iter().zip(&lengths) {
            // A label in the centre, but for rounding, is like none.
            row *= if *length > 1e-9 * largest { length.recip() } else { 0.0 };
        }
        means
    }

    /// A heat map of the [similarity](Self::similarity) of labels: which fruits does the network find alike? Of more than 60 labels, those
    /// with the most photos.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no photo.
    pub fn similarity_map(&self) -> Result<Figure> {
        let by_label = self.by_label();
        let labels: Vec<&str> = by_label.keys().copied().collect();
        if labels.is_empty() {
            let message = "there is no photo";
            return Err(Error::new(ErrorKind::Invalid, Step::Draw, "similarity map", message));
        }
        let mut chosen: Vec<usize> = (0..labels.len()).collect();
        chosen.sort_by_key(|&label| std::cmp::Reverse(by_label[labels[label]].len()));
        chosen.truncate(MAX_LABELS);
        chosen.sort_unstable();
        let directions = self.label_directions().select(Axis(0), &chosen);
        let similarity = directions.dot(&directions.t());
        let description = format!(
            "Heat map of the similarity of {} labels, from -1 (blue) to 1 (orange)",
            chosen.len()
        );
        let count = chosen.len() as i32;
        let cell = (SIDE / count).max(1);
        let size = (cell * count + MARGIN + 16) as u32;
        Figure::draw((size, size), &description, |sheet| {
            let letters = cell.clamp(9, 13);
            let right = text(letters).pos(Pos::new(HPos::Right, VPos::Center));
            let upwards = text(letters)
                .transform(FontTransform::Rotate270)
                .pos(Pos::new(HPos::Left, VPos::Center));
            for (i, &label) in chosen.iter().enumerate() {
                let from = |i: i32| px(MARGIN + i * cell);
                let (row, i, middle) = (similarity.row(i), i as i32, px(cell) / 2);
                let name = shown(labels[label], LABEL_LENGTH);
                sheet.draw_text(&name, &right, (px(MARGIN - 6), from(i) + middle))?;
                sheet.draw_text(&name, &upwards, (from(i) + middle, px(MARGIN - 6)))?;
                for (j, &value) in row.iter().enumerate() {
                    let j = j as i32;
                    let corners = [(from(j), from(i)), (from(j + 1), from(i + 1))];
                    sheet.draw(&Rectangle::new(corners, shade(value).filled()))?;
                    if chosen.len() <= MAX_NUMBERED {
                        let ink = if value < DARK { &WHITE } else { &ON_CELLS };
                        let number = text(12).color(ink).pos(Pos::new(HPos::Center, VPos::Center));
                        sheet.draw_text(&format!("{value:.2}"), &number, (from(j) + middle, from(i) + middle))?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// Ink for numbers on cells, which are the same in every theme, and the value below which they are so dark that it is white.
const ON_CELLS: RGBColor = RGBColor(0x10, 0x14, 0x18);
const DARK: f64 = -0.85;

/// White at 0, orange towards 1, blue towards -1.
fn shade(value: f64) -> RGBColor {
    let towards = if value < 0.0 { BLUE } else { ORANGE };
    let strength = value.abs().min(1.0);
    let mix = |end: u8| (255.0 + (f64::from(end) - 255.0) * strength).round() as u8;
    RGBColor(mix(towards.0), mix(towards.1), mix(towards.2))
}
