"""Photos and results on S3, through a network and a service that misbehave: nothing is lost, and nothing comes twice."""

import os
import shutil
import subprocess
import time

import pandas
import pytest
from conftest import SAMPLE, rows, run, same
from faults import Proxy

EXPIRED = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.fixture(scope="session")
def photos(s3):
    """The sample photos on S3."""
    s3.upload(SAMPLE, "photos", "Test")
    return "s3://photos/Test"


def test_the_chain_on_s3_equals_the_chain_on_folders(s3, aws, photos, features_of, tmp_path):
    aws(s3.endpoint)
    answer = run("features", photos, "--out", "s3://photos/Results", "--json").json
    assert (answer["photos"], answer["failures"], answer["reused"]) == (96, 0, 0)
    out = s3.download("s3://photos/Results", tmp_path / "out")
    assert same(rows(out), rows(features_of(SAMPLE)))
    paths = pandas.read_parquet(out / "features").path
    assert paths[0] == "s3://photos/Test/Apple Red/view-00.jpg"

    run("pca", "s3://photos/Results", "--out", "s3://photos/Pca")
    assert (s3.download("s3://photos/Pca", tmp_path / "pca") / "_SUCCESS").exists()
    run("report", "s3://photos/Results", "--out", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().count("data:image/webp") == 31
    assert "not empty" in run("features", photos, "--out", "s3://photos/Results", status=1).stderr


FAULTS = {
    "busy": lambda request, nth: ("answer", 503, SLOW_DOWN) if nth < 6 or nth % 3 == 0 else None,
    "reset": lambda request, nth: ("reset",) if ".jpg" in request and nth % 5 == 0 else None,
    "stall": lambda request, nth: ("stall", 600) if ".jpg" in request and nth == 20 else None,
    "no-answer": lambda request, nth: ("late", 600) if ".jpg" in request and nth == 20 else None,
    "longer": lambda request, nth: ("longer",) if ".jpg" in request and nth % 5 == 0 else None,
    "shorter": lambda request, nth: ("shorter",) if ".jpg" in request and nth % 5 == 0 else None,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_no_row(name, s3, aws, photos, features_of, tmp_path):
    with Proxy(s3.endpoint, FAULTS[name]) as proxy:
        aws(proxy.endpoint)
        start = time.monotonic()
        answer = run("features", photos, "--out", tmp_path / "out", "--json").json
        print(f"{name}: {time.monotonic() - start:.0f} s")
        assert len(proxy.requests) > 97, "something was tried again"
    assert (answer["photos"], answer["failures"]) == (96, 0)
    assert same(rows(tmp_path / "out"), rows(features_of(SAMPLE)))


def test_an_object_that_may_not_be_read_is_a_failure(s3, aws, photos, features_of, tmp_path):
    secret = "Kiwi/view-00.jpg"
    with Proxy(s3.endpoint, lambda request, nth: ("answer", 403, DENIED) if secret in request else None) as proxy:
        aws(proxy.endpoint)
        answer = run("features", photos, "--out", tmp_path / "out", "--json").json
        assert (answer["photos"], answer["failures"]) == (95, 1)
        failures = next((tmp_path / "out").glob("_failures-*.jsonl")).read_text()
        assert secret in failures and "must allow s3:GetObject" in failures
        denied = run("features", "s3://photos/Test/Kiwi/view-00.jpg", "--out", tmp_path / "none", status=1).stderr
        assert "there is nothing here" in denied
    aws(s3.endpoint)
    answer = run("features", photos, "--out", tmp_path / "out", "--resume", "--json").json
    assert (answer["photos"], answer["failures"], answer["reused"]) == (96, 0, 95)
    assert same(rows(tmp_path / "out"), rows(features_of(SAMPLE)))


def test_an_expired_token_stops_the_run_and_resume_goes_on(s3, aws, photos, features_of, tmp_path):
    out = tmp_path / "out"
    with Proxy(s3.endpoint, lambda request, nth: ("answer", 400, EXPIRED) if nth > 60 else None) as proxy:
        aws(proxy.endpoint)
        stopped = run("features", photos, "--out", out, status=1)
        assert "the credentials have expired; renew them" in stopped.stderr and "--resume" in stopped.stderr
        assert len(proxy.requests) < 61 + 40, "nobody tries for long with an expired token"
    assert "has not finished" in run("pca", out, "--out", tmp_path / "pca", status=1).stderr
    aws(s3.endpoint)
    answer = run("features", photos, "--out", out, "--resume", "--json").json
    assert answer["photos"] == 96 and 0 < answer["reused"] < 96
    assert same(rows(out), rows(features_of(SAMPLE)))


def test_what_no_try_can_mend_is_said_at_once(s3, aws, photos, tmp_path, monkeypatch):
    def says(source=photos, out=tmp_path / "out"):
        start = time.monotonic()
        error = run("features", source, "--out", out, status=1).stderr
        assert time.monotonic() - start < 15 and "secret-of-a-test" not in error
        return error

    aws(s3.endpoint)
    assert "there is no such bucket" in says("s3://no-such-bucket/Test")
    assert "there is nothing here" in says("s3://photos/Nowhere")
    assert "there is no such bucket" in says(out="s3://no-such-bucket/Results")
    with Proxy(s3.endpoint, lambda request, nth: ("answer", 403, DENIED)) as proxy:
        aws(proxy.endpoint)
        assert "must allow s3:ListBucket" in says()
    with Proxy(s3.endpoint, lambda request, nth: ("answer", 403, DENIED) if ".jpg" in request else None) as proxy:
        aws(proxy.endpoint)
        assert "must allow s3:GetObject" in says()
    aws("http://127.0.0.1:1")
    assert "the service cannot be reached" in says()
    aws(s3.endpoint)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "no credentials found" in says()


def test_a_public_bucket_needs_no_credentials(s3, aws, photos, tmp_path, monkeypatch):
    s3.upload(SAMPLE / "Kiwi", "public", "Kiwi", ACL="public-read")
    s3.client.put_bucket_acl(Bucket="public", ACL="public-read")
    aws(s3.endpoint)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    run("features", "s3://public/Kiwi", "--out", tmp_path / "out")
    with Proxy(s3.endpoint) as proxy:
        aws(proxy.endpoint)
        run("features", "s3://public/Kiwi", "--out", tmp_path / "again")
        assert not any("Signature" in request for request in proxy.requests)
    aws(s3.endpoint)
    assert "access denied" in run("features", photos, "--out", tmp_path / "private", status=1).stderr


def test_a_report_does_without_photos_that_nobody_serves(s3, aws, photos, tmp_path):
    aws(s3.endpoint)
    run("features", photos, "--out", tmp_path / "out")
    aws("http://127.0.0.1:1")
    start = time.monotonic()
    run("report", tmp_path / "out", "--out", tmp_path / "report.html")
    assert time.monotonic() - start < 60 and "Kiwi" in (tmp_path / "report.html").read_text()


def test_two_runs_to_one_place(s3, aws, photos, features_of, tmp_path):
    aws(s3.endpoint)
    command = [os.environ["FRUITS"], "features", photos, "--out", "s3://photos/Both"]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in runs]
    assert sorted(process.returncode for process in runs) == [0, 1], errors
    assert any(why in "".join(errors) for why in ["is writing to this folder", "has taken this folder over"]), errors
    assert same(rows(s3.download("s3://photos/Both", tmp_path / "both")), rows(features_of(SAMPLE)))


def test_resume_computes_what_is_new_or_changed(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(SAMPLE / "Kiwi", photos / "Kiwi")
    (photos / "Kiwi" / "bad.jpg").write_text("no photo")

    def resume(reused, failures):
        answer = run("features", photos, "--out", out, "--resume", "--json").json
        assert (answer["reused"], answer["failures"]) == (reused, failures)
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        run("features", photos, "--out", tmp_path / "fresh")
        assert same(rows(out), rows(tmp_path / "fresh"))
        ours, theirs = (next(folder.glob("_failures-*.jsonl")).read_text() for folder in (out, tmp_path / "fresh"))
        assert ours == theirs
        assert not [path for path in out.iterdir() if path.name.startswith(".fruits")]

    resume(0, 1)
    resume(16, 1)
    shutil.copy(SAMPLE / "Lemon" / "view-00.jpg", photos / "Kiwi" / "view-03.jpg")  # changed
    shutil.copy(SAMPLE / "Lemon" / "view-01.jpg", photos / "Kiwi" / "view-03a.jpg")  # new
    (photos / "Kiwi" / "view-07.jpg").unlink()
    shutil.copy(SAMPLE / "Lemon" / "view-02.jpg", photos / "Kiwi" / "bad.jpg")  # mended
    (out / ".fruits-temporary-aB3xYz").write_text("by a killed run")
    resume(14, 0)
    for index in out.glob("_index/*.json"):
        index.write_text(index.read_text().replace('"weights_sha256":"', '"weights_sha256":"0'))
    resume(0, 0)
    for index in out.glob("_index/*.json"):
        index.write_text("{")
    resume(0, 0)
    for part in out.glob("features/*.parquet"):
        part.write_bytes(part.read_bytes()[:1000])
    resume(0, 0)
    (out / "mine.csv").write_text("a,b")
    assert "holds mine.csv" in run("features", photos, "--out", out, "--resume", status=1).stderr
    assert "holds mine.csv" in run("features", photos, "--out", out, "--overwrite", status=1).stderr
    assert (out / "_SUCCESS").exists()
