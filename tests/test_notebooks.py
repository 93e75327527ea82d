"""Notebooks run to reports, and what goes wrong in a cell fails the run."""

import json
import os
import pathlib
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT, SAMPLE

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


def test_the_first_notebook_becomes_a_report(tmp_path):
    html = tmp_path / "report.html"
    done = execute(NOTEBOOKS[0], html, FRUITS_PHOTOS=str(SAMPLE), FRUITS_OUT=str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    page = html.read_text()
    assert re.search(r"<svg[^>]*Scree plot of 95 components", page) and re.search(r"<svg[^>]*Scatter plot of 96 photos", page)
    assert "<script" not in page and "@import" not in page
    assert not re.findall(r'<[^>]*(?:src|href)="(?!data:|#)[^"]*"', page)
    assert (tmp_path / "out" / "_SUCCESS").exists()


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
