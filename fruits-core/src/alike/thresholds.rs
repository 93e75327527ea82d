//! From when on something may be wrong.

/// From when on something counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Near duplicates: the largest difference of two pictures of 48 pixels, as the root mean square of levels from 0 to 255. Photos that are saved
    /// as JPEG of quality 75 differ by 2 to 4, frames of a turning fruit by 10.
    pub levels: f64,
    /// Near duplicates: pictures are compared if the cosine of their features is at least this.
    pub similarity: f64,
    /// Suspect groups: by how much the mean cosine of another label is larger.
    pub margin: f64,
    /// Outliers: how many standard deviations the logarithm of the distance lies above the median.
    pub deviations: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            levels: 3.0,
            similarity: 0.8,
            margin: 0.12,
            deviations: 4.5,
        }
    }
}
