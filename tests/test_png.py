"""PNGs of every kind that Pillow reads, and those it refuses, byte for byte against Pillow."""

import itertools
import random
import re
import struct
import subprocess
import zlib

import pytest
from PIL import Image
from test_pixels import EXAMPLE, assert_same, noise

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]
SIZES = [(1, 1), (2, 3), (2000, 1), (1, 300), (67, 31)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def assert_refused(paths):
    assert paths
    for path in paths:
        with pytest.raises(Exception):
            Image.open(path).convert("RGB")
    lines = subprocess.run([EXAMPLE, *paths], capture_output=True, text=True, check=True).stdout.splitlines()
    opened = [str(path) for path, line in zip(paths, lines, strict=True) if re.fullmatch("[0-9a-f]{64}", line)]
    assert not opened, f"{len(opened)} of {len(paths)} are not refused: {opened[:3]}"


def written(folder, files):
    for index, data in enumerate(files):
        (folder / f"{index:04}.png").write_bytes(data)
    return sorted(folder.glob("*.png"))


def chunk(kind, content=b"", checksum=None):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) if checksum is None else checksum)


def header(width, height, depth, colour, interlace=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def lines(width, height, depth, colour, interlace=0, seed=0):
    """Random rows with random filters."""
    generator = random.Random(seed)
    made = []
    for x, y, dx, dy in ADAM7 if interlace else [(0, 0, 1, 1)]:
        columns, rows = len(range(x, width, dx)), len(range(y, height, dy))
        length = (columns * CHANNELS[colour] * depth + 7) // 8
        made += [bytes([generator.randrange(5)]) + generator.randbytes(length) for _ in range(rows if columns else 0)]
    return made


def png(head, *pieces, before=b"", behind=chunk(b"IEND")):
    return SIGNATURE + head + before + b"".join(chunk(b"IDAT", piece) for piece in pieces) + behind


PALETTE = chunk(b"PLTE", random.Random(1).randbytes(768))
HEAD = header(40, 30, 8, 2)
ROWS = lines(40, 30, 8, 2)
STREAM = zlib.compress(b"".join(ROWS))


@pytest.mark.parametrize("interlace", [0, 1], ids=["", "adam7"])
@pytest.mark.parametrize("colour, depth", KINDS)
def test_kinds(colour, depth, interlace, tmp_path):
    transparent = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: b"\0\x80"}.get(colour, b"")
    files = []
    for index, size in enumerate(SIZES):
        stream = zlib.compress(b"".join(lines(*size, depth, colour, interlace, index)))
        for before in (PALETTE, PALETTE + chunk(b"tRNS", transparent)):
            files.append(png(header(*size, depth, colour, interlace), stream, before=before))
    assert_same(written(tmp_path, files))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_saved_by_pillow(mode, tmp_path):
    for index, (size, options) in enumerate(itertools.product([(1, 1), (223, 225), (640, 479)], [{}, {"compress_level": 0}, {"optimize": True}])):
        noise("RGB", size, index).convert(mode).save(tmp_path / f"{index}.png", **options)
    assert_same(sorted(tmp_path.glob("*.png")))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes(depth, tmp_path):
    """A cut colour does not count, missing ones are black, the last palette before the picture counts."""
    head, stream = header(67, 5, depth, 3), zlib.compress(b"".join(lines(67, 5, depth, 3)))
    palettes = [b"", *(chunk(b"PLTE", bytes(range(1, length + 1))) for length in (0, 1, 2, 3, 4, 5, 47, 48, 49, 200)), chunk(b"PLTE", bytes(770)), PALETTE + chunk(b"PLTE", b"abc")]
    assert_same(written(tmp_path, [png(head, stream, before=palette) for palette in palettes]))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_split_image_data(step, tmp_path):
    pieces = [STREAM[at : at + step] for at in range(0, len(STREAM), step)]
    empty = itertools.chain.from_iterable((b"", piece, b"") for piece in pieces)
    assert_same(written(tmp_path, [png(HEAD, *pieces), png(HEAD, *empty)]))


def frame(sequence, width, height, x, y):
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", sequence, width, height, x, y, 1, 10, 0, 0))


@pytest.mark.parametrize("interlace", [0, 1], ids=["", "adam7"])
def test_animations(interlace, tmp_path):
    """The picture before the first frame, or the first frame on black, wherever its data is."""
    head, control = header(40, 30, 8, 2, interlace), chunk(b"acTL", struct.pack(">II", 2, 0))
    whole = zlib.compress(b"".join(lines(40, 30, 8, 2, interlace)))
    part = zlib.compress(b"".join(lines(20, 10, 8, 2, interlace)))
    data = chunk(b"fdAT", b"\0\0\0\1" + part[:50]) + chunk(b"fdAT", b"\0\0\0\2" + part[50:])
    files = [
        png(head, whole, before=control + frame(0, 40, 30, 0, 0), behind=frame(1, 20, 10, 5, 7) + chunk(b"IEND")),
        png(head, whole, before=control, behind=frame(0, 20, 10, 5, 7) + data + chunk(b"IEND")),
        png(head, part, before=control + frame(0, 20, 10, 5, 7)),
        png(head, before=control + frame(0, 20, 10, 5, 7), behind=data + chunk(b"IEND")),
    ]
    assert_same(written(tmp_path, files))


