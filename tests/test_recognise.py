"""Train, evaluate, identify: what a classifier says, and that it says the same everywhere."""

import json
import shutil

import numpy
import pandas
import PIL.Image
import PIL.ImageOps
import pytest
from conftest import SAMPLE, SHARED, rows, run


def test_training_prints_both_numbers(classifier):
    out, done = classifier
    assert (done.json["photos"], done.json["labels"], done.json["failures"]) == (96, 6, 0)
    assert done.json["by_chance"]["accuracy"] > 0.9 and done.json["by_group"]["photos"] == 96
    assert "when others of their group were for training" in done.stderr and "6 labels have one group only" in done.stderr
    page = (out.parent / "report.html").read_text()
    assert page.count("<svg ") == 1 and "Is it as sure as it may be?" in page and "http" not in page.replace("http://www.w3.org/2000/svg", "")
    photos = pandas.read_parquet(out / "photos")
    assert list(photos.columns) == ["path", "label", "features", "picture"] and len(photos) == 96
    assert all(picture.startswith(b"\xff\xd8") for picture in photos.picture)


def test_one_photo_is_answered_in_words_and_json(classifier):
    photo = SAMPLE / "Kiwi" / "view-03.jpg"
    words = run("identify", classifier[0], photo).stdout
    assert words.startswith("Kiwi\n") and "The nearest photos:" in words and str(photo) in words
    answer = run("identify", classifier[0], photo, "--json").json
    assert answer["answer"] == answer["answers"][0] == "Kiwi" and not answer["is_unknown"]
    assert answer["probability"] == answer["probabilities"][0] > 0.5 and len(answer["answers"]) == 5
    assert answer["nearest"][0]["path"] == str(photo) and abs(answer["nearest"][0]["similarity"] - 1) < 1e-12


def test_many_photos_are_a_table(classifier, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE / "Kiwi", photos / "a")
    (photos / "a" / "bad.jpg").write_bytes(b"no photo")
    answer = run("identify", classifier[0], photos, "--out", tmp_path / "out", "--json").json
    assert (answer["photos"], answer["failures"]) == (16, 1)
    table = pandas.read_parquet(tmp_path / "out" / "answers")
    assert list(table.columns) == ["path", "answer", "probability", "known", "is_unknown", "answers", "probabilities"]
    assert set(table.answer) == {"Kiwi"} and table.is_unknown.dtype == bool and table.known.dtype == float
    assert all(len(answers) == 5 and answers[0] == "Kiwi" for answers in table.answers)
    assert all(numpy.all(numpy.diff(p) <= 0) and p.sum() <= 1 + 1e-12 for p in table.probabilities)
    failures = [json.loads(line) for file in (tmp_path / "out").glob("_failures-*.jsonl") for line in file.read_text().splitlines()]
    assert [failure["path"] for failure in failures] == [str(photos / "a" / "bad.jpg")]
    assert (tmp_path / "out" / "_SUCCESS").exists()
    lines = run("identify", classifier[0], photos).stdout.splitlines()
    assert len(lines) == 16 and lines[0].startswith(f"{photos}/a/view-00.jpg: Kiwi ")
    # The same, to the last bit, one by one.
    for row in table.head(3).itertuples():
        one = run("identify", classifier[0], row.path, "--json").json
        assert one["probabilities"] == list(row.probabilities) and one["known"] == row.known


def test_four_views_are_averaged(tmp_path):
    photo = PIL.Image.open(SAMPLE / "Banana" / "view-05.jpg").convert("RGB").resize((224, 224), PIL.Image.Resampling.BICUBIC)
    for quarters in range(4):
        path = tmp_path / "turned" / "Banana" / f"{quarters}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.rotate(90 * quarters).save(path)
    run("features", tmp_path / "turned", "--out", tmp_path / "four", "--texture")
    (tmp_path / "photo" / "Banana").mkdir(parents=True)
    photo.save(tmp_path / "photo" / "Banana" / "0.png")
    run("features", tmp_path / "photo", "--out", tmp_path / "mean", "--views", "turned", "--texture")
    expected, found = rows(tmp_path / "four")[2].astype(float).mean(0), rows(tmp_path / "mean")[2][0]
    assert numpy.abs(found - expected).max() < 1e-5
    manifest = json.loads((tmp_path / "mean" / "_manifest.json").read_text())
    assert manifest["model"]["views"] == "turned"
    refused = run("features", tmp_path / "photo", "--out", tmp_path / "mean", "--resume", "--texture", status=1).stderr
    assert "there are features of photos in four views, not in one view, in it" in refused


