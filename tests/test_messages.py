"""What people mistype, and what they are told: what was found, what was expected, what to type."""

import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import SAMPLE, run


@pytest.fixture(scope="session")
def place(tmp_path_factory, features_of):
    """A folder with photos, features, a PCA, an unfinished output, and other things."""
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(SAMPLE / "Kiwi", place / "photos" / "Kiwi")
    shutil.copytree(SAMPLE / "Kiwi", place / "my photos" / "Kiwi")
    shutil.copytree(features_of(SAMPLE), place / "out")
    run("pca", place / "out", "--out", place / "pca")
    shutil.copytree(place / "out", place / "unfinished")
    (place / "unfinished" / "_SUCCESS").unlink()
    shutil.copytree(place / "out", place / "newer")
    manifest = json.loads((place / "newer" / "_manifest.json").read_text())
    (place / "newer" / "_manifest.json").write_text(json.dumps(manifest | {"version": "99.0.0", "model": 1}))
    (place / "empty").mkdir()
    (place / "notes").mkdir()
    (place / "notes" / "a.txt").write_text("a note")
    return place


# What is typed, in that folder, and what has to be in the answer. Each has the exit status 1, or 2 if the command line itself is wrong.
TABLE = [
    ("features photos --out out", ["--overwrite", "--resume", "the folder is not empty"]),
    ("identify out photos/Kiwi/view-00.jpg", ["holds features, not a classifier; `fruits train out --out CLASSIFIER` comes first"]),
    ("identify photos photos/Kiwi/view-00.jpg", ["holds photos, not a classifier; `fruits train photos --out CLASSIFIER` comes first"]),
    ("serve missing", ["there is nothing here; `fruits train PHOTOS --out missing` makes it"]),
    ("train photos --out new", ["1 label; there have to be two at least"]),
    ("train pca --out new", ["holds a PCA, not features"]),
    ("evaluate pca photos", ["holds a PCA, not a classifier"]),
    ("pca out --out pca", ["--overwrite", "the folder is not empty"]),
    ("pca photos --out new", ["holds photos, not features; `fruits features photos --out FEATURES` comes first"]),
    ("report photos --out new.html", ["holds photos, not features; `fruits features photos"]),
    ("pca pca --out new", ["holds a PCA, not features"]),
    ("report pca --out new.html", ["holds a PCA, not features"]),
    ("report out --pca out --out new.html", ["holds features, not a PCA; `fruits pca out --out PCA` comes first"]),
    ("report out --pca photos --out new.html", ["holds photos, not a PCA"]),
    ("pca {part} --out new", ["one file of a table, not an output; give the folder out"]),
    ("pca out/features --out new", ["a table of an output, not all of it; give the folder out"]),
    ("pca photos/Kiwi/view-00.jpg --out new", ["one photo, not features"]),
    ("pca unfinished --out new", ["there is no _SUCCESS in it", "--resume", "--overwrite"]),
    ("pca newer --out new", ["written by fruits 99.0.0, which is newer than this one"]),
    ("pca empty --out new", ["there is nothing here; `fruits features PHOTOS --out empty` makes it"]),
    ("pca missing --out new", ["there is nothing here; `fruits features PHOTOS --out missing` makes it"]),
    ("pca notes --out new", ["holds no features, but a.txt"]),
    ("pca notes/a.txt --out new", ["a file; give the folder that holds features"]),
    ("report out --pca missing --out new.html", ["there is nothing here; `fruits pca FEATURES --out missing` makes it"]),
    ("features photos/Kiwi/view-00.jpg --out new", ["one photo, not a folder of photos; give the folder photos"]),
    ("features out --out new", ["holds features, not photos"]),
    ("features pca --out new", ["holds a PCA, not photos"]),
    ("features out/features --out new", ["a table of an output, not photos"]),
    ("features empty --out new", ["there is nothing here"]),
    ("features missing --out new", ["there is nothing here"]),
    ("features notes --out new", ["no photo in it or below", "1 .txt (a.txt)"]),
    ("features notes/a.txt --out new", ["a file; give the folder that holds photos"]),
    ("features ~/photos --out new", ["the shell expands ~ outside of quotes only"]),
    ("features photos --out ~/new", ["the shell expands ~ outside of quotes only"]),
    ("features photos --out new --weights photos/Kiwi/view-00.jpg", ["no file of weights (safetensors), which bootstrap/weights.sh makes"]),
    ("features photos --out new --weights missing", ["missing: weights: No such file"]),
    ("features photos --out new --only doc", ["no photo ends in .doc; what may be asked for: jpg"]),
    ("features out/_manifest.json --out new", ["a file; give the folder that holds photos"]),
    ("features photos --out s3:/bucket", ["looks like a mistyped s3://bucket/prefix"]),
    ("features gs://bucket --out new", ["gs:// locations are not supported"]),
    ("report out --out photos/Kiwi/view-00.jpg", ["there is a file that is no report; give another name, such as report.html"]),
    ("report out --out .", ["a folder, not a file"]),
    ("features photos --out out --resume --overwrite", ["cannot be used with"]),
    ("features my photos --out new", ["unexpected argument 'photos'", 'A name with spaces needs quotes: "my photos"']),
    ("features photos/Kiwi/view-00.jpg photos/Kiwi/view-01.jpg --out new", ["One location is taken, a folder with all that is below it"]),
    ("features photos --out new --precision f16", ["possible values: f32, bf16"]),
    ("features photos", ["--out <LOCATION>"]),
    ("features photos --out new --labels notes/a.txt", ["the table needs the columns path and label; it has a note"]),
    ("features photos --out new --labels photos/Kiwi/view-00.jpg", ["neither Parquet nor text in UTF-8"]),
    ("project out out --out new", ["holds features, not a PCA"]),
    ("project pca pca --out new", ["holds a PCA, not features"]),
    ("project pca photos --out new", ["holds photos, not features"]),
    ("pca out", ["--out <LOCATION>"]),
    ("pca out --out new --components many", ["invalid value 'many' for '--components <K>'"]),
    ("features photos --out new --checkpoint soon", ["invalid value 'soon' for '--checkpoint <SECONDS>'"]),
    ("check photos -o new", ["holds photos, not features"]),
    ("check pca -o new", ["holds a PCA, not features"]),
    ("check out -o new --fail-on twins", ["invalid value 'twins' for '--fail-on <KINDS>': there are: duplicate, near duplicate"]),
    ("check out -o new --against photos", ["holds photos, not features"]),
    ("check-acess photos", ["'check-access'"]),
    ("features photos --output new", ["'--out'"]),
]


