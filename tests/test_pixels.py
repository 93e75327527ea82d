"""Every byte of the network's input against Pillow's."""

import hashlib
import io
import os
import pathlib
import random
import re
import struct
import subprocess
import zlib

import numpy
import pytest
from conftest import SAMPLE, SHARED
from PIL import Image, ImageOps, UnidentifiedImageError

REAL = SHARED / "photos" / "fruits43"
EXAMPLE = pathlib.Path(os.environ["FRUITS"]).parent / "examples" / "pixels"


REFUSED = "refused"
UNKNOWN = "unknown"


def pillow(path, options):
    try:
        image = Image.open(path)
        if "--draft" in options:
            image.draft("RGB", (448, 448))
        if "--upright" in options:
            image = ImageOps.exif_transpose(image)
        return hashlib.sha256(image.convert("RGB").resize((224, 224)).tobytes()).hexdigest()
    except UnidentifiedImageError:
        return UNKNOWN  # something in its head is wrong that no pixel depends on: we may be less strict
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return REFUSED


def ours(paths, options=()):
    lines = subprocess.run([EXAMPLE, *options, *paths], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line if re.fullmatch("[0-9a-f]{64}", line) else REFUSED for line in lines]


def assert_same(paths, *options, refused=0):
    """What Pillow opens, we open, to the same pixels; what it refuses (so many), we refuse."""
    assert paths
    wanted = [pillow(path, options) for path in paths]
    lines = ours(paths, options)
    differing = [path.name for path, want, line in zip(paths, wanted, lines, strict=True) if want not in (line, UNKNOWN)]
    assert not differing, f"{len(differing)} of {len(paths)} differ: {differing[:5]}"
    assert wanted.count(REFUSED) == refused


@pytest.mark.parametrize("folder", [SAMPLE, REAL], ids=lambda folder: folder.name)
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_photos(folder, form, tmp_path):
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not here")
    paths = sorted(folder.glob("*/*.jpg"))
    if form == "png":
        for index, path in enumerate(paths):
            Image.open(path).save(tmp_path / f"{index}.png")
        paths = sorted(tmp_path.glob("*.png"))
    assert_same(paths)


def noise(mode, size, seed=0):
    bands = len(Image.new(mode, (1, 1)).getbands())
    smooth = numpy.random.default_rng(seed).integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 1, bands), dtype=numpy.uint8)
    image = Image.fromarray(smooth.squeeze(2) if bands == 1 else smooth, mode if mode in ("L", "RGB", "RGBA", "CMYK") else "L")
    return image.resize(size)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"quality": 20}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_kinds_of_jpeg(mode, options, tmp_path):
    sizes = [(1, 1), (2000, 1), (1, 300), (100, 100), (223, 225), (224, 224), (224, 90), (640, 479)]
    for index, size in enumerate(sizes):
        noise(mode, size, index).save(tmp_path / f"{index}.jpg", **options)
    assert_same(sorted(tmp_path.glob("*.jpg")))


def test_jpegs_with_a_past(tmp_path):
    """EXIF orientation is not applied; stray bytes between segments are stepped over; names do not decide the format."""
    exif = Image.Exif()
    exif[0x0112] = 6
    noise("RGB", (90, 60)).save(tmp_path / "turned.jpg", exif=exif)
    data = io.BytesIO()
    noise("RGB", (90, 60)).save(data, "jpeg")
    (tmp_path / "stray.jpg").write_bytes(data.getvalue()[:-2] + b"\0" * 7 + b"\xff\xd9")
    noise("RGB", (90, 60)).save(tmp_path / "really-a-png.jpg", "png")
    assert_same(sorted(tmp_path.glob("*.jpg")))


