//! Compiles `jpeg.c` against the libjpeg that the crate turbojpeg-sys has built.

fn main() {
    // The fuzzer, which lies in a folder of this crate, compiles the same modules.
    let sources = ["src/pixels/jpeg.c", "../src/pixels/jpeg.c"];
    let source = sources.into_iter().find(|source| std::path::Path::new(source).exists());
    let source = source.expect("jpeg.c is part of the crate");
    println!("cargo::rerun-if-changed={source}");
    let include = std::env::var("DEP_TURBOJPEG_INCLUDE").unwrap_or_default();
    let mut build = cc::Build::new();
    build
        .file(source)
        .includes(include.split(',').filter(|path| !path.is_empty()));
    build.opt_level(2).compile("fruits_jpeg");
}
