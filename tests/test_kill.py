"""Runs that end before they are done: killed at any moment, or on a full disk."""

import os
import random
import subprocess
import time

import pytest
from conftest import SAMPLE, rows, run, same


def test_killed_twenty_times_then_resumed(features_of, tmp_path):
    out = tmp_path / "out"
    command = [os.environ["FRUITS"], "features", SAMPLE, "--out", out, "--resume", "--checkpoint", "0"]
    moments = random.Random(7)
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.1, 1.5))
        process.kill()
        process.wait()
        if not (out / "_SUCCESS").exists() and out.exists() and any(out.iterdir()):
            assert "has not finished" in run("pca", out, "--out", tmp_path / "pca", status=1).stderr
    answer = run("features", SAMPLE, "--out", out, "--resume", "--json").json
    print(f"{answer['reused']} of {answer['photos']} photos were not computed again after the last kill")
    assert (answer["photos"], answer["failures"]) == (96, 0) and answer["reused"] > 0
    assert same(rows(out), rows(features_of(SAMPLE)))
    names = sorted({path.relative_to(out).parts[0].split("-")[0] for path in out.rglob("*") if path.is_file()})
    assert names == ["_SUCCESS", "_failures", "_index", "_manifest.json", "features"]


def test_full_disk_then_resumed(features_of, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", disk], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        full = run("features", SAMPLE, "--out", disk / "out", "--checkpoint", "0", status=1)
        assert "No space left on device" in full.stderr and str(disk) in full.stderr
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        answer = run("features", SAMPLE, "--out", disk / "out", "--resume", "--json").json
        assert answer["photos"] == 96 and answer["reused"] > 0
        assert same(rows(disk / "out"), rows(features_of(SAMPLE)))
    finally:
        subprocess.run(["umount", disk], check=True)
