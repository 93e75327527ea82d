//! Any bytes to 224x224 pixels or an error.
//!
//!     cargo fuzz run --sanitizer none pixels CORPUS
//!
//! The two modules are compiled alone, so that fuzzing does not instrument the 500 crates below the rest.

#![no_main]
#![allow(dead_code)]

#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/pixels/mod.rs"]
mod pixels;

use libfuzzer_sys::fuzz_target;
use pixels::{Limits, network_input};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        bytes: 1 << 20,
        pixels: 1 << 20,
    };
    if let Ok(pixels) = network_input(bytes, &limits) {
        assert_eq!(pixels.dimensions(), (224, 224));
    }
});