OPENED = {
    "wrong checksum of image data": png(HEAD, STREAM).replace(struct.pack(">I", zlib.crc32(b"IDAT" + STREAM)), b"\0\0\0\0"),
    "wrong checksum behind": png(HEAD, STREAM, behind=chunk(b"tEXt", b"a\0b", 0) + chunk(b"IEND")),
    "unknown critical chunk": png(HEAD, STREAM, before=chunk(b"ABCD", b"hi")),
    "no end": png(HEAD, STREAM, behind=b""),
    "bytes behind the end": png(HEAD, STREAM, behind=chunk(b"IEND") + b"junk"),
    "no checksum of the stream": png(HEAD, STREAM[:-4]),
    "wrong checksum of the stream, apart": png(HEAD, STREAM[:-4], b"junk"),
    "bytes behind the stream": png(HEAD, STREAM + b"junk"),
    "rows too many": png(HEAD, zlib.compress(b"".join(ROWS * 2))),
    "rows missing": png(HEAD, zlib.compress(b"".join(ROWS[:20]))),
    "damaged texts": png(HEAD, STREAM, before=chunk(b"zTXt", b"k\0\0junk") + chunk(b"iTXt", b"k") + chunk(b"iCCP", b"p\0\0junk")),
    "64 MiB of text": png(HEAD, STREAM, before=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20))) * 64),
}
REFUSED = {
    "nothing": SIGNATURE,
    "no image": SIGNATURE + HEAD + chunk(b"IEND"),
    "no header": SIGNATURE + chunk(b"IDAT", STREAM) + chunk(b"IEND"),
    "wrong checksum of the header": png(HEAD[:-1] + b"!", STREAM),
    "wrong checksum before": png(HEAD, STREAM, before=chunk(b"tEXt", b"a\0b", 0)),
    "cut behind the image": png(HEAD, STREAM, behind=chunk(b"tEXt", b"a\0b")[:-5]),
    "wrong checksum of the stream": png(HEAD, STREAM[:-1] + b"!"),
    "rows missing, stream cut": png(HEAD, STREAM[:500]),
    "a byte missing": png(HEAD, zlib.compress(b"".join(ROWS)[:-1])),
    "chunk between image data": png(HEAD, STREAM[:500], behind=chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", STREAM[500:])),
    "unknown filter": png(HEAD, zlib.compress(b"\5" + b"".join(ROWS)[1:])),
    "257 colours": png(header(4, 1, 8, 3), zlib.compress(bytes(5)), before=chunk(b"PLTE", bytes(771))),
    "transparency without a palette": png(header(4, 1, 8, 3), zlib.compress(bytes(5)), before=chunk(b"tRNS", b"\0")),
    "short transparency": png(HEAD, STREAM, before=chunk(b"tRNS", bytes(5))),
    "depth 3": png(header(4, 1, 3, 0), zlib.compress(bytes(5))),
    "no pixels": png(header(0, 1, 8, 0), zlib.compress(bytes(5))),
    "too many pixels": png(header(13378, 13378, 8, 0), zlib.compress(bytes(5))),
    "long text": png(HEAD, STREAM, before=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes((1 << 20) + 1)))),
    "more than 64 MiB of text": png(HEAD, STREAM, before=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20))) * 65),
    "frame larger than the picture": png(HEAD, STREAM, before=frame(0, 41, 30, 0, 0)),
    "frames out of sequence": png(HEAD, STREAM, before=frame(1, 40, 30, 0, 0)),
}


@pytest.mark.parametrize("kind", OPENED)
def test_opened(kind, tmp_path):
    assert_same(written(tmp_path, [OPENED[kind]]))


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind, tmp_path):
    assert_refused(written(tmp_path, [REFUSED[kind]]))


def test_cuts(tmp_path):
    """Wherever a file ends, we open it if Pillow does."""
    opened, refused = [], []
    data = png(header(13, 11, 4, 0), zlib.compress(b"".join(lines(13, 11, 4, 0))), behind=chunk(b"tEXt", b"a\0b") + chunk(b"IEND"))
    for path in written(tmp_path, [data[:end] for end in range(8, len(data))]):
        try:
            Image.open(path).convert("RGB")
            opened.append(path)
        except Exception:
            refused.append(path)
    assert_same(opened)
    assert_refused(refused)


def test_too_long(tmp_path):
    """Longer than a side may be: refused by us alone, before there is memory for it."""
    path = written(tmp_path, [png(header(89_000_000, 1, 1, 0), zlib.compress(bytes(11_125_001)))])
    line = subprocess.run([EXAMPLE, *path], capture_output=True, text=True, check=True).stdout
    assert "the limit is 1048576 for a side" in line
