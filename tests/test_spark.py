"""The worker by itself, as Spark's tasks start it."""

import json
import os
import re
import signal
import subprocess
import time

import boto3
import pytest
from conftest import SAMPLE, run
from test_kernel import start  # noqa: F401

FRUITS = os.environ["FRUITS"]
RUN = "0123456789abcdef"


def order(tmp_path, photos, **changes):
    manifest = json.loads((tmp_path / "model" / "_manifest.json").read_text())
    work = {"source": str(SAMPLE), "destination": str(tmp_path / "out"), "run": RUN, "model": manifest["model"]}
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    (out / "_owner.json").write_text(json.dumps({"run": RUN, "state": "working", "process": 1, "host": ""}))
    first = {"protocol": 2, "task": 7, "items": len(photos), "work": {"extract": work}} | changes
    items = [{"key": str(photo.relative_to(SAMPLE)), "size": photo.stat().st_size, "version": ""} for photo in photos]
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
    assert (answer["protocol"], answer["task"], answer["items"]) == (2, 7, 16)
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
    assert "version 3" in worker(order(tmp_path, photos, protocol=3), status=1).stderr
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
def test_what_a_cluster_on_emr_is_asked(release, s3, aws, start, monkeypatch):  # noqa: F811
    aws(s3.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    bucket = release.replace(".", "-")
    s3.upload(SAMPLE, bucket, "it's Test")
    emr = boto3.client("emr", endpoint_url=s3.endpoint, region_name="eu-west-3", aws_access_key_id="id", aws_secret_access_key="key")
    cluster = emr.run_job_flow(Name="fruits", ReleaseLabel=release, Instances={"KeepJobFlowAliveWhenNoSteps": True})["JobFlowId"]
    kernel = start()
    said = kernel.run(
        f'Spark::emr("{cluster}", "s3://{bucket}/scratch")?.executors(3).memory("2g").deadline(std::time::Duration::from_secs(5))'
        f'.extract(&MobileNetV2::imagenet()?, "s3://{bucket}/it\'s Test", "s3://{bucket}/out", IfExists::Refuse).await?'
    )
    assert "not done after 5 s" in said  # nothing runs in moto
    (step,) = emr.list_steps(ClusterId=cluster)["Steps"]
    arguments = step["Config"]["Args"]
    assert step["Config"]["Jar"] == "command-runner.jar" and step["ActionOnFailure"] == "CONTINUE"
    place = re.fullmatch(rf"s3://{bucket}/scratch/spark-[0-9a-f]{{16}}/tasks\.sql", arguments[-1])
    assert place, arguments
    expected = {
        "spark.dynamicAllocation.enabled=false",
        "spark.executor.cores=4",
        "spark.executor.instances=3",
        "spark.executor.memoryOverhead=2g",
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
