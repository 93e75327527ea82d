"""Runs notebooks on their kernel and writes each as one HTML page that needs no network.

    run_notebook.py NOTEBOOK HTML [NOTEBOOK HTML...]

One runs after the other, while the kernels of the next start. The first that fails ends the run.

A cell that does not compile, ends in an error or panics fails the run. The page is written all the same, for reading what happened, under a
name that says so.
"""

import asyncio
import pathlib
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.filters import strip_ansi

KERNEL = "fruits"
TEMPLATES = pathlib.Path(__file__).parent / "nbconvert"


class Failed(Exception):
    """What went wrong, for the person who reads it."""


class Notebook:
    def __init__(self, path: pathlib.Path, html: pathlib.Path):
        self.path, self.html = path, html
        self.content = nbformat.read(path, as_version=4)
        self.content.metadata["kernelspec"] = {"name": KERNEL, "display_name": "Rust (fruits)", "language": "rust"}
        # Kernels that start together would make each other slow.
        self.is_started, self.is_run = asyncio.Event(), asyncio.Event()
        self.failure: str | None = None

    async def run(self, before: "Notebook | None") -> None:
        """Executes all cells, once the notebook before has run, and writes the page."""
        if before:
            await before.is_started.wait()
        client = NotebookClient(
            self.content,
            timeout=None,
            startup_timeout=600,
            kernel_name=KERNEL,
            resources={"metadata": {"path": str(self.path.parent)}},
        )
        async with client.async_setup_kernel():
            self.is_started.set()
            if before:
                await before.is_run.wait()
            try:
                await self.execute(client)
            except CellExecutionError:
                self.failure = "\n".join(errors(self.content))
        self.write()
        self.is_run.set()

    async def execute(self, client: NotebookClient) -> None:
        information = await client.async_wait_for_reply(client.kc.kernel_info())
        self.content.metadata["language_info"] = information["content"]["language_info"]
        codes = [index for index, cell in enumerate(self.content.cells) if cell.cell_type == "code"]
        for number, index in enumerate(codes, 1):
            cell = self.content.cells[index]
            first_line = cell.source.strip().split("\n")[0]
            print(f"   {self.path.stem}, cell {number} of {len(codes)}: {first_line}", flush=True)
            await client.async_execute_cell(cell, index, execution_count=number)

    def write(self) -> None:
        target = self.html.with_suffix(".failed.html") if self.failure else self.html
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_text(to_html(self.content), encoding="utf-8")
        part.replace(target)
        if self.failure:
            raise Failed(f"error: {self.path}: {self.failure}\nerror: see {target}")


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """What was said of the cell that failed; the exception does not carry it."""
    errors = [out for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "error"]
    return [strip_ansi(line) for error in errors for line in dict.fromkeys([error.evalue, *error.traceback])]


def to_html(notebook: nbformat.NotebookNode) -> str:
    exporter = HTMLExporter(template_name="offline", extra_template_basedirs=[str(TEMPLATES)])
    return exporter.from_notebook_node(notebook)[0]


async def main() -> None:
    paths = [pathlib.Path(argument) for argument in sys.argv[1:]]
    if not paths or len(paths) % 2:
        sys.exit(f"usage: {(__doc__ or '').splitlines()[2].strip()}")
    notebooks = [Notebook(*pair) for pair in zip(paths[::2], paths[1::2])]
    try:
        async with asyncio.TaskGroup() as group:
            for before, notebook in zip([None, *notebooks], notebooks):
                group.create_task(notebook.run(before))
    except* Failed as group:
        sys.exit(str(group.exceptions[0]))


asyncio.run(main())