def png(width, height, depth, colour, rows, extra=b""):
    """A PNG by hand, for kinds that Pillow reads but does not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour, depth", [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)])
def test_kinds_of_png(colour, depth, tmp_path):
    generator = random.Random(colour * 100 + depth)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    palette = b""
    if colour == 3:
        content = bytes(generator.randrange(256) for _ in range(3 * 2**depth))
        palette = struct.pack(">I", len(content)) + b"PLTE" + content + struct.pack(">I", zlib.crc32(b"PLTE" + content))
    transparent = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: b"\0\x80"}.get(colour)
    extras = [palette]
    if transparent:
        extras.append(palette + struct.pack(">I", len(transparent)) + b"tRNS" + transparent + struct.pack(">I", zlib.crc32(b"tRNS" + transparent)))
    for index, extra in enumerate(extras):
        for width, height in [(1, 1), (67, 31), (300, 250)]:
            stride = (width * channels * depth + 7) // 8
            rows = [generator.randbytes(stride) for _ in range(height)]
            (tmp_path / f"{index}-{width}.png").write_bytes(png(width, height, depth, colour, rows, extra))
    assert_same(sorted(tmp_path.glob("*.png")))


def saved(image, form="JPEG", **options):
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(10))
def test_upright(orientation, tmp_path):
    exif = turned(orientation)
    image = noise("RGB", (90, 60))
    for form in "jpeg", "png", "webp":
        image.save(tmp_path / f"exif.{form}", exif=exif)
    exif.endian = ">"
    image.save(tmp_path / "big-endian.jpeg", exif=exif)
    xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    image.save(tmp_path / "xmp.jpeg", xmp=xmp)
    image.save(tmp_path / "both.jpeg", xmp=xmp, exif=turned(3))
    image.resize((500, 90)).save(tmp_path / "wide.jpeg", exif=exif)
    paths = sorted(tmp_path.iterdir())
    assert_same(paths)
    assert_same(paths, "--upright")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_drafts(mode, tmp_path):
    sizes = [(447, 900), (448, 448), (900, 895), (896, 896), (1791, 3000), (1793, 1792), (3600, 3590), (4000, 3000)]
    for index, size in enumerate(sizes):
        noise(mode, size, index).save(tmp_path / f"{index}.jpg", exif=turned(6))
    paths = sorted(tmp_path.iterdir())
    assert_same(paths, "--draft")
    assert_same(paths, "--draft", "--upright")


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(content)) + content


def profile(number, count):
    return segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + b"x" * 200)


def before(data, marker, extra):
    at = data.index(b"\xff" + bytes([marker]))
    return data[:at] + extra + data[at:]


def edited(data, at, *levels):
    return data[:at] + bytes(levels) + data[at + len(levels) :]


JPEG = saved(noise("RGB", (90, 60)), quality=90)
SCAN = JPEG.index(b"\xff\xda")
ODD_JPEGS = {
    **{f"padding-before-{marker:x}": before(JPEG, marker, b"\0\0") for marker in (0xDB, 0xC0, 0xC4, 0xDA)},
    "filled-up": before(JPEG, 0xDB, b"\xff" * 9),
    **{f"spectrum-ends-at-{end}": edited(JPEG, SCAN + 6 + 2 * JPEG[SCAN + 4], end) for end in (0, 1, 62, 64)},
    **{f"approximation-{bits:02x}": edited(JPEG, SCAN + 7 + 2 * JPEG[SCAN + 4], bits) for bits in (0x01, 0x11)},
    "trailer-without-end": JPEG[:-2] + b"\0\0\x50\x0aPanorama_Shot" + b"SEFH" * 50,
    "zeros-without-end": JPEG[:-2] + bytes(40),
    "junk-before-end": JPEG[:-2] + b"\x7f\x7f" + JPEG[-2:],
    "another-behind": JPEG + saved(noise("RGB", (20, 20), 1)),
    **{f"profile-part-{part}-of-{of}": JPEG[:20] + profile(part, of) + JPEG[20:] for part, of in [(0, 1), (2, 1), (1, 255), (255, 0)]},
    "profile-part-twice": JPEG[:20] + profile(1, 2) + profile(1, 2) + JPEG[20:],
    "profile-cut-short": JPEG[:20] + segment(0xE2, b"ICC_PROFILE\0") + JPEG[20:],
    **{f"jfif-{major}.{minor}": edited(JPEG, JPEG.index(b"JFIF\0") + 5, major, minor) for major, minor in [(0, 0), (0, 2), (2, 1), (255, 255)]},
    "jfif-cut-short": JPEG[:2] + segment(0xE0, b"JFIF\0") + JPEG[20:],
    **{f"adobe-transform-{kind}": JPEG[:2] + segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, kind)) + JPEG[20:] for kind in (0, 1, 2, 9, 255)},
    "adobe-cut-short": JPEG[:2] + segment(0xEE, b"Adobe") + JPEG[20:],
    "exif-of-nothing": JPEG[:2] + segment(0xE1, b"Exif\0\0") + JPEG[2:],
    "exif-that-points-away": JPEG[:2] + segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff") + JPEG[2:],
    "comment": JPEG[:2] + segment(0xFE, bytes(range(256))) + JPEG[2:],
    "segments-that-nobody-knows": JPEG[:2] + b"".join(segment(0xE0 + n, b"?" * n) for n in range(16)) + JPEG[2:],
    "restart-markers-lost": re.sub(rb"\xff[\xd0-\xd7]", b"", saved(noise("RGB", (90, 60)), restart_marker_blocks=2)),
    "grey-sampling-2x2": edited(saved(noise("L", (90, 60))), saved(noise("L", (90, 60))).index(b"\xff\xc0") + 11, 0x22),
    "two-pictures": saved(noise("RGB", (90, 60)), "MPO", save_all=True, append_images=[noise("RGB", (90, 60), 1)]),
}


def test_odd_jpegs(tmp_path):
    for name, data in ODD_JPEGS.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    paths = sorted(tmp_path.iterdir())
    assert_same(paths)
    assert_same(paths, "--upright")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_cut_and_damaged_jpegs(mode, options, tmp_path):
    """Cut at every byte, and bytes changed, lost and put in anywhere: refused by the same rule."""
    whole = saved(noise(mode, (40, 30)), **options)
    for length in range(len(whole)):
        (tmp_path / f"cut-{length:05}.jpg").write_bytes(whole[:length])
    rng = random.Random(mode + str(options))
    for index in range(300):
        at, byte = rng.randrange(2, len(whole)), bytes([rng.choice([0, 255, rng.randrange(256)])])
        changed = whole[:at] + byte + whole[at + rng.randrange(2) + rng.randrange(2) :]
        (tmp_path / f"damaged-{index:05}.jpg").write_bytes(changed)
    paths = sorted(tmp_path.iterdir())
    assert_same(paths, refused=sum(pillow(path, ()) == REFUSED for path in paths))
