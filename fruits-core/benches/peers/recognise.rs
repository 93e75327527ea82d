//! This crate's side of `recognise.py`: fits, and predicts, as each line of standard input says.
//!
//!     recognise-peer ROWS LABELS WIDTH      files of f32 and of a label a line, and how many numbers a row has
//!
//! `logistic C TRAIN TEST`, `discriminant SHRINKAGE TRAIN TEST`, `cosine SHRINKAGE TRAIN TEST`, `neighbour 1 TRAIN TEST`: files of row numbers, a line each. The answer is two lines: the predicted labels,
//! between tabs, and the seconds of the fit. `memory`: the most that was in use, in bytes. The number of threads is RAYON_NUM_THREADS.

use std::io::{BufRead, Write};
use std::time::Instant;

use fruits_core::alike::{Metric, Near, nearest};
use fruits_core::linfa::prelude::*;
use fruits_core::ndarray::{Array1, Array2, Axis};
use fruits_core::recognise::{Discriminant, LogisticRegression, WhitenedCosine};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [rows, labels, width] = arguments.as_slice() else {
        panic!("usage: recognise-peer ROWS LABELS WIDTH");
    };
    let numbers = std::fs::read(rows).expect("the rows can be read");
    let numbers: Vec<f32> = numbers
        .as_chunks()
        .0
        .iter()
        .map(|number| f32::from_le_bytes(*number))
        .collect();
    let width: usize = width.parse().expect("a number");
    let rows = Array2::from_shape_vec((numbers.len() / width, width), numbers).expect("whole rows");
    let labels = lines(labels);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input can be read");
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "memory" {
            println!("{}", most_memory());
        } else {
            let numbers =
                |file: &str| -> Vec<usize> { lines(file).iter().map(|line| line.parse().expect("a number")).collect() };
            let (train, test) = (numbers(words[2]), numbers(words[3]));
            let targets: Array1<String> = train.iter().map(|row| labels[*row].clone()).collect();
            let data = DatasetBase::new(rows.select(Axis(0), &train), targets);
            let parameter = words[1].parse().expect("a number");
            let test = rows.select(Axis(0), &test);
            let start = Instant::now();
            let (elapsed, predicted): (_, Array1<String>) = match words[0] {
                "logistic" => {
                    let fitted = LogisticRegression::new()
                        .c(parameter)
                        .fit(&data)
                        .expect("it can be fitted");
                    (start.elapsed(), fitted.predict(&test))
                }
                "discriminant" => {
                    let fitted = Discriminant::new()
                        .shrinkage(parameter)
                        .fit(&data)
                        .expect("it can be fitted");
                    (start.elapsed(), fitted.predict(&test))
                }
                "cosine" => {
                    let fitted = WhitenedCosine::new()
                        .shrinkage(parameter)
                        .fit(&data)
                        .expect("it can be fitted");
                    (start.elapsed(), fitted.predict(&test))
                }
                "neighbour" => {
                    let near = nearest(test.view(), data.records().view(), 1, Metric::Cosine).expect("they are found");
                    let label = |near: &Vec<Near>| data.targets()[near[0].row].clone();
                    (start.elapsed(), near.iter().map(label).collect())
                }
                other => panic!("what is {other}?"),
            };
            println!("{}\n{}", predicted.to_vec().join("\t"), elapsed.as_secs_f64());
        }
        std::io::stdout().flush().expect("standard output can be written");
    }
}

fn lines(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("the file can be read");
    text.lines().map(str::to_owned).collect()
}

/// The most memory that this process has had, in bytes.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it says");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    1024 * kilobytes.parse::<usize>().expect("a number")
}
