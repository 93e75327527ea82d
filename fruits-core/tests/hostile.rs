//! Files that lie, are cut off or damaged: each is pixels or an error, soon and in little memory, and never a panic.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use fruits_core::ErrorKind;
use fruits_core::pixels::{Limits, RgbImage, decode, network_input, resize};
use proptest::prelude::*;
use turbojpeg::{Colorspace, Compressor, Image, PixelFormat};

fn photo() -> Vec<u8> {
    std::fs::read("../data-sample/Lemon/view-00.jpg").unwrap()
}

fn pixels(width: u32, height: u32) -> RgbImage {
    resize(&decode(&photo(), &Limits::default()).unwrap(), width, height)
}

fn jpeg(pixels: &RgbImage, set: impl FnOnce(&mut Compressor) -> turbojpeg::Result<()>) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    set(&mut compressor).unwrap();
    let image = Image {
        pixels: pixels.as_raw().as_slice(),
        width: pixels.width() as usize,
        pitch: pixels.width() as usize * 3,
        height: pixels.height() as usize,
        format: PixelFormat::RGB,
    };
    compressor.compress_to_vec(image).unwrap()
}

fn png(pixels: &RgbImage) -> Vec<u8> {
    let chunk = |name: &[u8; 4], content: &[u8]| {
        let named = [&name[..], content].concat();
        let crc = crc32(&named).to_be_bytes();
        [&(content.len() as u32).to_be_bytes()[..], &named, &crc].concat()
    };
    let (width, height) = (pixels.width().to_be_bytes(), pixels.height().to_be_bytes());
    let header = [&width[..], &height, &[8, 2, 0, 0, 0]].concat();
    // Each row begins with its filter: none.
    let rows = pixels.as_raw().chunks(pixels.width() as usize * 3);
    let rows: Vec<u8> = rows.flat_map(|row| [&[0], row].concat()).collect();
    let mut data = ZlibEncoder::new(Vec::new(), Compression::default());
    data.write_all(&rows).unwrap();
    let data = chunk(b"IDAT", &data.finish().unwrap());
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        data,
        chunk(b"IEND", b""),
    ]
    .concat()
}

/// Peak memory of this process, where the kernel tells.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or("unknown".into(), |text| text.trim().to_owned())
}

#[test]
fn cut_at_every_byte() {
    let small = pixels(96, 72);
    let files = [
        ("a sample photo", photo()),
        ("progressive jpeg", jpeg(&small, |c| c.set_progressive(true))),
        ("grey jpeg", jpeg(&small, |c| c.set_colorspace(Colorspace::Gray))),
        ("png", png(&small)),
    ];
    for (name, file) in files {
        let whole = network_input(&file, &Limits::default()).unwrap();
        let (mut slowest, mut accepted) = (Duration::ZERO, Vec::new());
        for length in 0..file.len() {
            let start = Instant::now();
            if let Ok(pixels) = network_input(&file[..length], &Limits::default()) {
                // Without its end mark and checksums a picture may still be whole, but not without its data.
                assert!(pixels == whole, "{name}, the first {length} bytes");
                accepted.push(file.len() - length);
            }
            slowest = slowest.max(start.elapsed());
        }
        println!(
            "{name}: {} cuts, slowest {slowest:?}, peak memory {}, accepted without the last {accepted:?} bytes",
            file.len(),
            peak_memory()
        );
    }
}

#[test]
fn headers_that_lie_about_the_size() {
    let kind = |file: &[u8]| network_input(file, &Limits::default()).unwrap_err().kind();
    let jpeg = photo();
    // SOF0: marker, length (2), precision (1), height (2), width (2)
    let frame = jpeg.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap();
    let sized = |size: [u8; 4]| {
        let mut file = jpeg.clone();
        file[frame + 5..frame + 9].copy_from_slice(&size);
        file
    };
    assert_eq!(
        kind(&sized([0xff; 4])),
        ErrorKind::Invalid,
        "65535x65535, which libjpeg refuses by itself"
    );
    assert_eq!(kind(&sized([0xff, 0, 0xff, 0])), ErrorKind::TooLarge, "65280x65280");
    // 8192x8192 in 3 KB: behind the data comes the end, so Pillow takes what is missing for grey.
    assert!(network_input(&sized([0x20, 0, 0x20, 0]), &Limits::default()).is_ok());
    assert_eq!(kind(&sized([0, 0, 0, 100])), ErrorKind::Invalid);
    assert_eq!(kind(&sized([0, 100, 0, 0])), ErrorKind::Invalid);

    let png = png(&pixels(20, 20));
    let sized = |width: u32, height: u32| {
        let mut file = png.clone();
        file[16..20].copy_from_slice(&width.to_be_bytes());
        file[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&crc.to_be_bytes());
        file
    };
    assert!(network_input(&sized(20, 20), &Limits::default()).is_ok());
    assert_eq!(kind(&sized(65535, 65535)), ErrorKind::TooLarge);
    assert_eq!(kind(&sized(u32::MAX >> 1, u32::MAX >> 1)), ErrorKind::TooLarge);
    assert_eq!(kind(&sized(8192, 8192)), ErrorKind::Invalid);
    assert_eq!(kind(&sized(0, 20)), ErrorKind::Invalid);
    println!("peak memory {}", peak_memory());
}

/// As in the PNG specification, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn what_is_no_photo() {
    let kind = |file: &[u8]| network_input(file, &Limits::default()).unwrap_err().kind();
    assert_eq!(kind(b""), ErrorKind::Invalid);
    assert_eq!(kind(b"<!doctype html><title>404</title>"), ErrorKind::Unsupported);
    assert_eq!(kind(b"\0\0\0\x18ftypheic\0\0\0\0"), ErrorKind::Unsupported);
    assert_eq!(
        kind(b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xff\x0bNETSCAPE2.0"),
        ErrorKind::Invalid
    );
    assert_eq!(kind(b"\xff\xd8\xff\xd9"), ErrorKind::Invalid);
    assert_eq!(kind(b"\x89PNG\r\n\x1a\n"), ErrorKind::Invalid);
}

/// Files that fuzzing found.
#[test]
fn findings() {
    for file in std::fs::read_dir("tests/hostile").unwrap() {
        let path = file.unwrap().path();
        let result = network_input(&std::fs::read(&path).unwrap(), &Limits::default());
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid, "{}", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Tables, headers and data, overwritten anywhere.
    #[test]
    fn damaged_bytes(is_png: bool, places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let small = pixels(40, 30);
        let mut file = if is_png { png(&small) } else { jpeg(&small, |_| Ok(())) };
        for (place, byte) in places {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let limits = Limits { pixels: 1 << 22, ..Limits::default() };
        if let Ok(pixels) = network_input(&file, &limits) {
            prop_assert_eq!(pixels.dimensions(), (224, 224));
        }
    }
}
