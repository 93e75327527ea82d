//! Prints the SHA-256 of what the network would see of each file given, or why it cannot be seen.
//!
//!     pixels [--upright] [--draft] FILE...
//!
//! The end-to-end tests compare these lines with Pillow's pixels.

use fruits_core::pixels::{Decoding, Limits, network_input_with};
use sha2::{Digest, Sha256};

fn main() -> std::io::Result<()> {
    let mut decoding = Decoding::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--upright" => decoding.upright = true,
            "--draft" => decoding.draft = true,
            path => match network_input_with(&std::fs::read(path)?, decoding, &Limits::default()) {
                Ok(pixels) => {
                    let digest = Sha256::digest(pixels.as_raw());
                    println!(
                        "{}",
                        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                    );
                }
                Err(error) => println!("{error}"),
            },
        }
    }
    Ok(())
}
