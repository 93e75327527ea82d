//! Prints the SHA-256 of what the network would see of each file given, or why it cannot be seen.
//!
//! The end-to-end tests compare these lines with Pillow's pixels.

use fruits_core::pixels::{Limits, network_input};
use sha2::{Digest, Sha256};

fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        match network_input(&std::fs::read(&path)?, &Limits::default()) {
            Ok(pixels) => {
                let digest = Sha256::digest(pixels.as_raw());
                println!(
                    "{}",
                    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                );
            }
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}
