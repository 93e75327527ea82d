"""The binary as a user and other programs see it."""

import pathlib
import shutil

import duckdb
import numpy
import pandas
import PIL.Image
import PIL.ImageOps
import pyarrow.parquet
from conftest import SAMPLE, rows, run


def test_other_tools_read_the_features(features_of):
    out = features_of(SAMPLE)
    frame = pandas.read_parquet(out / "features")
    assert list(frame.columns) == ["path", "label", "features"]
    assert len(frame) == 96 and sorted(set(frame.label)) == sorted(path.name for path in SAMPLE.iterdir() if path.is_dir())
    matrix = numpy.stack(frame.features)
    assert matrix.shape == (96, 1280) and matrix.dtype == numpy.float32
    assert all(path == str(SAMPLE / label / path.rsplit("/", 1)[1]) for path, label in zip(frame.path, frame.label))

    rows = duckdb.sql(f"select path, typeof(features), len(features), features from '{out}/features/*.parquet' order by path").fetchall()
    assert [row[0] for row in rows] == sorted(frame.path)
    assert {row[1:3] for row in rows} == {("FLOAT[]", 1280)}
    assert numpy.array_equal(numpy.array([row[3] for row in rows], dtype=numpy.float32), matrix)

    assert pyarrow.parquet.read_schema(next(out.glob("features/*.parquet"))).field("features").type.value_type == "float"


def test_pca_ends_with_json_and_reads_back(features_of, tmp_path):
    answer = run("pca", features_of(SAMPLE), "--out", tmp_path / "pca", "--json").json
    ratios = answer["explained_variance_ratio"]
    assert answer["n"] == 96 and len(ratios) == 95 and abs(sum(ratios) - 1) < 1e-12
    assert list(answer["components_for"]) == ["0.9", "0.95", "0.99", "0.999", "0.9999"]
    cumulative = numpy.cumsum(ratios)
    for share, k in answer["components_for"].items():
        assert k == int(numpy.argmax(cumulative >= float(share))) + 1
    projection = pandas.read_parquet(tmp_path / "pca" / "projection")
    assert numpy.stack(projection.projection).shape == (96, 95)


def test_other_photos_on_a_pca_that_was_saved(features_of, tmp_path):
    run("pca", features_of(SAMPLE), "-o", tmp_path / "pca")
    answer = run("project", tmp_path / "pca", features_of(SAMPLE / "Kiwi"), "-o", tmp_path / "kiwis", "--json").json
    assert (answer["photos"], answer["components"]) == (16, 95)
    whole = pandas.read_parquet(tmp_path / "pca" / "projection").set_index("path").projection
    kiwis = pandas.read_parquet(tmp_path / "kiwis" / "projection")
    assert all(numpy.allclose(whole[path], projection, rtol=0, atol=1e-9) for path, projection in zip(kiwis.path, kiwis.projection))


def test_report_is_one_file_that_needs_no_network(features_of, tmp_path):
    run("report", features_of(SAMPLE), "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg ") == 1 and page.count("data:image/webp") == 31 and "<iframe " in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_bad_photo_is_a_row(tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE / "Kiwi", photos / "Kiwi")
    (photos / "Kiwi" / "bad.jpg").write_text("no photo")
    answer = run("features", photos, "--out", tmp_path / "out", "--json").json
    assert (answer["photos"], answer["failures"]) == (16, 1)
    failures = pandas.read_json(next((tmp_path / "out").glob("_failures-*.jsonl")), lines=True)
    assert failures.path[0].endswith("bad.jpg") and failures.step[0] == "decode" and "no photo" in failures.message[0]
    stopped = run("features", photos, "--out", tmp_path / "stopped", "--max-failures", "0", status=1)
    assert "1 photo failed" in stopped.stderr and not (tmp_path / "stopped" / "_SUCCESS").exists()


def test_labels_from_a_table(tmp_path):
    (tmp_path / "labels.csv").write_text(f"path,label\nKiwi/view-00.jpg,green\n{SAMPLE}/Lemon/view-01.jpg,yellow\nnone.jpg,red\n")
    done = run("features", SAMPLE, "--labels", tmp_path / "labels.csv", "-o", tmp_path / "out", "--json")
    assert done.json["photos"] == 2 and "94 photos not in the table of labels, left out" in done.stderr and "1 path of the table of labels: no such photo (none.jpg)" in done.stderr
    assert rows(tmp_path / "out")[1] == ["green", "yellow"]
    for text, said in [("path,name\n", "needs the columns path and label"), ("path,label\nKiwi,a\n", "names none of these photos"), ("path,label\na,x\na,y\n", '"a" has two labels, "x" and "y"')]:
        (tmp_path / "labels.csv").write_text(text)
        assert said in run("features", SAMPLE, "--labels", tmp_path / "labels.csv", "-o", tmp_path / "no", status=1).stderr