@pytest.mark.parametrize("typed, said", TABLE, ids=[typed.replace("/", "|") for typed, _ in TABLE])
def test_a_mistake_says_what_to_type(typed, said, place, monkeypatch):
    monkeypatch.chdir(place)
    part = next((place / "out").glob("features/part-*.parquet")).relative_to(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    done = subprocess.run([os.environ["FRUITS"], *(word.format(part=part) for word in typed.split())], capture_output=True, text=True)
    error = done.stderr.replace(str(place) + "/", "")
    print(error)
    assert done.returncode in (1, 2) and done.stdout == ""
    for words in said:
        assert words in error
    assert "os error 20" not in error and "line 5" not in error and "kept" not in error
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before, "nothing is touched"


def test_a_finished_output_is_not_computed_anew_by_another_network(place, tmp_path):
    shutil.copytree(place / "out", tmp_path / "out")
    before = (tmp_path / "out" / "_manifest.json").read_text()
    for option, said in [("--draft", "of photos drafts"), ("--upright", "of photos upright")]:
        refused = run("features", SAMPLE, "--out", tmp_path / "out", "--resume", option, status=1).stderr
        assert "there are features of photos as they lie, not" in refused and "--overwrite" in refused, refused
    (tmp_path / "out" / "_manifest.json").write_text(before.replace('"MobileNetV2', '"Another'))
    assert "there are features of Another" in run("features", SAMPLE, "--out", tmp_path / "out", "--resume", status=1).stderr


def test_commands_speak_in_two_ways(place, tmp_path):
    """People read standard error; standard output is for programs, and empty unless they ask."""
    for arguments in [("features", SAMPLE), ("pca", place / "out"), ("report", place / "out")]:
        for option in ([], ["--json"]):
            out = tmp_path / f"{arguments[0]}{len(option)}.html"
            done = run(*arguments, "-o", out, *option)
            lines = done.stdout.splitlines()
            assert len(lines) == len(option) and all(json.loads(line)["out"] == str(out) for line in lines)
            assert str(out) in done.stderr or arguments[0] == "pca"
    assert "of 96 photos" in run("features", SAMPLE, "-o", tmp_path / "log").stderr, "how far it is, off a terminal too"


def test_numbers_of_things(place, tmp_path):
    shutil.copytree(SAMPLE / "Kiwi", tmp_path / "photos")
    for extra in list((tmp_path / "photos").glob("*"))[1:]:
        extra.unlink()
    done = run("features", tmp_path / "photos", "-o", tmp_path / "one").stderr
    assert "1 photo with features, " in done and "earlier" not in done and "failure" not in done
    (tmp_path / "photos" / "bad.jpg").write_text("no photo")
    done = run("features", tmp_path / "photos", "-o", tmp_path / "one", "--resume").stderr
    assert "1 photo with features, 1 from an earlier run, 1 failure" in done
    stopped = run("features", tmp_path / "photos", "-o", tmp_path / "two", "--max-failures", 0, status=1).stderr
    assert "--max-failures: input: 1 photo failed, 0 may; the last: " in stopped
    assert "--components: there are 95; all are kept" in run("pca", place / "out", "-o", tmp_path / "pca", "--components", 9999).stderr


def test_what_was_computed_is_said(tmp_path, monkeypatch):
    """Nothing is kept of a run that never began."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    error = run("features", "s3://photos/Test", "-o", tmp_path / "out", status=1).stderr
    assert "no credentials found; set AWS_PROFILE" in error and "kept" not in error and len(error.splitlines()) == 1
    shutil.copytree(SAMPLE, tmp_path / "photos")
    (tmp_path / "photos" / "Zucchini").mkdir()
    (tmp_path / "photos" / "Zucchini" / "bad.jpg").write_text("no photo")
    stopped = run("features", tmp_path / "photos", "-o", tmp_path / "out", "--max-failures", 0, status=1).stderr
    kept = int(re.search(r"The features of (\d+) photos are kept: --resume", stopped)[1])
    assert kept > 0 and run("features", tmp_path / "photos", "-o", tmp_path / "out", "--resume", "--json").json["reused"] == kept


def test_a_report_of_another_pca(place, tmp_path):
    run("pca", place / "out", "-o", tmp_path / "scaled", "--standardize")
    run("report", place / "out", "-o", tmp_path / "own.html")
    run("report", place / "out", "--pca", tmp_path / "scaled", "-o", tmp_path / "scaled.html")
    assert (tmp_path / "own.html").read_text() != (tmp_path / "scaled.html").read_text()
    run("report", place / "out", "-o", tmp_path / "own.html")
