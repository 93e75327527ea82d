//! This crate's side of `search.py`: answers each line of standard input with seconds, a limit of the machine, or a number of bytes.
//!
//!     search-peer ROWS QUERIES WIDTH      files of f32, and how many a row has
//!
//! `search N K`: of the first N queries the K nearest rows; their numbers come as a line before the seconds. `others N K`: of the first N rows
//! the K nearest others. `stream OUTPUT QUERIES K`: of each row of the output QUERIES the K nearest of the output OUTPUT, read part by part.
//! `multiply-adds`, `bandwidth`: what the machine could do at most, a second. `memory`: the most that was in use, less
//! rows and queries. The number of threads is RAYON_NUM_THREADS.

use std::hint::black_box;
use std::io::{BufRead, Read, Write};
use std::time::Instant;

use fruits_core::alike::{Metric, nearest, nearest_others};
use fruits_core::ndarray::{Array2, s};
use fruits_core::{Features, Neighbours};

#[path = "../limit.rs"]
mod limit;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [rows, queries, width] = arguments.as_slice() else {
        panic!("usage: search-peer ROWS QUERIES WIDTH");
    };
    let width: usize = width.parse().expect("a number");
    let (rows, queries) = (read(rows, width), read(queries, width));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input can be read");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<usize>().expect("a number");
        let start = Instant::now();
        match words[0] {
            "search" => {
                let queries = queries.slice(s![..number(1), ..]);
                let found = nearest(queries, rows.view(), number(2), Metric::Cosine).expect("it is found");
                let seconds = start.elapsed().as_secs_f64();
                let found: Vec<String> = found.iter().flatten().map(|near| near.row.to_string()).collect();
                println!("{}\n{seconds}", found.join(" "));
            }
            "others" => {
                let some = rows.slice(s![..number(1), ..]);
                black_box(nearest_others(some, number(2), Metric::Cosine).expect("they are found"));
                println!("{}", start.elapsed().as_secs_f64());
            }
            "stream" => {
                let found = stream(words[1], words[2], number(3)).expect("it is found");
                println!("{}", start.elapsed().as_secs_f64());
                black_box(found);
            }
            "multiply-adds" => println!("{}", limit::multiply_adds(rayon::current_num_threads())),
            "bandwidth" => println!("{}", limit::bandwidth(rows.as_slice().expect("in one piece"))),
            "memory" => println!("{}", most_memory() - 4 * (rows.len() + queries.len())),
            other => panic!("what is {other}?"),
        }
        std::io::stdout().flush().expect("standard output can be written");
    }
}

#[tokio::main]
async fn stream(output: &str, queries: &str, k: usize) -> fruits_core::Result<Neighbours> {
    Neighbours::in_output(output, &Features::read(queries).await?, k).await
}

/// Numbers as NumPy's `tofile` writes them.
fn read(file: &str, width: usize) -> Array2<f32> {
    let bytes = std::fs::metadata(file).expect("there is a file").len() as usize;
    let mut source = std::fs::File::open(file).expect("it can be opened");
    let mut numbers = Vec::with_capacity(bytes / 4);
    let mut some = vec![0; 4 * width];
    while numbers.len() < bytes / 4 {
        source.read_exact(&mut some).expect("it can be read");
        numbers.extend(some.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)));
    }
    Array2::from_shape_vec((numbers.len() / width, width), numbers).expect("whole rows")
}

/// The most memory that this process has had, in bytes.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it says");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    1024 * kilobytes.parse::<usize>().expect("a number")
}
