"""What people see of folders as they are: other files, labels that were not meant, names that would steer a terminal."""

import json
import os
import re
import shutil

import pytest
from conftest import SAMPLE, run
from PIL import Image

PHOTO = SAMPLE / "Kiwi" / "view-00.jpg"


def photos(folder, *names):
    for name, photo in zip(names, sorted(SAMPLE.rglob("*.jpg"))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, path)
    return folder


def features(source, out, *options):
    """The lines of a run, and what the manifest says."""
    done = run("features", source, "--out", out, *options)
    lines = [line for line in done.stderr.splitlines() if not re.match(r"\d+ of ", line)]  # without how far it is
    return lines, json.loads((out / "_manifest.json").read_text())


def test_what_is_left_out_is_counted(tmp_path):
    source = photos(tmp_path / "in", "Kiwi/1.jpg", "Kiwi/2.JFIF", "Kiwi/.#1.jpg", ".cache/Kiwi/1.jpg", "_old/1.jpg", "Kiwi/1.jpg.bak")
    for name in "notes.txt", "Kiwi/notes.TXT", "Kiwi/README":
        (source / name).write_text("x")
    os.symlink("nowhere", source / "todo.txt")
    os.symlink("nowhere", source / ".cache" / "2.jpg")
    lines, manifest = features(source, tmp_path / "out", "--max-failures", "0")
    counts = {kind: left_out["files"] for kind, left_out in manifest["survey"]["left_out"].items()}
    assert counts == {".bak": 1, ".txt": 3, "without extension": 1, "hidden": 3, "begins with _": 1}
    assert "3 .txt (Kiwi/notes.TXT, notes.txt, todo.txt)" in lines[0]
    assert "2 photos with features" in lines[-1] and "9 left out" in lines[-1]


def test_what_may_be_a_photo_fails(tmp_path):
    source = photos(tmp_path / "in", "Kiwi/1.jpg")
    os.symlink("nowhere", source / "Kiwi" / "2.jpg")
    assert features(source, tmp_path / "out")[1]["failures"] == 1


def test_endings_can_be_chosen(tmp_path):
    source = photos(tmp_path / "in", "Kiwi/1.jpg", "Kiwi/2.jpeg")
    Image.open(PHOTO).save(source / "Kiwi" / "3.png")
    lines, manifest = features(source, tmp_path / "out", "--only", "png,jpeg")
    assert manifest["photos"] == 2 and "1 left out" in lines[-1]
    done = run("features", source, "--out", tmp_path / "none", "--only", "webp", status=1)
    assert "no photo in it" in done.stderr and "1 .jpg (Kiwi/1.jpg)" in done.stderr
    done = run("features", source, "--out", tmp_path / "none", "--only", "doc", status=1)
    assert "no photo ends in .doc" in done.stderr


@pytest.mark.parametrize(
    "names, warning",
    [
        (["apple/1.jpg", "Apple/1.jpg"], 'labels that differ only by case or Unicode form: "Apple" and "apple"'),
        (["Caf\u00e9/1.jpg", "Cafe\u0301/1.jpg"], "labels that differ only by case or Unicode form"),
        (["Training/Pear/1.jpg", "Test/Pear/1.jpg"], '"Pear" (Test/Pear, Training/Pear)'),
        (["1.jpg", "Pear/1.jpg"], "photos lie in the location itself (1)"),
    ],
)
def test_labels_that_may_not_be_meant(names, warning, tmp_path):
    lines, manifest = features(photos(tmp_path / "in", *names), tmp_path / "out")
    assert warning in manifest["survey"]["warnings"][0] and warning in lines[0] and "1 warning" in lines[-1]
    report = tmp_path / "report.html"
    run("report", tmp_path / "out", "--out", report)
    assert warning.split('"')[0] in report.read_text()


def test_names_do_not_steer_the_terminal(tmp_path):
    source = photos(tmp_path / "in", "Kiwi/1.jpg")
    evil = source / "Kiwi" / "2\x1b[2J\nEVCXR_BEGIN_CONTENT text\n.jpg"
    evil.write_text("no photo")
    shutil.copy(evil, source / "Kiwi" / "3\x1b[2J\n.txt")
    done = run("features", source, "--out", tmp_path / "out", "--max-failures", "0", status=1)
    assert "\\u{1b}[2J\\nEVCXR_BEGIN" in done.stderr
    lines, manifest = features(source, tmp_path / "all")
    assert manifest["failures"] == 1 and "\\u{1b}" in lines[0]
    assert "\x1b" not in done.stdout + done.stderr + "".join(lines)


def test_photos_that_cannot_be_read_say_what_helps(tmp_path):
    source = photos(tmp_path / "in", "Kiwi/1.jpg")
    (source / "Kiwi" / "2.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    Image.new("L", (20_000, 9_000)).save(source / "Kiwi" / "3.png")
    _, manifest = features(source, tmp_path / "out")
    failures = next((tmp_path / "out").glob("_failures-*.jsonl")).read_text()
    assert manifest["failures"] == 2
    assert "`magick photo.heic photo.jpg` converts it" in failures and "20000x9000 pixels, the limit is 178956970 in all" in failures
    _, manifest = features(source, tmp_path / "more", "--max-pixels", "180000000", "--max-bytes", "1000000")
    assert manifest["failures"] == 1
    _, manifest = features(source, tmp_path / "fewer", "--max-bytes", "100")
    assert manifest["photos"] == 0


def test_how_photos_are_decoded_is_said_and_not_mixed(tmp_path):
    source, out = photos(tmp_path / "in", "Kiwi/1.jpg"), tmp_path / "out"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(PHOTO).resize((2000, 1000)).save(source / "Kiwi" / "2.jpg", exif=exif)
    _, plain = features(source, out)
    refused = run("features", source, "--out", out, "--resume", "--upright", "--draft", status=1).stderr
    assert "there are features of photos as they lie, not upright drafts, in it" in refused
    _, upright = features(source, out, "--overwrite", "--upright", "--draft")
    assert plain["model"]["decoding"] == {"upright": False, "draft": False}
    assert upright["model"]["decoding"] == {"upright": True, "draft": True} and upright["reused"] == 0
    assert features(source, out, "--resume", "--upright", "--draft")[1]["reused"] == 2
