import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data-sample"
# Real photos that are not part of the repository; tests that want them skip where they are absent.
SHARED = ROOT.parent / "shared"


def run(*arguments, status=0):
    """Runs `fruits`; gives back the finished process and the JSON of its last line, if that is JSON."""
    process = subprocess.run([os.environ["FRUITS"], *map(str, arguments)], capture_output=True, text=True)
    assert process.returncode == status, process.stderr
    lines = process.stdout.splitlines()
    process.json = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
    return process


@pytest.fixture(scope="session")
def features_of(tmp_path_factory):
    """The features of a folder of photos, extracted once a session."""
    done = {}

    def features(photos):
        if not photos.is_dir():
            pytest.skip(f"{photos.name} is not here")
        if photos not in done:
            out = tmp_path_factory.mktemp("features") / photos.name
            run("features", photos, "--out", out)
            done[photos] = out
        return done[photos]

    return features
