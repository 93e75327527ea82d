//! As that of the crate.

fn main() {
    let source = "../src/pixels/jpeg.c";
    println!("cargo::rerun-if-changed={source}");
    let include = std::env::var("DEP_TURBOJPEG_INCLUDE").unwrap_or_default();
    let mut build = cc::Build::new();
    build
        .file(source)
        .includes(include.split(',').filter(|path| !path.is_empty()));
    build.opt_level(2).warnings_into_errors(false).compile("fruits_jpeg");
}
