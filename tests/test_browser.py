"""The interactive figure in a browser: what a reader of the report can do with it."""

import os
import pathlib
import shutil

import pytest
from conftest import SAMPLE, run

BAD = "<script>alert(1)<\\script>"


@pytest.fixture
def report(browser, tmp_path):
    """A report opened with the network off, and its figure; fails on anything in the browser's console."""
    photos = tmp_path / "photos"
    shutil.copytree(SAMPLE / "Kiwi", photos / "Kiwi")
    shutil.copytree(SAMPLE / "Banana", photos / BAD)
    (photos / BAD / "gone.jpg").write_bytes((SAMPLE / "Lemon" / "view-00.jpg").read_bytes())
    run("features", photos, "--out", tmp_path / "out")
    (photos / BAD / "gone.jpg").unlink()
    run("report", tmp_path / "out", "--out", tmp_path / "report.html")
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said = []
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append("a dialog opened"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:", "about:")) or said.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    page.locator("iframe").scroll_into_view_if_needed()
    figure = next(frame for frame in page.frames if frame != page.main_frame)
    figure.wait_for_function("sheet.complete && marks.length > 0")
    yield page, figure
    page.close()
    assert said == []


def save(page, name):
    """Keeps a picture where the variable FRUITS_PICTURES says, for people to look at."""
    if folder := os.environ.get("FRUITS_PICTURES"):
        page.screenshot(path=pathlib.Path(folder) / f"{name}.png")


def ink(figure):
    """Pixels of the plot that are neither empty nor grey."""
    return figure.evaluate(
        "() => { const d = pen.getImageData(0, 0, plot.width, plot.height).data; let n = 0;"
        " for (let i = 0; i < d.length; i += 4) n += d[i + 3] > 0 && Math.max(d[i], d[i+1], d[i+2]) - Math.min(d[i], d[i+1], d[i+2]) > 60; return n }"
    )


def point_at(page, figure, index):
    x, y = figure.evaluate(f"[px[{index}], py[{index}]]")
    box = figure.locator("#plot").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    return figure.locator("#tip")


def test_pointing_at_a_photo_shows_it(report):
    page, figure = report
    index = figure.evaluate("data.path.findIndex((path) => path.endsWith('Kiwi/view-00.jpg'))")
    tip = point_at(page, figure, index)
    assert tip.is_visible() and tip.locator("strong").inner_text() == "Kiwi" and "Kiwi/view-" in tip.inner_text()
    colours = "() => new Set(tile.getContext('2d').getImageData(0, 0, tile.width, tile.height).data).size"
    assert figure.evaluate(colours) > 50, "a photo, not an empty square"
    save(page, "hover")
    gone = figure.evaluate("data.path.findIndex((path) => path.endsWith('gone.jpg'))")
    tip = point_at(page, figure, gone)
    assert tip.locator("strong").inner_text() == BAD and figure.evaluate(colours) < 10


def test_the_legend_hides_labels(report):
    page, figure = report
    all_ink = ink(figure)
    figure.get_by_role("button", name="Kiwi (16)").click()
    figure.wait_for_timeout(100)
    assert 0 < ink(figure) < all_ink
    figure.get_by_role("button", name="Kiwi (16)").click()
    figure.wait_for_timeout(100)
    assert ink(figure) == all_ink
    assert figure.locator("#legend").inner_text().startswith(BAD)


def test_zoom_pan_other_components_and_depth(report):
    page, figure = report
    box = figure.locator("#plot").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    before = figure.evaluate("[...px]")
    page.mouse.wheel(0, -400)
    figure.wait_for_function("view.zoom > 2")
    page.mouse.down()
    page.mouse.move(box["x"] + 360, box["y"] + 240, steps=4)
    page.mouse.up()
    figure.wait_for_timeout(100)
    assert figure.evaluate("[...px]") != before
    page.mouse.dblclick(box["x"] + 300, box["y"] + 200)
    figure.wait_for_timeout(100)
    assert figure.evaluate("[...px]") == before, "a double click goes back"
    figure.locator("select").nth(1).select_option(index=2)
    figure.wait_for_timeout(100)
    assert figure.evaluate("[...px]") == before and figure.evaluate("pick") == [0, 2, -1]
    figure.locator("select").nth(2).select_option(index=2)
    figure.wait_for_timeout(100)
    turned = figure.evaluate("[...px]")
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 230, steps=4)
    page.mouse.up()
    figure.wait_for_timeout(100)
    assert figure.evaluate("[...px]") != turned and ink(figure) > 0
    save(page, "space")