def test_what_may_be_wrong_is_found(tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE, photos)
    shutil.copy(SAMPLE / "Kiwi" / "view-03.jpg", photos / "Lemon" / "misfiled.jpg")
    picture = PIL.Image.open(SAMPLE / "Orange" / "view-05.jpg")
    PIL.ImageOps.mirror(picture).save(photos / "Orange" / "again.jpg", quality=85)
    run("features", photos, "-o", tmp_path / "out")
    done = run("check", tmp_path / "out", "-o", tmp_path / "issues", "--json")
    assert done.json["issues"]["duplicate"] == 2 and done.json["issues"]["near duplicate"] == 2 and "report.html" in done.stderr
    issues = pandas.read_parquet(tmp_path / "issues" / "issues.parquet")
    assert list(issues.columns) == ["path", "label", "issue", "score", "proposal", "evidence"]
    found = {issue: sorted(pathlib.Path(path).name for path in group.path) for issue, group in issues.groupby("issue")}
    assert found["duplicate"] == ["misfiled.jpg", "view-03.jpg"] and found["near duplicate"] == ["again.jpg", "view-05.jpg"]
    (suspect,) = issues[(issues.issue == "suspect")].itertuples()
    assert suspect.path.endswith("misfiled.jpg") and suspect.proposal == "Kiwi" and all("/Kiwi/" in path for path in suspect.evidence)
    page = (tmp_path / "issues" / "report.html").read_text()
    assert "misfiled.jpg" in page and "http" not in page and "<script" not in page
    refused = run("check", tmp_path / "out", "-o", tmp_path / "issues", "--fail-on", "duplicate,suspect", status=1).stderr
    assert "issues were found: 2 duplicate, 1 suspect" in refused and (tmp_path / "issues" / "issues.parquet").exists()
    run("check", tmp_path / "out", "-o", tmp_path / "issues", "--fail-on", "leak,outlier")
    run("features", SAMPLE / "Kiwi", "-o", tmp_path / "training")
    answer = run("check", tmp_path / "out", "-o", tmp_path / "leaks", "--against", tmp_path / "training", "--json").json
    assert answer["issues"]["leak"] == 17, "all kiwis, and the one that is called a lemon"
    table = tmp_path / "groups.csv"
    table.write_text("path,group\n" + "".join(f"{label}/{name},{name[-6]}\n" for label, name in (path.split("/")[-2:] for path in pandas.read_parquet(tmp_path / "out").path)))
    for rule, said in [
        ("series", "groups of photos whose names differ in their numbers only"),
        ("folders", "6 groups of photos in folders of one name"),
        ("photos", "98 groups of a photo each"),
        ("found", "96 groups of chains of nearly the same pictures"),
        (r"pattern:view-(\d)", "4 groups of photos whose paths have the same view-(\\d), 2 photos by themselves"),
        (table, "groups of photos that a table puts together"),
    ]:
        assert said in run("check", tmp_path / "out", "-o", tmp_path / "grouped", "--groups", rule, "--varieties").stderr
    assert "no such groups; there are: series, folders, photos" in run("check", tmp_path / "out", "-o", tmp_path / "no", "--groups", "video", status=1).stderr


def test_mistakes_are_sentences(features_of, tmp_path, monkeypatch):
    def says(*arguments):
        return run(*arguments, status=1).stderr

    out = tmp_path / "out"
    assert "there is nothing here" in says("features", tmp_path / "missing", "--out", out)
    assert "there is nothing here" in says("features", tmp_path, "--out", out)
    assert "gs:// locations" in says("features", "gs://bucket/photos", "--out", out)
    assert "not empty" in says("features", SAMPLE, "--out", features_of(SAMPLE))
    assert "there is nothing here" in says("pca", tmp_path / "missing", "--out", out)
    monkeypatch.setenv("FRUITS_WEIGHTS", str(tmp_path / "none"))
    assert "bootstrap/weights.sh" in says("features", SAMPLE, "--out", out)
    assert run("features", SAMPLE, status=2).stderr.count("--out")