def test_texture_lies_behind_the_features(features_of, tmp_path):
    run("features", SAMPLE / "Kiwi", "--out", tmp_path / "out", "--texture")
    found, without = rows(tmp_path / "out")[2], rows(features_of(SAMPLE / "Kiwi"))[2]
    assert found.shape == (16, 1280 + 2 * 192) and numpy.array_equal(found[:, :1280], without)
    means, deviations = found[:, 1280:1472] / 8, found[:, 1472:] / 16
    assert (means >= 0).all() and (means <= 6).all() and (deviations >= 0).all() and (deviations <= 3).all()
    # More paper around the fruit changes it little; the network's last features do change.
    wide = tmp_path / "wide" / "Kiwi"
    wide.mkdir(parents=True)
    for photo in (SAMPLE / "Kiwi").glob("*.jpg"):
        picture = PIL.Image.open(photo).convert("RGB")
        sheet = PIL.Image.new("RGB", (picture.width * 8 // 7, picture.height * 8 // 7), "white")
        sheet.paste(picture, (picture.width // 14, picture.height // 14))
        sheet.save(wide / f"{photo.stem}.png")
    run("features", wide, "--out", tmp_path / "moved", "--texture")
    moved = rows(tmp_path / "moved")[2]
    cosine = lambda part: numpy.mean([a @ b / numpy.linalg.norm(a) / numpy.linalg.norm(b) for a, b in zip(found[:, part], moved[:, part])])
    assert cosine(slice(1280, None)) > 0.99 and cosine(slice(1280, None)) > cosine(slice(1280))
    refused = run("features", SAMPLE / "Kiwi", "--out", tmp_path / "out", "--resume", status=1).stderr
    assert "there are features with texture, not without, in it" in refused


def test_features_that_were_made_otherwise_are_refused(classifier, features_of, tmp_path):
    refused = run("evaluate", classifier[0], features_of(SAMPLE), status=1).stderr
    assert "of photos in four views, not in one view" in refused
    # Trained with features of one view, it takes photos in one view.
    run("train", features_of(SAMPLE), "--out", tmp_path / "plain")
    evaluated = run("evaluate", tmp_path / "plain", features_of(SAMPLE), "--json")
    assert evaluated.json["seen"] == 96 and "96 photos of these were for training" in evaluated.stderr
    assert run("identify", tmp_path / "plain", SAMPLE / "Kiwi" / "view-03.jpg", "--json").json["answer"] == "Kiwi"


def test_photos_of_groups_that_were_for_training_are_told(tmp_path):
    for photo in SAMPLE.glob("*/*.jpg"):
        part = tmp_path / ("first" if photo.stem < "view-08" else "second") / photo.parent.name
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, part)
    for part in ("first", "second"):
        run("features", tmp_path / part, "--out", tmp_path / f"{part}-features")
    run("train", tmp_path / "first-features", "--out", tmp_path / "classifier")
    evaluated = run("evaluate", tmp_path / "classifier", tmp_path / "second-features", "--json")
    assert evaluated.json["seen"] == 0 and "48 photos of these are of a group that has the name of one" in evaluated.stderr
    evaluated = run("evaluate", tmp_path / "classifier", tmp_path / "second-features", "--groups", "photos")
    assert "of these are of a group" not in evaluated.stderr


def test_an_output_that_is_there_is_refused_before_the_work(classifier, tmp_path):
    for command in (["train", tmp_path / "nothing"], ["identify", tmp_path / "nothing", SAMPLE]):
        refused = run(*command, "--out", classifier[0], status=1).stderr
        assert f"{classifier[0]}" in refused and "nothing" not in refused


def test_what_is_no_fruit_is_unknown(classifier):
    answer = run("identify", classifier[0], SAMPLE.parent / "notebooks" / "report.png", "--json").json
    assert answer["is_unknown"]
    assert run("identify", classifier[0], SAMPLE.parent / "notebooks" / "report.png").stdout.startswith("I do not know this.")


def test_a_classifier_that_is_damaged_is_refused(classifier, tmp_path):
    for name in ["_classifier", "photos/part", "_manifest", "_SUCCESS"]:
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(classifier[0], copy)
        file = next(path for path in copy.rglob("*") if str(path.relative_to(copy)).startswith(name))
        file.write_bytes(file.read_bytes()[:-9])
        run("identify", copy, SAMPLE / "Kiwi" / "view-03.jpg", status=1)
    manifest = json.loads((classifier[0] / "_manifest.json").read_text())
    copy = tmp_path / "labels"
    shutil.copytree(classifier[0], copy)
    (copy / "_manifest.json").write_text(json.dumps(manifest | {"labels": manifest["labels"][:3]}))
    assert "missing or damaged" in run("identify", copy, SAMPLE / "Kiwi" / "view-03.jpg", status=1).stderr


def test_whole_videos_that_were_left_out(tmp_path):
    photos = SHARED / "photos" / "fruits91"
    if not photos.is_dir():
        pytest.skip("fruits91 is not here")
    first, others = tmp_path / "first", tmp_path / "others"
    for label in ["Apple Golden 1", "Banana", "Kiwi", "Pear", "Tomato 1"]:
        for photo in (photos / label).iterdir():
            place = (others if photo.name.startswith("r") else first) / label
            place.mkdir(parents=True, exist_ok=True)
            (place / photo.name).symlink_to(photo)
    run("train", first, "--out", tmp_path / "classifier")
    answer = run("evaluate", tmp_path / "classifier", others, "--report", tmp_path / "page.html", "--json").json
    assert answer["seen"] == 0 and answer["photos"] == sum(1 for _ in others.rglob("*.jpg")) and answer["accuracy"] > 0.8
    assert "What is mistaken" in (tmp_path / "page.html").read_text()
