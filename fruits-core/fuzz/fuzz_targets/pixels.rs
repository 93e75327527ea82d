//! Any bytes to pixels or an error. The resize is to a few pixels: what it does depends on the sizes only, and 224x224 take ten times as long.
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
use pixels::{Limits, decode, resize};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        bytes: 1 << 20,
        pixels: 1 << 20,
    };
    if let Ok(photo) = decode(bytes, &limits) {
        assert_eq!(resize(&photo, 7, 5).dimensions(), (7, 5));
    }
});
