//! Marks that tell labels apart: ten colours, then other shapes.

use plotters::prelude::RGBColor;
use serde_json::{Value, json};

/// The two that figures with two colours take.
pub(super) const BLUE: RGBColor = RGBColor(0x1f, 0x6f, 0xb5);
pub(super) const ORANGE: RGBColor = RGBColor(0xe6, 0x7e, 0x14);

/// Hues that differ in lightness too, so that neighbours differ for colour-blind readers and in print.
const COLOURS: [RGBColor; 10] = [
    BLUE,
    ORANGE,
    RGBColor(0x2a, 0x9d, 0x58),
    RGBColor(0xc9, 0x2f, 0x3c),
    RGBColor(0x7d, 0x54, 0xb8),
    RGBColor(0x8a, 0x5a, 0x44),
    RGBColor(0xe0, 0x6c, 0xb4),
    RGBColor(0x5f, 0x66, 0x70),
    RGBColor(0xb3, 0xa5, 0x14),
    RGBColor(0x17, 0xae, 0xc4),
];

/// The shape of a mark, as corners in units of its radius, clockwise, y downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    Circle,
    Polygon(&'static [(f64, f64)]),
}

const SHAPES: [Shape; 5] = [
    Shape::Circle,
    Shape::Polygon(&[(0.0, -1.25), (1.15, 0.85), (-1.15, 0.85)]),
    Shape::Polygon(&[(-0.95, -0.95), (0.95, -0.95), (0.95, 0.95), (-0.95, 0.95)]),
    Shape::Polygon(&[(0.0, -1.35), (1.35, 0.0), (0.0, 1.35), (-1.35, 0.0)]),
    Shape::Polygon(&[(0.0, 1.25), (-1.15, -0.85), (1.15, -0.85)]),
];

impl Shape {
    /// Its corners; a circle has none.
    pub(super) fn corners(self) -> &'static [(f64, f64)] {
        match self {
            Shape::Circle => &[],
            Shape::Polygon(corners) => corners,
        }
    }
}

/// The mark of the label with this index. The first fifty differ.
pub(super) fn mark(index: usize) -> (RGBColor, Shape) {
    (
        COLOURS[index % COLOURS.len()],
        SHAPES[index / COLOURS.len() % SHAPES.len()],
    )
}

/// All colours and shapes, for pages that draw by themselves: the mark of an index is as in [`mark`].
pub(super) fn json() -> Value {
    let colours = COLOURS.map(|colour| format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2));
    json!({ "colours": colours, "shapes": SHAPES.map(Shape::corners) })
}
