"""A network that comes as ONNX, by way of burn-onnx: ours, whose features are known."""

import os
import shutil
import subprocess
import sys

import numpy
import pytest
from conftest import ROOT, SAMPLE, rows
from safetensors.numpy import load_file

EXAMPLES = ROOT / "fruits-core" / "examples"


def test_a_network_that_came_as_onnx_gives_keras_features(tmp_path):
    if not shutil.which("onnx2burn"):
        pytest.skip("there is no onnx2burn")
    keras = load_file(ROOT / "tests" / "golden" / "features.safetensors")
    photos = tmp_path / "photos"
    for key in keras:
        (photos / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / key, photos / key)
    model = tmp_path / "network.onnx"
    subprocess.run([sys.executable, EXAMPLES / "export_onnx.py", os.environ["FRUITS_WEIGHTS"], model], check=True)
    subprocess.run(["onnx2burn", model, tmp_path / "generated", "--no-development"], check=True, capture_output=True)
    command = ["cargo", "run", "--quiet", "--package", "fruits-core", "--example", "onnx", "--features", "onnx", "--", photos, tmp_path / "out"]
    environment = os.environ | {"FRUITS_ONNX": str(tmp_path / "generated" / "network")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "12 photos, 0 failures\n"
    names, _, features = rows(tmp_path / "out")
    largest = max(numpy.abs(features[i] - keras["/".join(name)]).max() for i, name in enumerate(names))
    print(f"largest difference from Keras {largest:.1e}")
    assert len(names) == 12 and largest <= 2e-4
