"""TIFF against Pillow's pixels."""

import struct
import zlib

import numpy
import pytest
from PIL import Image, UnidentifiedImageError
from test_pixels import assert_same, noise

pytestmark = pytest.mark.filterwarnings("ignore:.*(EXIF|Metadata|Truncated)")
SIZES = [(1, 1), (67, 31), (300, 250), (2000, 1), (1, 300)]


def tiff(tags, chunks, order="<", tiled=False):
    """A TIFF by hand, of strips or tiles that are laid in front. All values are numbers of 16 or 32 bits."""
    body = b"".join(chunks)
    offsets = [8 + sum(map(len, chunks[:index])) for index in range(len(chunks))]
    places = (324, 325) if tiled else (273, 279)
    tags = {places[0]: offsets, places[1]: [len(chunk) for chunk in chunks], **tags}
    entries = b""
    for tag, values in sorted((tag, values) for tag, values in tags.items() if values):
        kind, letter = (4, "I") if tag in (257, *places) else (3, "H")
        data = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(data) > 4:
            body, data = body + data, struct.pack(order + "I", 8 + len(body))
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(body))
    return start + body + struct.pack(order + "H", len(entries) // 12) + entries + bytes(4)


def picture(width, height, photometric, bits, channels, order="<", compression=1, planar=False, rows=None, tile=None, predictor=1, fill=1, **tags):
    """A smooth picture as a TIFF; of other tags, the keys begin with a letter."""
    levels = numpy.asarray(noise("RGB", (width + 64, height + 64))).astype(int)
    levels = numpy.concatenate([levels, levels[::-1]], 2)[:, :, :channels] * ((1 << bits) - 1) // 255
    step = tile or (width, rows or height)
    chunks = []
    for plane in numpy.split(levels, channels, 2) if planar else [levels]:
        for y in range(0, height, step[1]):
            for x in range(0, width, step[0]):
                part = plane[y : y + step[1] if tile else min(y + step[1], height), x : x + step[0]]
                if predictor == 2:
                    part = numpy.diff(part, axis=1, prepend=0) & ((1 << bits) - 1)
                part = part.reshape(len(part), -1)
                if bits < 8:
                    data = numpy.packbits((part[:, :, None] >> numpy.arange(bits)[::-1] & 1).reshape(len(part), -1).astype(bool), axis=1).tobytes()
                else:
                    data = part.astype(f"{order}u{bits // 8}").tobytes()
                data = {1: bytes, 8: zlib.compress, 32946: zlib.compress, 32773: literals}[compression](data)
                chunks.append(bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if fill == 2 else data)
    known = {256: [width], 257: [height], 258: [bits] * channels, 259: [compression], 262: [photometric], 277: [channels], 284: [1 + planar], 317: [predictor], 266: [fill]}
    known |= {278: [rows] if rows else None, 322: tile and [tile[0]], 323: tile and [tile[1]]}
    if photometric == 3:
        known[320] = [index * 40503 % 65536 for index in range(3 << bits)]
    return tiff(known | {int(tag[1:]): values for tag, values in tags.items()}, chunks, order, tile is not None)


def literals(data):
    """PackBits, with a no-operation between the runs."""
    return b"".join(bytes([len(data[at : at + 100]) - 1]) + data[at : at + 100] + b"\x80" for at in range(0, len(data), 100))


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_what_pillow_writes(mode, compression, tmp_path):
    if compression == "jpeg" and mode not in ("L", "RGB", "CMYK"):
        pytest.skip("JPEG has no such colours")
    for index, size in enumerate(SIZES):
        image = noise("CMYK" if mode == "CMYK" else "RGB", size, index)
        image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
        for predictor in (1, 2) if compression in ("tiff_lzw", "tiff_adobe_deflate") and mode not in ("1", "F") else (1,):
            image.save(tmp_path / f"{index}-{predictor}.tif", compression=compression, tiffinfo={317: predictor})
    assert_same(sorted(tmp_path.glob("*.tif")))


KINDS = [(photometric, bits, 1, []) for photometric in (0, 1, 3) for bits in (1, 2, 4, 8)]
KINDS += [(1, 16, 1, []), (1, 8, 2, [0]), (1, 8, 2, [2]), (3, 8, 2, [2])]
KINDS += [(2, bits, 3 + (extra is not None), [extra] if extra else []) for bits in (8, 16) for extra in (None, 0, 1, 2)]
KINDS += [(2, 8, 5, [1, 0]), (2, 8, 6, [0, 0, 0]), (5, 8, 4, []), (5, 8, 5, [0]), (5, 16, 4, [])]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric, bits, channels, extra", KINDS)
def test_kinds(photometric, bits, channels, extra, order, tmp_path):
    for compression in (1, 8, 32946, 32773):
        for number, layout in enumerate([{}, {"rows": 8}, {"tile": (32, 16)}, {"tile": (128, 64)}]):
            for predictor in (1, 2) if compression == 8 and bits >= 8 else (1,):
                data = picture(67, 31, photometric, bits, channels, order, compression, predictor=predictor, t338=extra, **layout)
                (tmp_path / f"{compression}-{number}-{predictor}.tif").write_bytes(data)
    assert_same(sorted(tmp_path.glob("*.tif")))


@pytest.mark.parametrize("photometric, bits, channels, extra", [(1, 8, 1, []), (2, 8, 3, []), (2, 8, 4, [2]), (2, 8, 4, []), (2, 16, 3, []), (5, 8, 4, [])])
@pytest.mark.parametrize("compression", [1, 8])
def test_each_channel_for_itself(photometric, bits, channels, extra, compression, tmp_path):
    for index, layout in enumerate([{}, {"rows": 8}, {"tile": (32, 16)}]):
        (tmp_path / f"{index}.tif").write_bytes(picture(67, 31, photometric, bits, channels, compression=compression, planar=True, t338=extra, **layout))
    assert_same(sorted(tmp_path.glob("*.tif")))


@pytest.mark.parametrize("photometric, bits", [(0, 1), (1, 4), (1, 8)])
@pytest.mark.parametrize("compression", [1, 8, 32773])
def test_reversed_bits(photometric, bits, compression, tmp_path):
    (tmp_path / "reversed.tif").write_bytes(picture(67, 31, photometric, bits, 1, compression=compression, fill=2))
    assert_same([tmp_path / "reversed.tif"])


def test_orientation(tmp_path):
    """Unlike JPEG, a TIFF is turned. Opened by path, Pillow tears uncompressed grey that lies on its side, so this is RGB."""
    for orientation in range(1, 9):
        for compression in (None, "tiff_lzw"):
            noise("RGB", (67, 31)).save(tmp_path / f"{orientation}-{compression}.tif", compression=compression, tiffinfo={274: orientation})
    noise("RGB", (67, 31)).save(tmp_path / "xmp.tif", tiffinfo={700: b'<rdf tiff:Orientation="6"/>'})
    assert_same(sorted(tmp_path.glob("*.tif")))


def test_files_with_a_past(tmp_path):
    """BigTIFF, several pages, tags that are missing or too many."""
    noise("RGB", (67, 31)).save(tmp_path / "big.tif", big_tiff=True)
    noise("RGB", (67, 31)).save(tmp_path / "big-lzw.tif", big_tiff=True, compression="tiff_lzw")
    noise("RGB", (67, 31)).save(tmp_path / "pages.tif", save_all=True, append_images=[noise("L", (10, 10))])
    for compression in (1, 8):
        for name, tags in {"no-sizes": {"t279": None}, "one-size": {"t258": [8]}, "no-planes": {"t284": None}, "less": {"t257": [20]}}.items():
            (tmp_path / f"{name}-{compression}.tif").write_bytes(picture(67, 31, 2, 8, 3, compression=compression, **tags))
    (tmp_path / "few-strips.tif").write_bytes(picture(67, 32, 5, 8, 4, rows=8, t257=[60]))
    (tmp_path / "small-palette.tif").write_bytes(picture(67, 31, 3, 8, 1, t320=[40000] * 300))
    assert_same(sorted(tmp_path.glob("*.tif")))


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_cut_off(compression, tmp_path):
    """Pillow writes the directory in front of the pixels of an uncompressed TIFF, and behind those of others."""
    noise("RGB", (33, 20)).save(tmp_path / "whole.tif", compression=compression)
    data = (tmp_path / "whole.tif").read_bytes()
    for length in range(8, len(data), 7):
        (tmp_path / f"{length}.tif").write_bytes(data[:length])
    paths = sorted(tmp_path.glob("*.tif"))
    assert_same(paths, refused=len([path for path in paths if is_known(path) and path.name != "whole.tif"]))


def is_known(path):
    """Whether Pillow sees that it is a TIFF, which says nothing of its pixels."""
    try:
        return bool(Image.open(path))
    except UnidentifiedImageError:
        return False


def test_what_pillow_refuses(tmp_path):
    files = {
        "strip-lost": picture(67, 31, 2, 8, 3, compression=8, rows=8, t257=[60]),
        "palette-lost": picture(67, 31, 3, 4, 1, compression=8, t320=[1] * 30),
        "predictor": picture(67, 31, 2, 8, 3, compression=8, t317=[7]),
        "predictor-of-bits": picture(67, 31, 1, 4, 1, compression=8, t317=[2]),
        "no-rows": picture(67, 31, 2, 8, 3, compression=8, t278=[0]),
        "behind-the-end": picture(67, 31, 2, 8, 3, t273=[10**6]),
        "premultiplied-grey": picture(67, 31, 1, 8, 2, t338=[1]),
        "no-deflate": tiff({256: [1], 257: [1], 258: [8], 259: [8], 262: [1], 277: [1]}, [b"no deflate"]),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.tif").write_bytes(data)
    assert_same(sorted(tmp_path.glob("*.tif")), refused=len(files))
