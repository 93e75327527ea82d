"""Runs a notebook on its kernel and writes it as one HTML page that needs no network.

The kernel replies "ok" to a cell that panicked or ended in an error by `?`. What such a cell leaves is text on standard error, and
nothing else of ours writes there, so any cell with such text fails the run, as does one that does not compile. The page is
written all the same, for reading what happened, under a name that says so.
"""

import argparse
import pathlib
import sys
from queue import Empty

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.filters import strip_ansi

KERNEL = "fruits"
# Seconds that a kernel has for forwarding what a finished cell wrote.
GRACE = 1.0
TEMPLATES = pathlib.Path(__file__).parent / "nbconvert"


def run(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> str | None:
    """Executes all cells in place. Returns what went wrong, if anything did."""

    def show(cell, cell_index, **_):
        first_line = cell.source.strip().split("\n")[0]
        if cell.cell_type == "code":
            print(f"   cell {cell_index}: {first_line}", flush=True)

    async def fail_on_standard_error(cell, cell_index, **_):
        text = "".join(out.text for out in cell.get("outputs", []) if out.get("name") == "stderr")
        text += await late_standard_error(client)
        if text:
            raise RuntimeError(f"cell {cell_index} failed:\n{text}")

    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=600,
        kernel_name=KERNEL,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=show,
        on_cell_executed=fail_on_standard_error,
    )
    try:
        client.execute()
    except CellExecutionError:
        return "\n".join(compiler_errors(notebook))
    except RuntimeError as error:
        return str(error)
    return None


async def late_standard_error(client: NotebookClient) -> str:
    """Text that comes behind the end of a cell: the kernel forwards standard error beside its replies."""
    text = ""
    while True:
        try:
            message = await client.kc.get_iopub_msg(timeout=GRACE)
        except Empty:
            return text
        if message["msg_type"] == "stream" and message["content"]["name"] == "stderr":
            text += message["content"]["text"]


def compiler_errors(notebook: nbformat.NotebookNode) -> list[str]:
    """What the compiler said of the cell that it refused; the exception does not carry it."""
    errors = [out for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "error"]
    return [strip_ansi(line) for error in errors for line in (error.evalue, *error.traceback)]


def to_html(notebook: nbformat.NotebookNode) -> str:
    exporter = HTMLExporter(
        template_name="offline",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebook", type=pathlib.Path)
    parser.add_argument("html", type=pathlib.Path)
    arguments = parser.parse_args()

    notebook = nbformat.read(arguments.notebook, as_version=4)
    failure = run(notebook, arguments.notebook.parent)
    target = arguments.html.with_suffix(".failed.html") if failure else arguments.html
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_text(to_html(notebook), encoding="utf-8")
    part.replace(target)
    if failure:
        sys.exit(f"error: {arguments.notebook}: {failure}\nerror: see {target}")


main()
