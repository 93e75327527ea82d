//! This crate's side of `map.py`: the map of rows in a file.
//!
//!     map-peer ROWS WIDTH POINTS      files of f32; how many numbers a row has. What is printed: seconds, and the most memory in kB.
//!
//! The number of threads is RAYON_NUM_THREADS.

use std::time::Instant;

use fruits_core::map;
use fruits_core::ndarray::Array2;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [rows, width, points] = arguments.as_slice() else {
        panic!("usage: map-peer ROWS WIDTH POINTS");
    };
    let numbers = std::fs::read(rows).expect("the rows can be read");
    let numbers = numbers.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number));
    let numbers: Vec<f32> = numbers.collect();
    let width: usize = width.parse().expect("a number");
    let rows = Array2::from_shape_vec((numbers.len() / width, width), numbers).expect("whole rows");
    let start = Instant::now();
    let map = map::points(rows.view()).expect("there is a map");
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of the process");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!(
        "{seconds} {}",
        most.expect("and of its memory").trim().trim_end_matches(" kB")
    );
    let bytes: Vec<u8> = map.iter().flat_map(|at| (*at as f32).to_le_bytes()).collect();
    std::fs::write(points, bytes).expect("the points can be written");
}
