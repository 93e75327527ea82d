//! Figures: data in, SVG or HTML out.

mod alike;
mod confusion;
mod contact;
mod diffusion;
mod explorer;
mod palette;
mod reliability;
mod scatter;
pub(crate) mod scree;
mod similarity;

use std::fmt;

use plotters::prelude::*;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::store;
pub use contact::ContactSheet;
pub use explorer::{Exploration, Explorer};
pub use scree::THRESHOLDS;

/// How what has the class `fruits-figure` follows the theme of the page that it is in: JupyterLab's, which says so on its body, else the page's. In the
/// file, colours are those for light paper, so programs that know no style show them on white.
const THEME: &str = include_str!("theme.css");

/// A drawing as SVG text, sized for a page at 96 dpi.
#[derive(Clone, PartialEq, Eq)]
pub struct Figure {
    svg: String,
}

impl Figure {
    /// Draws on a white sheet of `width` x `height` pixels. `description` is what a screen reader says of it.
    fn draw<E: std::error::Error + Send + Sync + 'static>(
        (width, height): (u32, u32),
        description: &str,
        draw: impl FnOnce(Sheet<'_>) -> Result<(), DrawingAreaErrorKind<E>>,
    ) -> Result<Self>
    where
        for<'a> SVGBackend<'a>: DrawingBackend<ErrorType = E>,
    {
        let (fine_width, fine_height) = (width * UNITS, height * UNITS);
        let mut svg = String::new();
        let sheet = SVGBackend::with_string(&mut svg, (fine_width, fine_height)).into_drawing_area();
        sheet
            .fill(&WHITE)
            .and_then(|()| draw(sheet))
            .map_err(|error| Error::new(ErrorKind::Invalid, Step::Draw, description, error.to_string()))?;
        let label = maud::html! { (description) }.into_string();
        let fine = format!("<svg width=\"{fine_width}\" height=\"{fine_height}\" ");
        let shown = format!(
            "<svg class=\"fruits-figure\" role=\"img\" aria-label=\"{label}\" width=\"{width}\" height=\"{height}\" "
        );
        let svg = svg.replacen(&fine, &shown, 1);
        let head = svg.find('>').map_or(0, |end| end + 1);
        let (head, drawing) = svg.split_at(head);
        Ok(Figure {
            svg: format!("{head}\n<style>\n{THEME}</style>{drawing}"),
        })
    }

    /// A drawing that was made elsewhere, so that it shows itself as the others do. `svg` is one `<svg>` element.
    ///
    /// ```
    /// use fruits_core::plotters::prelude::*;
    ///
    /// let mut svg = String::new();
    /// let sheet = SVGBackend::with_string(&mut svg, (300, 200)).into_drawing_area();
    /// sheet.draw(&Circle::new((150, 100), 40, RED.filled()))?;
    /// drop(sheet);
    /// let figure = fruits_core::Figure::from_svg(svg);
    /// assert!(figure.svg().starts_with("<svg "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_svg(svg: impl Into<String>) -> Self {
        Figure { svg: svg.into() }
    }

    /// The SVG text: one `<svg>` element that needs nothing else.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// Writes the SVG file at a path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn write(&self, path: &str) -> Result<()> {
        store::write(path, self.svg.clone().into()).await
    }
}

impl fmt::Debug for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Figure ({} bytes of SVG)", self.svg.len())
    }
}

/// Drawing units of a pixel. plotters draws on a grid of whole units; on one of pixels, curves would have steps.
const UNITS: u32 = 8;

/// A length in pixels as drawing units.
const fn px(pixels: i32) -> i32 {
    pixels * UNITS as i32
}

/// What a figure is drawn on.
type Sheet<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Ink for text and axes.
const INK: RGBColor = RGBColor(0x33, 0x3a, 0x42);
/// Ink for what should stay in the background.
const FAINT: RGBColor = RGBColor(0xe3, 0xe6, 0xea);

fn text(size: i32) -> TextStyle<'static> {
    ("Helvetica, Arial, sans-serif", px(size)).into_font().color(&INK)
}

/// A line of so many pixels' width.
fn line(colour: impl Color, width: i32) -> ShapeStyle {
    colour.stroke_width(px(width) as u32)
}

/// The number on a tick, without needless digits.
fn tick(value: &f64) -> String {
    let rounded = format!("{value:.3}");
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A name from outside as a figure shows it: without control characters, and not longer than `max` characters.
fn shown(name: &str, max: usize) -> String {
    let clean: Vec<char> = name
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    match clean.len() > max {
        true => clean[..max - 1].iter().chain(&['…']).collect(),
        false => clean.into_iter().collect(),
    }
}
