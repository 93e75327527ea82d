"""Every byte of the network's input against Pillow's."""

import hashlib
import io
import os
import pathlib
import random
import struct
import subprocess
import zlib

import numpy
import pytest
from conftest import SAMPLE, SHARED
from PIL import Image

REAL = SHARED / "photos" / "fruits43"
EXAMPLE = pathlib.Path(os.environ["FRUITS"]).parent / "examples" / "pixels"


def pillow(path):
    pixels = Image.open(path).convert("RGB").resize((224, 224))
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def assert_same(paths):
    assert paths
    lines = subprocess.run([EXAMPLE, *paths], capture_output=True, text=True, check=True).stdout.splitlines()
    differing = [(str(path), line) for path, line in zip(paths, lines, strict=True) if line != pillow(path)]
    assert not differing, f"{len(differing)} of {len(paths)} differ: {differing[:3]}"


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
