"""WebP of every kind, byte for byte against Pillow."""

import io
import itertools
import struct

import pytest
from test_pixels import assert_same, noise
from test_png import assert_refused

SIZES = [(1, 1), (2, 2), (3, 5), (1, 300), (2000, 1), (17, 16), (16, 17), (223, 225)]


def written(folder, files):
    for index, data in enumerate(files):
        (folder / f"{index:04}.webp").write_bytes(data)
    return sorted(folder.glob("*.webp"))


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"lossless": True, "exact": True}, {"quality": 5}, {"method": 6}, {"alpha_quality": 10}, {"exif": b"Exif\0\0MM", "icc_profile": b"profile", "xmp": b"<x>"}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_kinds(mode, options, tmp_path):
    assert_same(written(tmp_path, [saved(noise(mode, size, index), **options) for index, size in enumerate(SIZES)]))


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"minimize_size": True}, {"allow_mixed": True, "background": (9, 80, 200, 255)}], ids=str)
def test_animations(options, tmp_path):
    frames = [noise("RGBA", (61, 47), index) for index in range(4)]
    assert_same(written(tmp_path, [saved(frames[0], save_all=True, append_images=frames[1:], **options)]))


def chunk(kind, content):
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks):
    return chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def canvas(width, height, flags):
    return chunk(b"VP8X", struct.pack("<I", flags) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3])


def frame(x, y, width, height, picture):
    numbers = (x // 2, y // 2, width - 1, height - 1, 100)
    return chunk(b"ANMF", b"".join(struct.pack("<I", number)[:3] for number in numbers) + b"\0" + picture)


ANIMATED = 2
ANIM = chunk(b"ANIM", b"\1\2\3\xff\0\0")


@pytest.mark.parametrize("lossless", [False, True], ids=["lossy", "lossless"])
def test_canvas(lossless, tmp_path):
    """A frame is drawn on black; a picture that is no frame fills its canvas, or is refused."""
    picture = saved(noise("RGB", (20, 11)), lossless=lossless)[12:]
    places = itertools.product((0, 2, 18), (0, 6, 18))
    (tmp_path / "same").mkdir()
    (tmp_path / "refused").mkdir()
    assert_same(written(tmp_path / "same", [riff(canvas(40, 30, ANIMATED), ANIM, frame(x, y, 20, 11, picture)) for x, y in places]))
    refused = [
        riff(canvas(40, 30, 0), picture),
        riff(canvas(19, 11, ANIMATED), ANIM, frame(0, 0, 20, 11, picture)),
        riff(canvas(40, 30, ANIMATED), ANIM, frame(22, 0, 20, 11, picture)),
        riff(canvas(20, 11, 0)),
        picture,
    ]
    assert_refused(written(tmp_path / "refused", refused))


@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=str)
def test_cuts(options, tmp_path):
    data = saved(noise("RGBA", (20, 11)), **options)
    assert_refused(written(tmp_path, [data[:end] for end in range(len(data))]))
    assert_same(written(tmp_path, [data, data + b"junk"])[:2])
