"""Outputs: one owner at a time, whole whatever happens, and read by every tool."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import duckdb
import numpy
import pandas
import polars
import pyarrow
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest
from conftest import SAMPLE, run
from faults import Proxy

FRUITS = os.environ["FRUITS"]
COLUMNS = ["path", "label", "features"]
PHOTOS = 40 * 96


def start(*arguments):
    return subprocess.Popen([FRUITS, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition, seconds=30):
    for _ in range(int(100 * seconds)):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def many(folder, copies):
    """More photos than a machine gets through in a moment."""
    for copy in range(copies):
        for path in SAMPLE.rglob("*.jpg"):
            to = folder / f"{copy:02}" / path.relative_to(SAMPLE)
            to.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, to) if os.stat(path).st_dev == os.stat(folder).st_dev else shutil.copy(path, to)
    return folder


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    return many(tmp_path_factory.mktemp("crowd"), PHOTOS // 96)


def whole(out):
    """What the manifest says is there, with its hash, and no other table is."""
    manifest = json.loads((out / "_manifest.json").read_text())
    assert (out / "_SUCCESS").read_text() == manifest["run"]
    for file in manifest["files"]:
        content = (out / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    tables = {str(path.relative_to(out)) for path in out.rglob("*.parquet")}
    assert tables == {file["name"] for file in manifest["files"] if file["name"].endswith(".parquet")}
    assert not (out / "_runs").exists() and not (out / "_owner.json").exists()
    return manifest


# Two runs, on a folder and on services that speak S3, of which the second knows no conditions.


class Place:
    """Where outputs go: their locations, and what is there."""

    def __init__(self, root, s3=None):
        self.root, self.s3 = root, s3

    def uri(self, name):
        return f"s3://outputs/{self.root.name}/{name}" if self.s3 else str(self.root / name)

    def keys(self, name):
        if not self.s3:
            return [str(path.relative_to(self.root / name)) for path in (self.root / name).rglob("*")]
        prefix = f"{self.root.name}/{name}/"
        listing = self.s3.client.list_objects_v2(Bucket="outputs", Prefix=prefix)
        return [item["Key"].removeprefix(prefix) for item in listing.get("Contents", [])]

    def has(self, name, *words):
        return any(all(word in key for word in words) for key in self.keys(name))

    def folder(self, name):
        """What is there, as a folder."""
        if self.s3:
            shutil.rmtree(self.root / name, ignore_errors=True)
            self.s3.download(self.uri(name), self.root / name)
        return self.root / name


@pytest.fixture(params=["folder", "moto", "s3s-fs"])
def place(request, aws, tmp_path):
    if request.param == "folder":
        return Place(tmp_path)
    s3 = request.getfixturevalue(request.param.replace("moto", "s3").replace("-", "_"))
    if not any(bucket["Name"] == "outputs" for bucket in s3.client.list_buckets()["Buckets"]):
        s3.client.create_bucket(Bucket="outputs", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    aws(s3.endpoint)
    return Place(tmp_path, s3)


def test_who_is_late_leaves_nothing_in_the_others_output(crowd, place):
    out = place.uri("out")
    first = start("features", crowd, "--out", out, "--checkpoint", 0)
    until(lambda: place.has("out", "_owner.json"))
    refused = run("features", SAMPLE / "Kiwi", "--out", out, status=1)
    assert f"process {first.pid}" in refused.stderr and "is writing to this folder" in refused.stderr
    second = run("features", SAMPLE / "Kiwi", "--out", out, "--overwrite", "--json").json
    assert second["photos"] == 16
    _, error = first.communicate()
    assert first.returncode == 1 and "another run has taken this folder over" in error
    folder = place.folder("out")
    assert whole(folder)["photos"] == 16 and len(pandas.read_parquet(folder / "features")) == 16


def test_who_has_no_photos_takes_nothing_from_others(crowd, place, tmp_path):
    out, empty = place.uri("out"), tmp_path / "empty"
    empty.mkdir()
    first = start("features", crowd, "--out", out)
    until(lambda: place.has("out", "_owner.json"))
    for option in "--overwrite", "--resume":
        assert "there is nothing here" in run("features", empty, "--out", out, option, status=1).stderr
    _, error = first.communicate()
    assert first.returncode == 0, error
    assert whole(place.folder("out"))["photos"] == PHOTOS


def test_of_two_one_goes_on_with_what_the_other_has_made(crowd, place):
    out = place.uri("out")
    first = start("features", crowd, "--out", out, "--checkpoint", 0)
    until(lambda: place.has("out", "_runs/", "_index/"))
    second = start("features", crowd, "--out", out, "--resume", "--json")
    (_, error), (answer, said) = first.communicate(), second.communicate()
    assert first.returncode == 1 and "another run has taken this folder over" in error, (error, said)
    assert second.returncode == 0, said
    answer = json.loads(answer.splitlines()[-1])
    assert answer["photos"] == PHOTOS and answer["reused"] > 0 and whole(place.folder("out"))["photos"] == PHOTOS


def test_an_output_stays_until_another_one_is_finished(crowd, place):
    out = place.uri("out")
    run("features", SAMPLE / "Kiwi", "--out", out)
    late = run("features", crowd, "--out", out, "--overwrite", "--deadline", 3, "--checkpoint", 0, status=1)
    assert "the deadline passed" in late.stderr and place.has("out", "_runs/", ".parquet")
    killed = start("features", crowd, "--out", out, "--overwrite", "--checkpoint", 0)
    until(lambda: place.has("out", "_owner.json"))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert set(pandas.read_parquet(place.folder("out") / "features").label) == {"Kiwi"}
    assert run("pca", out, "--out", place.uri("pca"), "--json").json["n"] == 16
    run("features", SAMPLE / "Lemon", "--out", out, "--overwrite")
    folder = place.folder("out")
    assert whole(folder)["photos"] == 16 and set(pandas.read_parquet(folder / "features").label) == {"Lemon"}


def test_a_slow_write_of_one_pca_does_not_end_in_another(s3, aws, features_of, tmp_path):
    aws(s3.endpoint)
    features = features_of(SAMPLE)
    s3.client.create_bucket(Bucket="pcas", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})

    def slow(request, nth):
        return ("late", 4) if request.startswith("PUT") and "projection" in request else None

    with Proxy(s3.endpoint, slow) as proxy:
        aws(proxy.endpoint)
        first = start("pca", features, "--out", "s3://pcas/out")
        until(lambda: any(slow(request, 0) for request in proxy.requests))
        aws(s3.endpoint)
        run("pca", features, "--out", "s3://pcas/out", "--overwrite", "--standardize")
        _, error = first.communicate()
    assert first.returncode == 1 and "another run has taken this folder over" in error
    run("pca", features, "--out", tmp_path / "alone", "--standardize")
    out = s3.download("s3://pcas/out", tmp_path / "out")
    for table, column in [("components", "vector"), ("projection", "projection")]:
        ours, alone = (numpy.stack(pandas.read_parquet(place / table)[column]) for place in (out, tmp_path / "alone"))
        assert numpy.array_equal(ours, alone), table


# What is not ours.


def test_what_others_put_there_stays(tmp_path):
    out = tmp_path / "out"
    for name in [".DS_Store", "Thumbs.db", ".ipynb_checkpoints/a.ipynb", ".fruits-notes/mine.txt", "features/.DS_Store"]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    for option in [[], ["--resume"], ["--overwrite"]]:
        run("features", SAMPLE / "Kiwi", "--out", out, *option)
    assert len([path for path in out.rglob("*") if path.is_file() and path.read_bytes() == b"mine"]) == 5
    assert len(pandas.read_parquet(out / "features")) == 16


def test_a_report_goes_through_links_and_to_devices(features_of, tmp_path):
    (tmp_path / "real.html").write_text("before")
    (tmp_path / "link.html").symlink_to("real.html")
    run("report", features_of(SAMPLE), "--out", tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink() and "<svg " in (tmp_path / "real.html").read_text()
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "read.html", "w") as read:
        reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=read)
        run("report", features_of(SAMPLE), "--out", tmp_path / "pipe")
        reader.wait()
    assert "<svg " in (tmp_path / "read.html").read_text() and (tmp_path / "pipe").is_fifo()


def test_what_looks_like_a_mistake_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for location in ["s3:/bucket/x", "s3//bucket/x", "s3:bucket/x"]:
        assert "looks like a mistyped s3://" in run("features", SAMPLE / "Kiwi", "--out", location, status=1).stderr
    assert not list(tmp_path.iterdir())
    run("features", SAMPLE / "Kiwi", "--out", "out")
    other = run("features", SAMPLE / "Lemon", "--out", "out", "--resume", status=1).stderr
    assert "there are features of" in other and "Kiwi" in other
    assert whole(tmp_path / "out")["source"].endswith("Kiwi")
    manifest = (tmp_path / "out" / "_manifest.json").read_text()
    (tmp_path / "out" / "_manifest.json").write_text(manifest.replace('"features": 1280', f'"features": {2**64 - 1}'))
    assert "damaged" in run("pca", "out", "--out", "pca", status=1).stderr


def test_reused_photos_are_not_counted_as_fast_ones(tmp_path):
    run("features", SAMPLE / "Kiwi", "--out", tmp_path / "out")
    again = run("features", SAMPLE / "Kiwi", "--out", tmp_path / "out", "--resume", "--json")
    assert again.json["photos_per_second"] is None and "photos/s" not in again.stderr.splitlines()[-1]
    run("report", tmp_path / "out", "--out", tmp_path / "report.html")
    assert "photos/s" not in (tmp_path / "report.html").read_text()


# Tools.


def reads(table, lists):
    """Everyday calls of other tools on the folder of a table; each gives the number of its rows."""
    place, columns = str(table), pyarrow.parquet.read_table(table).column_names
    dataset = pyarrow.dataset.dataset(place)
    text = next((name for name in columns if name not in lists), columns[0])
    key = "label" if "label" in columns else text
    value = (dataset.to_table().column(key).to_pylist() or ["none"])[0]
    sql = f"'{place}/*.parquet'"
    return {
        "pandas read_parquet": lambda: len(pandas.read_parquet(place)),
        "pandas columns": lambda: len(pandas.read_parquet(place, columns=[key])),
        "pandas filters": lambda: len(pandas.read_parquet(place, filters=[(key, "in", [value])])),
        "pandas groupby": lambda: pandas.read_parquet(place).groupby(key).size().sum(),
        "pandas to_csv": lambda: len(pandas.read_parquet(place).drop(columns=lists).to_csv().splitlines()) - 1,
        "pyarrow read_table": lambda: pyarrow.parquet.read_table(place).num_rows,
        "pyarrow filters": lambda: pyarrow.parquet.read_table(place, filters=[(key, "==", value)]).num_rows,
        "pyarrow dataset": lambda: dataset.count_rows(),
        "pyarrow dataset filter": lambda: dataset.to_table(filter=pyarrow.dataset.field(key) == value).num_rows,
        "pyarrow sort_by": lambda: dataset.to_table().sort_by(key).num_rows,
        "pyarrow take": lambda: dataset.take(pyarrow.array(range(min(2, dataset.count_rows())), "int64")).num_rows,
        "pyarrow join": lambda: dataset.to_table(columns=[key, text] if key != text else [key]).join(dataset.to_table(columns=[key]).group_by(key).aggregate([]), key).num_rows,
        "pyarrow group_by": lambda: sum(dataset.to_table().group_by(key).aggregate([(key, "count")]).column(f"{key}_count").to_pylist()),
        "pyarrow write csv": lambda: pyarrow.csv.write_csv(dataset.to_table().drop_columns(lists), pyarrow.BufferOutputStream()) or dataset.count_rows(),
        "polars read_parquet": lambda: polars.read_parquet(place).height,
        "polars scan_parquet": lambda: polars.scan_parquet(place).filter(polars.col(key) == value).collect().height,
        "polars group_by": lambda: polars.scan_parquet(place).group_by(key).len().collect()["len"].sum(),
        "duckdb select": lambda: len(duckdb.sql(f"select * from {sql}").fetchall()),
        "duckdb where": lambda: len(duckdb.execute(f"select * from {sql} where {key} = ?", [value]).fetchall()),
        "duckdb group by": lambda: sum(n for _, n in duckdb.sql(f"select {key}, count(*) from {sql} group by all").fetchall()),
    }


TABLES = {"features": ["features"], "components": ["vector"], "projection": ["projection"]}


@pytest.fixture(scope="module")
def outputs(features_of, tmp_path_factory):
    root = tmp_path_factory.mktemp("outputs")
    run("pca", features_of(SAMPLE), "--out", root / "pca")
    (root / "photos" / "Bad").mkdir(parents=True)
    (root / "photos" / "Bad" / "bad.jpg").write_text("no photo")
    run("features", root / "photos", "--out", root / "nothing")
    return {"features": features_of(SAMPLE), "components": root / "pca", "projection": root / "pca", "nothing": root / "nothing"}


@pytest.mark.parametrize("table", TABLES)
def test_every_tool_reads_a_table(table, outputs):
    whole(outputs[table])
    count = pyarrow.parquet.read_table(outputs[table] / table).num_rows
    assert count == {"features": 96, "components": 95, "projection": 96}[table]
    for name, call in reads(outputs[table] / table, TABLES[table]).items():
        got = call()
        print(f"{table}: {name}: {got}")
        some = "filter" in name or "where" in name or "take" in name or "scan" in name
        assert 0 < got <= count if some else got == count, name


def test_a_table_without_rows_has_its_columns(outputs):
    table = outputs["nothing"] / "features"
    for name, call in reads(table, ["features"]).items():
        assert call() == 0, name
    for columns in [
        list(pandas.read_parquet(table).columns),
        pyarrow.dataset.dataset(table).schema.names,
        polars.read_parquet(table).columns,
        duckdb.sql(f"select * from '{table}/*.parquet'").columns,
    ]:
        assert columns == COLUMNS


def test_types_are_those_that_every_tool_knows(outputs):
    schema = pyarrow.dataset.dataset(outputs["features"] / "features").schema
    assert [str(field.type) for field in schema] == ["string", "string", "list<element: float>"]
    schema = pyarrow.dataset.dataset(outputs["components"] / "components").schema
    assert [str(field.type) for field in schema] == ["uint32", "double", "double", "double", "list<element: double>"]


def test_an_unfinished_output_is_no_table(crowd, tmp_path):
    out = tmp_path / "out"
    run("features", crowd, "--out", out, "--deadline", 3, "--checkpoint", 0, status=1)
    assert list(out.glob("_runs/*/features/*.parquet")) and not (out / "features").exists()
    assert not list(out.glob("features/*"))
    for read in [pandas.read_parquet, polars.read_parquet, pyarrow.parquet.read_table]:
        with pytest.raises(Exception):
            read(str(out / "features"))


# What version 0.1.0 wrote.

EARLIER = pathlib.Path(__file__).parent / "earlier"


@pytest.mark.parametrize("state", ["whole", "interrupted"])
def test_what_an_earlier_version_wrote_is_taken_over(state, s3, aws, tmp_path):
    bucket = s3.client.list_buckets()["Buckets"]
    if not any(there["Name"] == "earlier" for there in bucket):
        s3.client.create_bucket(Bucket="earlier", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
        for view in ["view-00", "view-01", "view-02"]:
            s3.client.put_object(Bucket="earlier", Key=f"photos/Kiwi/{view}.jpg", Body=(SAMPLE / "Kiwi" / f"{view}.jpg").read_bytes())
        s3.client.put_object(Bucket="earlier", Key="photos/Kiwi/view-03.jpg", Body=b"no photo")
    aws(s3.endpoint)
    out = tmp_path / "out"
    shutil.copytree(EARLIER / "features", out)
    if state == "whole":
        assert run("pca", out, "--out", tmp_path / "pca", "--json").json["n"] == 3
    else:
        for name in ["_SUCCESS", "_manifest.json", "_failures.jsonl"]:
            (out / name).unlink()
        assert "has not finished" in run("pca", out, "--out", tmp_path / "pca", status=1).stderr
    answer = run("features", "s3://earlier/photos", "--out", out, "--resume", "--json").json
    assert (answer["photos"], answer["reused"], answer["failures"]) == (3, 3, 1)
    whole(out)
    assert not list(out.glob("*.parquet")) and not (out / "_failures.jsonl").exists()
    before = pandas.read_parquet(next((EARLIER / "features").glob("*.parquet")))
    after = pandas.read_parquet(out / "features")
    assert list(before.path) == list(after.path) and numpy.array_equal(numpy.stack(before.features), numpy.stack(after.features))
    again = run("pca", out, "--out", tmp_path / "pca2", "--json").json
    assert again["n"] == 3
