"""JupyterHub on this machine: a browser logs in, runs the first notebook and looks at what it shows."""

import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from conftest import ROOT
from nbconvert import HTMLExporter
from test_browser import point_at, save

NOTEBOOK = "01-features-and-pca.ipynb"


class Hub:
    """The script in a process of its own, and what it started: all that carry a mark in their environment."""

    def __init__(self, folder):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.url, self.password, self.mark = f"http://127.0.0.1:{self.port}", secrets.token_urlsafe(), secrets.token_hex()
        environment = os.environ | {
            "FRUITS_HUB_PASSWORD": self.password,
            "FRUITS_NOTEBOOKS": str(folder / "work"),
            "FRUITS_OUT": str(folder / "out"),
            "FRUITS_MARK": self.mark,
            "no_proxy": "127.0.0.1",
        }
        self.folder, self.log = folder / "work", folder / "log"
        command = [ROOT / "bootstrap" / "hub.sh", "tester", str(self.port)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait(self):
        while True:  # the first time, the hub is installed
            assert self.process.poll() is None, self.log.read_text()
            try:
                return urllib.request.urlopen(f"{self.url}/hub/login").close()
            except urllib.error.URLError:
                time.sleep(0.2)

    def processes(self):
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(folder)
            except OSError:
                pass  # another's, or ended
        return found

    def listens(self):
        """The addresses, as the kernel writes them, that the processes listen on."""
        sockets = set()
        for folder in self.processes():
            sockets |= {os.readlink(file) for file in (folder / "fd").iterdir() if file.is_symlink()}
        lines = [line.split() for table in ("tcp", "tcp6") for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        return [line[1].split(":") for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    if not shutil.which("npm") and os.getuid():
        pytest.skip("JupyterHub's proxy needs npm, which only root can install")
    hub = Hub(tmp_path_factory.mktemp("hub"))
    try:
        hub.wait()
        yield hub
    finally:
        hub.process.send_signal(signal.SIGTERM)
        hub.process.wait(60)
    assert hub.process.returncode == 0, hub.log.read_text()
    assert hub.processes() == [], "all that it started has ended"
    state = pathlib.Path(os.environ.get("FRUITS_CACHE", pathlib.Path.home() / ".cache/fruits")) / "hub" / str(hub.port)
    assert state.stat().st_mode & 0o777 == 0o700
    files = [hub.log, *(path for path in state.rglob("*") if path.is_file())]
    assert not [path for path in files if hub.password.encode() in path.read_bytes()], "the password is in no file"
    shutil.rmtree(state)


def log_in(page, hub, password, user="tester"):
    page.goto(f"{hub.url}/hub/login?next=/user/tester/lab/tree/notebooks/{NOTEBOOK}")
    page.fill("#username_input", user)
    page.fill("#password_input", password)
    page.click("#login_submit")


def pictures(page):
    """Every code cell, in JupyterLab's light and dark theme."""
    for theme in "Light", "Dark":
        for item in "Settings", "Theme", f"JupyterLab {theme}":
            page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel").get_by_text(item, exact=True).click()
        page.locator(f"body[data-jp-theme-light={str(theme == 'Light').lower()}]").wait_for(state="attached")
        for number, cell in enumerate(page.locator(".jp-CodeCell").all()):
            cell.scroll_into_view_if_needed()
            save(page, f"hub-{theme.lower()}-{number}")


def export(page, hub):
    """The saved notebook as a page, by the address that JupyterLab's menu "Save and Export Notebook As: HTML" opens."""
    notebook = hub.folder / "notebooks" / NOTEBOOK
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Save Notebook", exact=True).click()
    while "<iframe" not in notebook.read_text():
        page.wait_for_timeout(200)
    return page.request.get(f"{hub.url}/user/tester/nbconvert/html/notebooks/{NOTEBOOK}?download=true").text()


@pytest.mark.parametrize("user, password", [("tester", "wrong"), ("tester", ""), ("tester", "ümläut"), ("root", None)])
def test_a_wrong_password_is_refused(hub, browser, user, password):  # noqa: F811
    page = browser.new_context().new_page()
    page.goto(f"{hub.url}/hub/login")
    page.eval_on_selector("#password_input", "input => input.required = false")
    log_in(page, hub, hub.password if password is None else password, user)
    page.get_by_text("Invalid username or password").wait_for()
    page.goto(f"{hub.url}/user/tester/lab")
    assert "/hub/login" in page.url
    page.context.close()


def test_the_first_notebook_in_jupyterlab(hub, browser):  # noqa: F811
    page = browser.new_context(viewport={"width": 1300, "height": 1000}).new_page()
    log_in(page, hub, hub.password)
    page.locator(".jp-Notebook").wait_for()
    page.get_by_text("Rust (fruits) | Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    frame = page.locator(".jp-Notebook iframe[srcdoc]")
    frame.wait_for(timeout=120_000)
    assert page.locator(".jp-RenderedHTML table").count() >= 3
    for name in "Scree plot of 95 components", "Scatter plot of 96 photos":
        assert page.locator(f'.jp-OutputArea svg[aria-label*="{name}"]').count() == 1
    assert page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count() == 0
    frame.scroll_into_view_if_needed()
    figure = frame.element_handle().content_frame()
    figure.wait_for_function("stage.dataset.drawn && due === null")
    page.wait_for_timeout(500)  # the notebook may still be scrolling
    tip = point_at(page, figure, figure.evaluate("data.path.findIndex((path) => path.endsWith('Kiwi/view-00.jpg'))"))
    assert tip.is_visible() and tip.locator("strong").inner_text() == "Kiwi"
    save(page, "hub-hover")
    if os.environ.get("FRUITS_PICTURES"):
        pictures(page)

    rows = page.locator(".jp-Notebook .fruits-table").last
    rows.get_by_role("searchbox").fill("Kiwi/")
    assert "1 to 10 of 16 (96)" in rows.inner_text()
    path = rows.get_by_role("button", name="path")
    for first in "view-00", "view-15":
        path.click()
        assert first in rows.locator("tbody tr").first.inner_text()
    rows.get_by_role("button", name="next page").click()
    assert "11 to 16 of 16" in rows.inner_text() and rows.locator("tbody tr").count() == 6
    save(page, "hub-table")

    exported = export(page, hub)
    notebook = nbformat.read(hub.folder / "notebooks" / NOTEBOOK, as_version=4)
    exporter = HTMLExporter(template_name="offline", extra_template_basedirs=[str(ROOT / "bootstrap/nbconvert")])
    expected, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": pathlib.Path(NOTEBOOK).stem}})
    assert exported == expected, "what run_notebook.py writes"
    assert exported.count("<iframe ") == 1 and not re.search(r'(src|href)="(?!data:|#)', exported), "it needs no network"

    addresses = hub.listens()
    assert str(hub.port) in [str(int(port, 16)) for _, port in addresses]
    assert {address for address, _ in addresses} <= {"0100007F"}, "127.0.0.1 alone"
    commands = [(folder / "cmdline").read_bytes() for folder in hub.processes()]
    assert any(b"evcxr" in command for command in commands) and not [c for c in commands if hub.password.encode() in c]
    kernels = [folder for folder in hub.processes() if b"evcxr" in (folder / "cmdline").read_bytes()]
    assert kernels and all(b"no_proxy=127.0.0.1" in (folder / "environ").read_bytes() for folder in kernels), "the way to S3"
    holders = [folder for folder in hub.processes() if hub.password.encode() in (folder / "environ").read_bytes()]
    assert len(holders) <= 2, "the script and the hub: not the proxy, the notebook server, the kernels"
    page.context.close()
