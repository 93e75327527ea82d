"""Notebooks run to reports, and what goes wrong in a cell fails the run."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT, SAMPLE, run
from test_browser import AXE, save

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def execute(notebook, html, **variables):
    command = [sys.executable, ROOT / "bootstrap" / "run_notebook.py", notebook, html]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(notebook):
    content = json.loads(notebook.read_text())
    assert content["metadata"]["kernelspec"]["name"] == "fruits"
    for cell in content["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)


def test_the_notebook_for_python_people(tmp_path):
    done = execute(NOTEBOOKS[0], tmp_path / "page.html")
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(tmp_path / "page.html")
    assert "6 labels, the longest name has" in page and "(96, 1280), the first row begins" in page and "none: invalid digit" in page


def test_the_first_notebook_becomes_a_report(tmp_path):
    html = tmp_path / "report.html"
    done = execute(NOTEBOOKS[1], html, FRUITS_PHOTOS=str(SAMPLE), FRUITS_OUT=str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(html)
    assert re.search(r"<svg[^>]*Scree plot of 95 components", page) and re.search(r"<svg[^>]*Scatter plot of 96 photos", page)
    assert page.count("<iframe ") == 1 and "96 photos with 6 labels" in page
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_the_second_notebook_reads_what_was_written(features_of, browser, tmp_path):
    html = tmp_path / "report.html"
    done = execute(NOTEBOOKS[2], html, FRUITS_FEATURES=str(features_of(SAMPLE)))
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(html)
    assert page.count("<iframe ") == 3 and re.search(r"<svg[^>]*similarity of 6 labels", page)
    assert "trustworthiness 0.9" in page and "labels: PCA, Map, Diffusion map" in page
    assert "┌" not in page, "every table shows itself as a table"
    # Light and dark as the reader's system is, and readable in both.
    for scheme, paper in {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 17, 17)"}.items():
        tab = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
        tab.goto(html.as_uri())
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == paper
        table = tab.locator(".fruits-table").first
        table.get_by_role("button", name="label").click()
        assert table.locator("tbody tr").count() == 10
        save(tab, f"notebook-{scheme}", full_page=True)
        tab.add_script_tag(path=AXE)
        found = [one for one in tab.evaluate("axe.run()")["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]][:5]) for one in found] == []
        tab.close()


def test_the_third_notebook_works_on_s3(s3, aws, tmp_path):
    aws(s3.endpoint)
    s3.upload(SAMPLE, "notebook", "Test")
    html = tmp_path / "report.html"
    where = {"FRUITS_S3_PHOTOS": "s3://notebook/Test", "FRUITS_S3_RESULTS": "s3://notebook/Results"}
    done = execute(NOTEBOOKS[3], html, **where)
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(html)
    assert "96 photos, 0 of them from an earlier run, 0 failures" in page and "96 photos, 96 of them from an earlier run" in page
    assert page.count("<iframe ") == 1 and "secret-of-a-test" not in page
    for name in ["Results", "Results-pca"]:
        assert s3.client.head_object(Bucket="notebook", Key=f"{name}/_SUCCESS")


def test_the_fourth_notebook_says_what_a_run_costs(tmp_path):
    html = tmp_path / "report.html"
    prices = tmp_path / "prices.csv"
    prices.write_text((ROOT / "bootstrap/emr/regions.csv").read_text().replace("Zurich", "<b>Zurich"))
    done = execute(NOTEBOOKS[4], html, FRUITS_PRICES=str(prices), FRUITS_RATE="500", FRUITS_RATE_BF16="1000", FRUITS_COUNT="1000000")
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(html)
    # An hour and a part for 1,000,000 photos at 500/s on two nodes, and 0.15 h to start; three nodes at 0.224 and 0.05 for EMR.
    assert f"{(0.15 + 1e6 / 1000 / 3600) * 3 * 0.274:.2f}" in page
    # Ten million on either kind of nodes. The price of m7i.xlarge in Zurich is not known.
    assert re.search(r"m5\.xlarge.{,400}" + f"{(0.15 + 1e7 / 1000 / 3600) * 3 * 0.274:.2f}<", page, re.S)
    assert re.search(r"m7i\.xlarge.{,400}" + f"{(0.15 + 1e7 / 2000 / 3600) * 3 * 0.2852:.2f}<", page, re.S)
    assert page.count("null") >= 3
    assert page.count("<svg ") == 1 and "&lt;b&gt;Zurich" in page and "<b>Zurich" not in page


def test_the_fifth_notebook_works_inside_spark(s3, aws, tmp_path, monkeypatch):
    monkeypatch.delenv("FRUITS")  # the kernel brings the program
    home = next(iter(os.environ.get("FRUITS_TEST_SPARK", "").split(":")))
    if not home:
        pytest.skip("FRUITS_TEST_SPARK names no Spark")
    aws(s3.endpoint)
    s3.upload(SAMPLE, "spark", "Test")
    html = tmp_path / "report.html"
    where = {"FRUITS_S3_PHOTOS": "s3://spark/Test", "FRUITS_S3_RESULTS": "s3://spark/Results", "SPARK_HOME": home}
    done = execute(NOTEBOOKS[5], html, **where)
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(html)
    assert "96 photos, 0 failures, 4 files" in page and "largest difference of an eigenvalue" in page
    assert s3.client.head_object(Bucket="spark", Key="Results/_SUCCESS")


def test_the_sixth_notebook_finds_what_is_wrong(tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE, photos)
    shutil.copy(SAMPLE / "Kiwi" / "view-03.jpg", photos / "Lemon" / "misfiled.jpg")
    run("features", photos, "-o", tmp_path / "out")
    done = execute(NOTEBOOKS[6], tmp_path / "page.html", FRUITS_FEATURES=str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(tmp_path / "page.html")
    assert "2 duplicate" in page and "misfiled.jpg" in page and "the same pixels as" in page


def test_the_seventh_notebook_recognises(tmp_path):
    done = execute(NOTEBOOKS[7], tmp_path / "page.html", FRUITS_PHOTOS=str(SAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr
    page = offline(tmp_path / "page.html")
    assert "when others of their group were for training" in page and re.search(r"<svg[^>]*Reliability diagram of 96 photos", page)
    assert "I do not know this" in page and "The nearest photos:" in page and "4 photos, " in page


def offline(html):
    """A page, after a look that it needs nothing from elsewhere."""
    page = html.read_text()
    outside = re.sub(r'srcdoc="[^"]*"', "", page)
    assert not re.search(r"<script[^>]* src", outside) and "@import" not in page
    assert not re.findall(r'<[^>]*(?:src|href)="(?!data:|#)[^"]*"', page.replace("&quot;", '"').replace("&lt;", "<"))
    return page


@pytest.mark.parametrize(
    "cell, says",
    [
        ('"x".parse::<i32>()?;', "invalid digit"),
        ('panic!("oh no");', "oh no"),
        ("1 + true", "cannot add"),
        ('fruits_core::ImageFolder::open("/no/such/folder").await?;', "/no/such/folder: list: "),
    ],
    ids=["error", "panic", "syntax", "ours"],
)
def test_a_failed_cell_fails_the_run(cell, says, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell), nbformat.v4.new_code_cell("1 + 1")])
    path = pathlib.Path(tmp_path / "bad.ipynb")
    nbformat.write(notebook, path)
    done = execute(path, tmp_path / "bad.html")
    assert done.returncode == 1 and says in done.stderr, done.stdout + done.stderr
    assert not (tmp_path / "bad.html").exists() and (tmp_path / "bad.failed.html").exists()
    nbconvert = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--ExecutePreprocessor.kernel_name=fruits", "--output-dir", tmp_path / "out", path]
    done = subprocess.run(nbconvert, capture_output=True, text=True)
    assert done.returncode and says in done.stderr and not (tmp_path / "out" / "bad.ipynb").exists()
    done = subprocess.run(["papermill", "--kernel", "fruits", path, tmp_path / "papermill.ipynb"], capture_output=True, text=True)
    assert done.returncode and says in done.stderr and "PapermillExecutionError" in done.stderr
    first, second = [cell for cell in nbformat.read(tmp_path / "papermill.ipynb", 4).cells if cell.cell_type == "code"]
    assert any(output.output_type == "error" for output in first.outputs) and not second.outputs, "it ends there"
