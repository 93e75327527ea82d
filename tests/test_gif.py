"""Every byte of the network's input against Pillow's, for the first frame of GIFs."""

import itertools
import random
import struct

import pytest
from test_pixels import REFUSED, assert_same, noise, ours, pillow

SIZES = [(1, 1), (2000, 1), (1, 300), (9, 5), (223, 225), (320, 239)]


def assert_alike(paths):
    """As `assert_same`, for so many files that nobody counts those that Pillow refuses or does not identify; these we refuse."""
    wanted = [says if len(says) == 64 else REFUSED for says in (pillow(path, ()) for path in paths)]
    differing = [path.name for path, want, line in zip(paths, wanted, ours(paths), strict=True) if line != want]
    assert not differing, f"{len(differing)} of {len(paths)} differ: {differing[:5]}"


def write(folder, files, form):
    """Numbered, and in that order."""
    paths = [folder / f"{index}.{form}" for index, _ in enumerate(files)]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize("options", [{"interlace": 0}, {"interlace": 1}, {"transparency": 3}, {"comment": b"hello"}, {"save_all": True, "disposal": 2, "loop": 0}], ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_kinds_of_gif(mode, options, tmp_path):
    for index, size in enumerate(SIZES):
        image = noise(mode if mode.startswith("RGB") else "RGB", size, index).convert(mode)
        frames = {"append_images": [image.rotate(180)]} if "save_all" in options else {}
        image.save(tmp_path / f"{index}.gif", **options, **frames)
    assert_same(sorted(tmp_path.glob("*.gif")))


def sub_blocks(data):
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def codes(pixels, bits, end=True):
    """LZW without compression: the table is cleared before codes need another bit."""
    numbers = []
    for start in range(0, len(pixels), 2**bits - 2):
        numbers += [1 << bits, *pixels[start : start + 2**bits - 2]]
    numbers += [(1 << bits) + 1] * end
    whole = sum(number << index * (bits + 1) for index, number in enumerate(numbers))
    return whole.to_bytes((len(numbers) * (bits + 1) + 7) // 8, "little")


def flags(palette):
    return 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0


def frame(size, at=(0, 0), palette=b"", bits=4, interlaced=False, count=None, end=True):
    count = size[0] * size[1] if count is None else count
    pixels = [random.Random(count).randrange(2**bits) for _ in range(count)]
    return b"," + struct.pack("<HHHHB", *at, *size, flags(palette) | interlaced << 6) + palette + bytes([bits]) + sub_blocks(codes(pixels, bits, end))


def gif(screen, palette, blocks, background=0):
    return b"GIF89a" + struct.pack("<HHBBB", *screen, flags(palette), background, 0) + palette + blocks + b";"


def control(transparent):
    return b"!\xf9\4" + struct.pack("<BHBB", 1, 10, transparent, 0)


def grey(count):
    return bytes(level for level in range(count) for _ in range(3))


COLOURS = random.Random(1).randbytes(3 * 256)


@pytest.mark.parametrize("local", [b"", COLOURS[:6], COLOURS[:48], COLOURS, grey(4), grey(256)], ids=len)
@pytest.mark.parametrize("palette", [b"", COLOURS[9:15], COLOURS[9:57], COLOURS, grey(2), grey(256)], ids=len)
def test_palettes(palette, local, tmp_path):
    """None, greyscale ones, those with fewer colours than indices; and what an index means that is transparent."""
    blocks = [start + frame((5, 4), palette=local, bits=bits) for bits in (2, 4, 8) for start in (b"", control(1), control(200))]
    assert_same(write(tmp_path, [gif((7, 5), palette, block, background=3) for block in blocks], "gif"))


def test_frames_and_screens(tmp_path):
    """Frames that cover a part of the screen, lie outside or have no pixels, and screens without any."""
    screens, places, sizes = [(0, 0), (1, 1), (40, 30), (0, 30)], [(0, 0), (5, 7), (40, 30)], [(1, 1), (20, 13), (40, 30), (3, 7), (0, 5)]
    cases = itertools.product(screens, places, sizes, [False, True], [b"", control(3)])
    assert_alike(write(tmp_path, [gif(screen, COLOURS[:48], start + frame(size, at, interlaced=turn)) for screen, at, size, turn, start in cases], "gif"))


def test_extensions(tmp_path):
    """Those before the frame, in pairs; the last ones are damaged."""
    whole = [b"", control(2), b"!\xfe" + sub_blocks(b"a comment"), b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0", b"!\xff\x0bXMP DataXMP" + sub_blocks(b"<x/>" * 99), b"!\1\x0c" + bytes(12) + sub_blocks(b"text"), b"!\x77\1a\0"]
    damaged = [b"\0\0", b"garbage", b"!\xf9\0", b"!\xf9\2\0\0\0", b"!\xf9\3\1\0\0\0", b"!\xfe\0", b"!\xff\0", b"!\xff\x0bNETSCAPE2.0\0", b"!", b";"]
    pairs = itertools.product(whole + damaged, repeat=2)
    assert_alike(write(tmp_path, [gif((9, 8), COLOURS[:48], one + two + frame((9, 5))) for one, two in pairs], "gif"))


def test_damaged_gifs(tmp_path):
    """Cut anywhere, too few or too many pixels, codes that do not exist; data behind an early end are taken for pixels if there are many."""
    good = gif((9, 8), COLOURS[:48], control(2) + frame((9, 5), (0, 1)))
    cut = [good[:length] for length in range(len(good))]
    counts = [gif((9, 8), COLOURS[:48], frame((9, 8), count=count, end=end) + behind) for count in (0, 71, 72, 73) for end in (True, False) for behind in (b"", bytes(9), b"\5" * 99999)]
    random_codes = [gif((9, 8), b"", b"," + struct.pack("<HHHHB", 0, 0, 9, 8, 0) + bytes([bits]) + sub_blocks(random.Random(bits).randbytes(500))) for bits in range(14)]
    assert_alike(write(tmp_path, cut + counts + random_codes + [b"GIF88a" + good[6:]], "gif"))


def test_changed_gifs(tmp_path):
    noise("RGB", (60, 50)).save(tmp_path / "good.gif")
    good, generator, changed = (tmp_path / "good.gif").read_bytes(), random.Random(5), []
    for _ in range(300):
        at = generator.randrange(len(good))
        changed.append(good[:at] + generator.randbytes(1) + good[at + 1 :])
    assert_alike(write(tmp_path, changed, "gif"))
