"""The network against Keras on real photos, from the pixels on."""

import json

import numpy
import pandas
import pytest
from conftest import SHARED, run
from PIL import Image

GOLDEN = SHARED / "golden"


def test_features_are_keras_given_its_pixels(tmp_path):
    if not GOLDEN.is_dir():
        pytest.skip("golden photos are not here")
    stored = numpy.load(GOLDEN / "resized_u8.npz")
    pixels = next(stored[name] for name in stored.files if name != "rows")
    keras = numpy.load(GOLDEN / "features_f32.npy")[stored["rows"]]
    assert len(json.loads((GOLDEN / "rows.json").read_text())) == 198
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(photos / f"{index:03}.png")
    run("features", photos, "--out", tmp_path / "out")
    ours = numpy.stack(pandas.read_parquet(tmp_path / "out" / "features").features)
    largest = numpy.abs(ours - keras).max()
    print(f"{len(ours)} photos, largest difference from Keras {largest:.1e}")
    assert largest <= 2e-4
