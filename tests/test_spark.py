"""Spark by command; and the worker by itself, as Spark's tasks start it."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import boto3
import numpy
import pandas
import pytest
from conftest import SAMPLE, rows, run, same

FRUITS = os.environ["FRUITS"]
RUN = "0123456789abcdef"
VERSIONS = os.environ["FRUITS_TEST_SPARK"].split(":")


@pytest.fixture
def spark(monkeypatch):
    """The last version of Spark is the one that is installed here."""
    monkeypatch.setenv("SPARK_HOME", VERSIONS[-1])


@pytest.mark.parametrize("home", VERSIONS, ids=lambda home: pathlib.Path(home).name)
def test_the_options_are_the_workers_too(home, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_HOME", home)
    photos = tmp_path / "it's photos"
    shutil.copytree(SAMPLE / "Kiwi", photos / "Kiwi")
    shutil.copytree(SAMPLE / "Lemon", photos / "Lemon")
    (photos / "Kiwi" / "bad.jpg").write_text("no photo")
    (photos / "Kiwi" / "drawing.png").write_bytes(b"not asked for")
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{path.relative_to(photos)},{path.stem[-1]}\n" for path in sorted(photos.rglob("*.jpg"))))
    weights = shutil.copy(os.environ["FRUITS_WEIGHTS"], tmp_path / "other weights.safetensors")
    monkeypatch.setenv("FRUITS_WEIGHTS", str(tmp_path / "none"))
    options = ["--only", "jpg", "--labels", tmp_path / "labels.csv", "--views", "turned", "--texture", "--upright", "--draft", "--weights", weights]
    options += ["--max-bytes", max(path.stat().st_size for path in photos.rglob("*.jpg")) - 1]
    alone = run("features", photos, "-o", tmp_path / "alone", "--json", *options)
    there = run("features", photos, "-o", tmp_path / "there", "--json", "--on", "spark", *options)
    assert (there.json["photos"], there.json["failures"]) == (alone.json["photos"], alone.json["failures"]) == (31, 2)
    assert same(rows(tmp_path / "there"), rows(tmp_path / "alone")) and rows(tmp_path / "there")[2].shape == (31, 1664)
    failures = [next((tmp_path / out).glob("_failures-*.jsonl")).read_text() for out in ("alone", "there")]
    assert failures[0] == failures[1]
    assert "33 photos" in there.stderr and "photos/s" in there.stderr, "how far it is"


def test_where_a_cluster_has_a_master_its_nodes_do_the_work(features_of, spark, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path / "conf"))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text("# ours\nspark.master local-cluster[2,4,1024]\n")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    (tmp_path / "results").mkdir()
    out = tmp_path / "results" / "out"
    told = run("-v", "features", SAMPLE, "-o", out, "--on", "spark", "--executors", "2", "--json")
    assert told.json["photos"] == 96 and same(rows(out), rows(features_of(SAMPLE)))
    assert len(list(out.glob("features/*.parquet"))) == 8 and "spark.executor.instances" in told.stderr
    assert os.listdir(tmp_path / "results") == ["out"], "what was exchanged is removed"

    answer = run("pca", out, "-o", tmp_path / "pca", "--on", "spark", "--components", "5", "--json").json
    alone = run("pca", out, "-o", tmp_path / "alone", "--components", "5", "--json").json
    assert answer["components"] == alone["components"] and answer["n"] == 96
    assert numpy.allclose(answer["explained_variance"], alone["explained_variance"], rtol=1e-9)
    assert len(pandas.read_parquet(tmp_path / "pca" / "projection")) == 96


def test_photos_are_identified_as_on_one_machine(classifier, spark, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE / "Kiwi", photos / "Kiwi")
    (photos / "Kiwi" / "bad.jpg").write_text("no photo")
    alone = run("identify", classifier[0], photos, "-o", tmp_path / "alone", "--json").json
    there = run("identify", classifier[0], photos, "-o", tmp_path / "there", "--on", "spark", "--json").json
    assert there | {"out": ""} == alone | {"out": ""} and (alone["photos"], alone["failures"]) == (16, 1)
    of_each = [pandas.read_parquet(tmp_path / name / "answers") for name in ("alone", "there")]
    pandas.testing.assert_frame_equal(*of_each, check_exact=True)
    assert len(list((tmp_path / "there").glob("answers/*.parquet"))) == 4, "tasks"
    assert "--out" in run("identify", classifier[0], photos, "--on", "spark", status=2).stderr
    taken = run("identify", classifier[0], photos, "-o", tmp_path / "there", "--on", "spark", status=1).stderr
    assert "--overwrite" in taken


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ended_and_resumed(ending, features_of, spark, processes, tmp_path):
    out = tmp_path / "out"
    command = [FRUITS, "features", SAMPLE, "-o", out, "--on", "spark"]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while not list(out.glob("_runs/*/_index/*.json")):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(ending)
    said = driver.communicate()[1]
    assert driver.returncode == -ending, "as on one machine"
    if ending == signal.SIGKILL:
        for process in processes():  # nobody was there to end them
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
    else:
        assert "spark: interrupted" in said and "photos are kept: --resume" in said
        assert not (out / "_owner.json").exists()
    deadline = time.monotonic() + 20
    while processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(), "Spark and its workers have ended"
    assert not (out / "_SUCCESS").exists()
    answer = run(*command[1:], "--resume", "--json").json
    assert (answer["photos"], answer["failures"]) == (96, 0) and 0 < answer["reused"] <= 96
    assert same(rows(out), rows(features_of(SAMPLE)))


def test_what_another_wrote_is_gone_on_with(features_of, spark, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(SAMPLE, photos)
    run("features", photos, "-o", out)
    (photos / "Kiwi" / "view-03.jpg").write_bytes((photos / "Lemon" / "view-03.jpg").read_bytes())
    (photos / "Lemon" / "view-05.jpg").unlink()
    answer = run("features", photos, "-o", out, "--on", "spark", "--resume", "--json").json
    assert (answer["photos"], answer["reused"]) == (95, 94)
    run("features", photos, "-o", tmp_path / "anew")
    assert same(rows(out), rows(tmp_path / "anew"))
    assert "by other weights" not in run("features", photos, "-o", out, "--on", "spark", "--resume", "--texture", status=1).stderr
    assert "not empty" in run("features", photos, "-o", out, "--on", "spark", status=1).stderr


def test_mistakes_are_sentences(spark, tmp_path, monkeypatch):
    def says(*arguments, status=1):
        return run("features", SAMPLE, "-o", tmp_path / "out", *arguments, status=status).stderr

    for place in ["yarn", "emr", "emr:s-1", "spark:", ""]:
        assert "say spark, or emr:ID" in says("--on", place, status=2)
    assert "--checkpoint" in says("--on", "spark", "--checkpoint", "5", status=2)
    assert "--on" in says("--executors", "2", status=2)
    assert "reads and writes on S3 only" in says("--on", "emr:j-1")
    assert "there is nothing here" in run("features", tmp_path / "none", "-o", tmp_path / "out", "--on", "spark", status=1).stderr
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE / "Kiwi", photos / "Kiwi")
    (photos / "Kiwi" / "bad.jpg").write_text("no photo")
    told = run("features", photos, "-o", tmp_path / "out", "--on", "spark", "--max-failures", "0", status=1).stderr
    assert "1 photo failed, 0 may" in told and not (tmp_path / "out" / "_SUCCESS").exists()
    assert "not done after" in run("features", photos, "-o", tmp_path / "late", "--on", "spark", "--deadline", "1", status=1).stderr
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    assert "bootstrap/spark.sh" in says("--on", "spark")


def order(tmp_path, photos, **changes):
    manifest = json.loads((tmp_path / "model" / "_manifest.json").read_text())
    work = {"source": str(SAMPLE), "destination": str(tmp_path / "out"), "run": RUN, "model": manifest["model"]}
    work |= {"weights": None, "limits": {"bytes": 1 << 20, "pixels": 1 << 20}, "max_failures": 0, "is_resumed": False}
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    (out / "_owner.json").write_text(json.dumps({"run": RUN, "state": "working", "process": 1, "host": ""}))
    first = {"protocol": 4, "task": 7, "items": len(photos), "work": {"extract": work}} | changes
    items = [{"key": str(photo.relative_to(SAMPLE)), "size": photo.stat().st_size, "version": "", "label": photo.parent.name} for photo in photos]
    return "".join(json.dumps(line) + "\n" for line in [first, *items])


def worker(lines, status=0, **environment):
    done = subprocess.run([FRUITS, "worker"], input=lines, capture_output=True, text=True, timeout=60, env=os.environ | environment)
    assert done.returncode == status, done.stderr
    return done


def test_an_order_and_its_answer(tmp_path):
    run("features", SAMPLE / "Kiwi", "--out", tmp_path / "model")
    photos = sorted((SAMPLE / "Kiwi").glob("*.jpg"))
    answer = json.loads(worker(order(tmp_path, photos)).stdout)
    result = answer["result"]["extracted"]
    assert (answer["protocol"], answer["task"], answer["items"]) == (4, 7, 16)
    assert result["photos"] == 16 and result["failures"] == []
    (part,) = result["parts"]
    assert re.fullmatch(rf"features/part-00007-00000-[0-9]{{10}}-{RUN}\.parquet", part["file"])
    assert {file["name"] for file in result["files"]} == {part["file"], part["file"].replace("features/", "_index/").replace(".parquet", ".json")}
    made = tmp_path / "out" / "_runs" / RUN
    first = (made / part["file"]).read_bytes()
    (again,) = json.loads(worker(order(tmp_path, photos)).stdout)["result"]["extracted"]["parts"]
    assert again["file"] != part["file"] and (made / part["file"]).read_bytes() == first, "every try has files of its own"
    assert again["sha256"] == part["sha256"]

    assert worker("").stdout == "", "an empty partition"
    told = worker(order(tmp_path, photos), RUST_LOG="info")
    assert "task 7: 16 items" in told.stderr and len(told.stdout.splitlines()) == 1
    assert "7 of 17 lines came" not in worker(order(tmp_path, photos, items=17), status=1).stdout
    assert "16 of 17 lines came" in worker(order(tmp_path, photos, items=17), status=1).stderr
    assert "version 5" in worker(order(tmp_path, photos, protocol=5), status=1).stderr
    assert "protocol, line" in worker("no JSON\n", status=1).stderr
    lines = order(tmp_path, photos).replace('"MobileNetV2', '"Another')
    assert "Another" in worker(lines, status=1).stderr
    lines = order(tmp_path, photos)
    (tmp_path / "out" / "_owner.json").write_text(json.dumps({"run": RUN[::-1], "state": "working", "process": 1, "host": ""}))
    assert "another run has taken this folder over" in worker(lines, status=1).stderr


def test_a_worker_whose_spark_is_gone_ends(tmp_path):
    run("features", SAMPLE / "Kiwi", "--out", tmp_path / "model")
    lines = tmp_path / "lines"
    lines.write_text(order(tmp_path, sorted((SAMPLE / "Kiwi").glob("*.jpg")), items=1000))
    os.mkfifo(tmp_path / "pipe")
    # Spark stands between: it starts the worker, feeds it some lines, holds the pipe open and is killed.
    script = 'exec 3<>"$1"; "$2" worker <&3 >/dev/null 2>&1 & echo $!; cat "$3" >&3; exec sleep 60'
    spark = subprocess.Popen(["bash", "-c", script, "spark", tmp_path / "pipe", FRUITS, lines], stdout=subprocess.PIPE, text=True)
    pid = int(spark.stdout.readline())
    holder = os.open(tmp_path / "pipe", os.O_RDWR)  # so that not the end of its lines ends it
    time.sleep(1)
    spark.send_signal(signal.SIGKILL)
    spark.wait()
    for _ in range(50):
        if not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.1)
    os.close(holder)
    assert not os.path.exists(f"/proc/{pid}"), "the worker is an orphan"


@pytest.mark.parametrize("release", ["emr-6.9.0", "emr-7.13.0"])
def test_what_a_cluster_on_emr_is_asked(release, s3, aws, monkeypatch):
    aws(s3.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    bucket = release.replace(".", "-")
    s3.upload(SAMPLE, bucket, "it's Test")
    emr = boto3.client("emr", endpoint_url=s3.endpoint, region_name="eu-west-3", aws_access_key_id="id", aws_secret_access_key="key")
    cluster = emr.run_job_flow(Name="fruits", ReleaseLabel=release, Instances={"KeepJobFlowAliveWhenNoSteps": True})["JobFlowId"]
    command = ["features", f"s3://{bucket}/it's Test", "-o", f"s3://{bucket}/out", "--on", f"emr:{cluster}", "--executors", "3"]
    assert "not done after" in run(*command, "--deadline", "5", status=1).stderr  # nothing runs in moto
    (step,) = emr.list_steps(ClusterId=cluster)["Steps"]
    arguments = step["Config"]["Args"]
    assert step["Config"]["Jar"] == "command-runner.jar" and step["ActionOnFailure"] == "CONTINUE"
    place = re.fullmatch(rf"s3://{bucket}/out-scratch/spark-[0-9a-f]{{16}}/tasks\.sql", arguments[-1])
    assert place, arguments
    expected = {
        "spark.dynamicAllocation.enabled=false",
        "spark.executor.cores=4",
        "spark.executor.instances=3",
        "spark.speculation=true",
        "spark.speculation.quantile=0.5",
        "spark.sql.catalogImplementation=in-memory",
        "spark.sql.files.maxPartitionBytes=1g",
        "spark.sql.files.openCostInBytes=1g",
        "spark.task.cpus=4",
    }
    assert arguments[0] == "spark-sql" and arguments[-2] == "-f"
    assert arguments[1:-2:2] == ["--conf"] * len(expected) and set(arguments[2:-2:2]) == expected
    listing = s3.client.list_objects_v2(Bucket=bucket)
    assert not [item for item in listing["Contents"] if "scratch" in item["Key"]], "what was exchanged is removed"
    ended = subprocess.Popen([FRUITS, *command, "--resume"], stderr=subprocess.PIPE, text=True)
    while len(emr.list_steps(ClusterId=cluster)["Steps"]) < 2:
        assert ended.poll() is None, ended.stderr.read()
        time.sleep(0.1)
    ended.terminate()
    assert "spark: interrupted" in ended.communicate()[1] and ended.returncode == -signal.SIGTERM
    assert {step["Status"]["State"] for step in emr.list_steps(ClusterId=cluster)["Steps"]} == {"CANCELLED"}
    listing = s3.client.list_objects_v2(Bucket=bucket)
    assert not [item for item in listing["Contents"] if "scratch" in item["Key"] or "_owner" in item["Key"]]
    assert "reads and writes on S3 only" in run("features", SAMPLE, *command[2:], status=1).stderr
