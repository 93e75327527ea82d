import contextlib
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import threading

import boto3
import numpy
import pandas
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data-sample"
# Real photos that are not part of the repository; tests that want them skip where they are absent.
SHARED = ROOT.parent / "shared"
KEY, SECRET = "id-of-a-test", "secret-of-a-test"


def run(*arguments, status=0):
    """Runs `fruits`; gives back the finished process and the JSON of its last line, if that is JSON."""
    process = subprocess.run([os.environ["FRUITS"], *map(str, arguments)], capture_output=True, text=True)
    assert process.returncode == status, process.stderr
    lines = process.stdout.splitlines()
    process.json = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
    return process


def rows(folder):
    """Paths below the source, labels and features of an output, in the order of the files and rows."""
    frame = pandas.concat([pandas.read_parquet(part) for part in sorted(folder.glob("features/*.parquet"))], ignore_index=True)
    return [tuple(path.split("/")[-2:]) for path in frame.path], list(frame.label), numpy.stack(frame.features)


def same(a, b):
    return a[0] == b[0] and a[1] == b[1] and numpy.array_equal(a[2], b[2])


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


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A classifier of the sample photos, and what training it said."""
    out = tmp_path_factory.mktemp("classifier") / "classifier"
    return out, run("train", SAMPLE, "--out", out, "--report", out.parent / "report.html", "--json")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright  # other environments have none

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class S3:
    """A server that speaks S3, and a client to put things there and to look."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name="eu-west-3", aws_access_key_id=KEY, aws_secret_access_key=SECRET)

    def upload(self, folder, bucket, prefix, **options):
        self.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
        for path in sorted(folder.rglob("*.jpg")):
            self.client.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes(), **options)

    def download(self, uri, folder):
        """All objects below a URI, as files in a folder."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/"):
            for item in page.get("Contents", []):
                path = folder / item["Key"].removeprefix(prefix + "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
        return folder


@pytest.fixture(scope="session")
def s3():
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "s3_server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield S3(server.stdout.readline().strip())
    server.stdin.close()
    server.wait()


@pytest.fixture(scope="session")
def s3s_fs(tmp_path_factory):
    """A server that speaks S3, but knows no conditions."""
    options = ["--host", "127.0.0.1", "--port", "0", "--access-key", KEY, "--secret-key", SECRET]
    command = [os.environ["FRUITS_TEST_S3S_FS"], *options, tmp_path_factory.mktemp("s3s-fs")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"RUST_LOG": "info"})
    endpoint = next("http://" + line.split("http://")[1].strip() for line in server.stdout if "http://" in line)
    threading.Thread(target=server.stdout.read, daemon=True).start()  # nobody waits for a reader
    yield S3(endpoint)
    server.kill()
    server.wait()


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """The variables of someone who works on S3 at an endpoint: `aws(endpoint)`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    variables = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "eu-west-3",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return lambda endpoint: monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)


@pytest.fixture
def processes(monkeypatch):
    """Finds the processes that were started, by whomever, since the test began."""
    mark = secrets.token_hex()
    monkeypatch.setenv("FRUITS_MARK", mark)

    def find():
        found = set()
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes():
                    found.add(folder.name)
        return found

    return find
