//! The minimum of a smooth function of many numbers, by its gradient.
//!
//! L-BFGS (Nocedal and Wright, Numerical Optimization, 2006, algorithms 7.4 and 7.5), with a step that is halved or doubled until it fulfils the
//! weak Wolfe conditions (Lewis and Overton, Nonsmooth optimization via quasi-Newton methods, 2013, algorithm 2.6).

use std::collections::VecDeque;

use tracing::info;

use crate::alike::exact::dot;
use crate::error::Result;

/// Steps at most.
const STEPS: usize = 1000;
/// Steps that are remembered.
const MEMORY: usize = 10;
/// How much of what the slope promises a step has to bring, and how much of the slope may be left.
const DECREASE: f64 = 1e-4;
const SLOPE: f64 = 0.9;
/// How far the function's value may be from the right one, as a share of it. Where it says nothing any more, the slope does (Hager and Zhang, A new
/// conjugate gradient method with guaranteed descent and an efficient line search, 2005, 4).
const ROUNDING: f64 = 1e-6;
/// Steps that brought nothing, as far as the value tells, after which there is nothing more to gain.
const LEVEL_STEPS: usize = 10;
/// Lengths that are tried for a step.
const TRIES: usize = 20;

/// A function's value and its gradient.
pub(super) type Value = (f64, Vec<f32>);

/// Where a function is smallest, from zeros on. It gives its value and its gradient, and is known by its value and gradient only.
///
/// `scales` are the inverse of its curvature along each number, as far as one knows: the better they are, the fewer steps. It ends when the
/// gradient is no longer than `tolerance`, in numbers multiplied by the scales' roots, or when no step brings anything: then rounding has the last
/// word, and fails when the function does.
pub(super) fn minimum(scales: &[f32], tolerance: f64, function: impl Fn(&[f32]) -> Result<Value>) -> Result<Vec<f32>> {
    let mut at = vec![0.0_f32; scales.len()];
    let (mut value, mut gradient) = function(&at)?;
    let mut steps: VecDeque<Step> = VecDeque::new();
    let mut level = 0;
    for _ in 0..STEPS {
        if scaled_square(&gradient, scales) <= tolerance * tolerance {
            break;
        }
        let direction = direction(&gradient, &steps, scales);
        let slope = dot(&direction, &gradient);
        let Some((next, (next_value, next_gradient))) = step(&at, value, &direction, slope, &function)? else {
            // What is remembered leads nowhere: once more without it.
            if steps.is_empty() {
                break;
            }
            steps.clear();
            continue;
        };
        let moved = difference(&next, &at);
        let change = difference(&next_gradient, &gradient);
        let curvature = dot(&moved, &change);
        if curvature > 0.0 {
            if steps.len() == MEMORY {
                steps.pop_front();
            }
            steps.push_back(Step {
                moved,
                change,
                curvature,
            });
        }
        level += usize::from(next_value >= value);
        (at, value, gradient) = (next, next_value, next_gradient);
        if level > LEVEL_STEPS {
            break;
        }
    }
    let left = scaled_square(&gradient, scales).sqrt() / tolerance;
    if left.is_nan() || left > 1.0 {
        info!("rounding or the number of steps ended it: the gradient is {left:.1} times as long as it may be");
    }
    Ok(at)
}

/// A step that was made.
struct Step {
    moved: Vec<f32>,
    /// Of the gradient.
    change: Vec<f32>,
    /// `moved · change`
    curvature: f64,
}

/// Downwards, as far as the function is the quadratic one that the steps tell of.
fn direction(gradient: &[f32], steps: &VecDeque<Step>, scales: &[f32]) -> Vec<f32> {
    let mut direction: Vec<f32> = gradient.iter().map(|number| -number).collect();
    let mut shares = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        let share = dot(&step.moved, &direction) / step.curvature;
        add(&mut direction, -share, &step.change);
        shares.push(share);
    }
    // How much of the curvature that the scales say there is, in the direction of the last step.
    let known = steps
        .back()
        .map_or(1.0, |step| step.curvature / scaled_square(&step.change, scales));
    for (number, scale) in direction.iter_mut().zip(scales) {
        *number *= known as f32 * scale;
    }
    for (step, share) in steps.iter().zip(shares.into_iter().rev()) {
        let done = dot(&step.change, &direction) / step.curvature;
        add(&mut direction, share - done, &step.moved);
    }
    direction
}

/// The end of a step that is neither too long nor too short, and the function there; nothing if there is none.
fn step(
    at: &[f32],
    value: f64,
    direction: &[f32],
    slope: f64,
    function: &impl Fn(&[f32]) -> Result<Value>,
) -> Result<Option<(Vec<f32>, Value)>> {
    let (mut short, mut long, mut length) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..TRIES {
        let mut next = at.to_vec();
        add(&mut next, length, direction);
        let (next_value, gradient) = function(&next)?;
        let next_slope = dot(direction, &gradient);
        let is_lower = next_value <= value + DECREASE * length * slope;
        let is_about_equal =
            next_value <= value + ROUNDING * value.abs() && next_slope <= (2.0 * DECREASE - 1.0) * slope;
        if !(is_lower || is_about_equal) {
            long = length;
        } else if next_slope < SLOPE * slope {
            short = length;
        } else {
            return Ok(Some((next, (next_value, gradient))));
        }
        length = if long.is_finite() {
            (short + long) / 2.0
        } else {
            2.0 * short
        };
    }
    Ok(None)
}

fn scaled_square(numbers: &[f32], scales: &[f32]) -> f64 {
    let scaled: Vec<f32> = numbers
        .iter()
        .zip(scales)
        .map(|(number, scale)| number * scale)
        .collect();
    dot(numbers, &scaled)
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(to: &mut [f32], factor: f64, numbers: &[f32]) {
    let factor = factor as f32;
    to.iter_mut()
        .zip(numbers)
        .for_each(|(to, number)| *to += factor * number);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's function, whose valley is bent, and flat along.
    #[test]
    fn the_minimum_of_a_bent_valley_is_found() {
        let function = |at: &[f32]| {
            let (x, y) = (f64::from(at[0]), f64::from(at[1]));
            let (a, b) = (1.0 - x, y - x * x);
            let gradient = vec![(-2.0 * a - 400.0 * x * b) as f32, (200.0 * b) as f32];
            Ok((a * a + 100.0 * b * b, gradient))
        };
        let found = minimum(&[1.0, 1.0], 1e-6, function).unwrap();
        assert!(
            (found[0] - 1.0).abs() < 1e-3 && (found[1] - 1.0).abs() < 1e-3,
            "{found:?}"
        );
    }

    #[test]
    fn with_the_right_scales_one_step_is_enough() {
        let curvatures = [1e-3, 1.0, 1e3_f32];
        let asked = std::cell::Cell::new(0);
        let function = |at: &[f32]| {
            asked.set(asked.get() + 1);
            let away: Vec<f32> = at.iter().map(|number| number - 2.0).collect();
            let gradient: Vec<f32> = away
                .iter()
                .zip(curvatures)
                .map(|(away, curvature)| curvature * away)
                .collect();
            Ok((dot(&away, &gradient) / 2.0, gradient))
        };
        let found = minimum(&curvatures.map(|curvature| 1.0 / curvature), 1e-4, function).unwrap();
        assert!(found.iter().all(|number| (number - 2.0).abs() < 1e-5), "{found:?}");
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn where_nothing_gets_smaller_it_ends() {
        let found = minimum(&[1.0], 1e-6, |_| Ok((f64::NAN, vec![1.0])));
        assert_eq!(found.unwrap(), [0.0]);
    }
}
