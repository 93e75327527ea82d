"""Every byte of the network's input against Pillow's, for BMP and DIB."""

import itertools
import random
import struct

import pytest
from test_gif import SIZES, assert_alike, write
from test_pixels import assert_same, noise

HEADERS = [12, 40, 52, 56, 64, 108, 124]


@pytest.mark.parametrize("form", ["bmp", "dib"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_kinds_of_bmp(mode, form, tmp_path):
    for index, size in enumerate(SIZES):
        noise("RGBA", size, index).convert("RGB" if mode == "P" else mode).convert(mode).save(tmp_path / f"{index}.{form}")
    assert_same(sorted(tmp_path.glob(f"*.{form}")))


def bmp(size, bits, data=None, palette=b"", compression=0, header=40, masks=b"", colours=None, offset=None, signature=b"BM"):
    """A BMP by hand: without a signature, a DIB; without data, random ones."""
    width, height = size
    if data is None:
        data = random.Random(bits).randbytes((width * bits + 31) // 32 * 4 * abs(height))
    if header == 12:
        information = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        colours = len(palette) // 4 if colours is None else colours
        information = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, 0, 0, 0, colours, 0) + masks
        information += bytes(max(0, header - len(information)))
    offset = 14 + len(information) + len(palette) if offset is None else offset
    start = signature + struct.pack("<IHHI", 0, 0, 0, offset) if signature else b""
    return start + information + palette + data


def colours(count, size=4):
    return random.Random(count).randbytes(count * size)


def grey(count, step=1):
    return b"".join(bytes([level * step % 256] * 3 + [0]) for level in range(count))


@pytest.mark.parametrize("signature", [b"BM", b""], ids=["bmp", "dib"])
@pytest.mark.parametrize("header", [*HEADERS, 16])
def test_headers(header, signature, tmp_path):
    """Each with every depth, those that do not exist too; from bottom to top and from top to bottom."""
    files = []
    for bits, (width, height), offset in itertools.product([0, 1, 2, 4, 8, 16, 24, 32, 64], [(1, 1), (33, 17), (9, 5)], [None, 0]):
        palette = colours(2**bits, 3 if header == 12 else 4) if 0 < bits <= 8 else b""
        for height in [height] if header == 12 else [height, -height]:
            files.append(bmp((width, height), bits, palette=palette, header=header, offset=offset, signature=signature))
    assert_alike(write(tmp_path, files, "bmp"))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes(bits, tmp_path):
    """Greyscale ones are no palettes for Pillow, short ones have black behind, long ones are refused; the header may count wrongly."""
    palettes = [b"", *map(colours, [1, 2, 3, 200, 256, 257]), *map(grey, [1, 3, 16, 256, 257, 600]), grey(2, 255), grey(256, 255), grey(2, 255)[::-1]]
    files = []
    for palette, count, data in itertools.product(palettes, [None, 0, 1, 2, 16, 256, 65536, 65537], [None, colours(500)]):
        files.append(bmp((19, 9), bits, data, palette, colours=count))
    assert_alike(write(tmp_path, files, "bmp"))


@pytest.mark.parametrize("header", HEADERS[1:])
def test_bit_fields(header, tmp_path):
    """Those that Pillow knows, and others, which it refuses."""
    known = [(0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0), (0xFF000000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)]
    known += [(0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF000000, 0xFF00, 0xFF, 0xFF0000), (0, 0, 0, 0), (0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)]
    others = [(0xFF, 0xFF00, 0xFF0000, 0), (0xF00, 0xF0, 0xF, 0xF000), (0x3FF00000, 0xFFC00, 0x3FF, 0)]
    files = []
    for masks, bits, count, offset in itertools.product(known + others, [8, 16, 24, 32], [3, 4], [None, 0]):
        files.append(bmp((9, 5), bits, compression=3, header=header, masks=struct.pack(f"<{count}I", *masks[:count]), offset=offset))
    assert_alike(write(tmp_path, files, "bmp"))


@pytest.mark.parametrize("compression", [1, 2, 4, 5], ids=["RLE8", "RLE4", "JPEG", "PNG"])
def test_compressions(compression, tmp_path):
    """Runs and literals, overlong ones, deltas, early ends, at odd offsets; random data behind."""
    generator, files = random.Random(compression), []
    for palette, height, _ in itertools.product([colours(256), grey(256), grey(2, 255)], [11, -11], range(30)):
        data = b"\0" * generator.randrange(2)
        for _ in range(generator.randrange(1, 50)):
            length = generator.randrange(3, 30)
            literal = generator.randbytes(length if compression == 1 else (length + 1) // 2)
            literal = bytes([0, length]) + literal + bytes(len(literal) % 2)
            data += generator.choice([generator.randbytes(2), generator.randbytes(2), literal, b"\0\0", b"\0\2" + bytes([length, 1]), b"\0\1" if len(data) > 99 else b""])
        files.append(bmp((13, height), 8, data + b"\0\2\xff\xff", palette, compression, offset=54 + len(palette) + data.startswith(b"\0")))
    assert_alike(write(tmp_path, files, "bmp"))


def test_offsets(tmp_path):
    """Where the header says the pixels are: nowhere, in the header, in the palette, at an odd place, behind the end."""
    offsets = [0, 1, 14, 53, 54, 55, 58, 66, 117, 118, 119, 140, 10**4, 2**32 - 1]
    files = [bmp((9, 5), bits, palette=colours(16) if bits <= 8 else b"", offset=offset) for offset, bits in itertools.product(offsets, [1, 4, 8, 16, 24, 32])]
    assert_alike(write(tmp_path, files, "bmp"))


def test_sizes(tmp_path):
    sizes = [(0, 1), (1, 0), (-1, 1), (5, -5), (2**30, 1), (1, 2**30), (1, -(2**24)), (1, -(2**31)), (20000, 20000)]
    assert_alike(write(tmp_path, [bmp(size, bits, bytes(100)) for size in sizes for bits in (1, 24)], "bmp"))


@pytest.mark.parametrize("file", [bmp((7, 5), 24), bmp((13, 9), 4, palette=colours(16)), bmp((8, 3), 8, b"\5\7" * 5 + b"\0\3abc\0\0\0" * 5, colours(9), 1), bmp((9, 4), 1, palette=colours(2, 3), header=12)], ids=["24 bits", "4 bits", "RLE8", "OS/2"])
def test_damaged_bmps(file, tmp_path):
    """Cut anywhere, and each byte changed but for the size, which makes pictures of 100 megapixels."""
    places = [at for at in range(len(file)) if at not in range(18, 26)]
    changed = [file[:at] + bytes([level]) + file[at + 1 :] for at in places for level in {0, 255, (file[at] + 1) % 256}]
    cut = [file[:length] for length in range(len(file))]
    assert_alike(write(tmp_path, cut + changed, "bmp"))
