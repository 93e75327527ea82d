"""The explorer in a browser: what a reader of the page can do with it. Its pages are reports, and what else they could show."""

import base64
import csv
import html as markup
import io
import json
import os
import pathlib
import re
import shutil

import axe_playwright_python
import numpy
import pytest
from conftest import SAMPLE, run
from PIL import Image

BAD = "<script>alert(1)</script>"
FORMULA = '=1+1,"x".jpg'
AXE = pathlib.Path(axe_playwright_python.__file__).parent / "axe.min.js"


def packed(array, kind):
    return base64.b64encode(numpy.ascontiguousarray(array).astype(kind).tobytes()).decode()


def category(name, values):
    names, codes = numpy.unique(values, return_inverse=True)
    return {"name": name, "names": [str(name) for name in names], "codes": packed(codes, "<u4")}


class Page:
    """The page of a figure in a report, with other data in it."""

    def __init__(self, report):
        self.text = markup.unescape(re.search(r'<iframe [^>]*srcdoc="([^"]*)"', report.read_text())[1])
        self.found = re.search(r'(?<=<script id="data" type="application/json">).*?(?=</script>)', self.text, re.S)
        self.data = json.loads(self.found[0])

    def html(self, with_library=True):
        text = self.text[: self.found.start()] + json.dumps(self.data).replace("<", "\\u003c") + self.text[self.found.end() :]
        return text if with_library else re.sub(r'<script id="library".*?</script>', "", text, flags=re.S)

    def with_guesses(self):
        """Columns as clusters and a classifier give them, another view that is a map, and one that lacks photos."""
        random, n = numpy.random.default_rng(0), self.data["n"]
        probability = numpy.where(random.random(n) < 0.05, numpy.nan, random.beta(5, 1, n))
        cluster = random.integers(0, 7, n).astype(str)
        self.data["columns"] += [category("cluster", cluster), {"name": "probability", "values": packed(probability, "<f4")}]
        for name, lacks, is_map in [("Map", 0, True), ("Diffusion map", 3, False)]:
            at = random.normal(size=(2, n))
            at[:, :lacks] = numpy.nan
            self.data["views"].append({"name": name, "axes": ["a", "b"], "at": packed(at, "<f4"), "isMap": is_map})
        return self

    def with_clouds(self, n, labels=60):
        """Very many photos, of which there are no pictures."""
        random = numpy.random.default_rng(0)
        code = random.integers(0, labels, n)
        at = random.normal(0, 4, (labels, 2))[code] + random.normal(0, 0.7, (n, 2))
        names = numpy.array([f"label {k:02}" for k in range(labels)])[code]
        self.data |= {"n": n, "of": n, "path": [f"{name}/{i:06}.jpg" for i, name in enumerate(names)], "neighbours": None}
        self.data |= {"views": [{"name": "PCA", "axes": ["PC1", "PC2"], "at": packed(at.T, "<f4"), "isMap": False}]}
        self.data |= {"columns": [category("label", names)]}
        self.data["thumbnails"]["tiles"] = packed(numpy.full(n, -1), "<i4")
        return self


@pytest.fixture(scope="module")
def report(features_of, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    run("report", features_of(SAMPLE), "--out", out)
    return out


@pytest.fixture
def text(report):
    """A page of 96 photos, every other of 192, one label and one path of which are meant badly."""
    page = Page(report).with_guesses()
    page.data |= {"rows": list(range(0, 192, 2)), "of": 192, "root": "s3://fruits/Test/"}
    page.data["columns"][0]["names"][1] = BAD
    page.data["path"][0] = FORMULA
    return page.html


@pytest.fixture
def show(browser, tmp_path):
    """Opens a page with the network off; fails on anything in the browser's console."""
    said, opened = [], []

    def show(text, browser=browser, **options):
        (tmp_path / "page.html").write_text(text)
        page = browser.new_page(**({"viewport": {"width": 1100, "height": 700}} | options))
        opened.append(page)
        page.on("console", lambda message: "GPU stall" in message.text or said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append("a dialog opened"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:", "about:", "blob:")) or said.append(request.url))
        page.goto((tmp_path / "page.html").as_uri() + "#webgl")  # though it is by the processor
        if "<iframe" in text:
            page.locator("iframe").scroll_into_view_if_needed()  # out of sight it does not draw
        page.frames[-1].wait_for_function("stage.dataset.drawn && due === null")
        return page

    yield show
    for page in opened:
        page.close()
    assert said == []


@pytest.fixture
def page(show, text):
    return show(text())


def settle(page):
    page.wait_for_function("due === null")
    page.wait_for_timeout(50)


def save(page, name, **options):
    """Keeps a picture where the variable FRUITS_PICTURES says, for people to look at."""
    if folder := os.environ.get("FRUITS_PICTURES"):
        page.screenshot(path=pathlib.Path(folder) / f"{name}.png", **options)


def ink(page):
    """Pixels of the plot that are coloured, as a person sees them."""
    pixels = Image.open(io.BytesIO(page.locator("#plot").screenshot())).convert("HSV")
    return sum(pixels.getchannel("S").histogram()[100:])


def point_at(page, figure, index):
    """Moves the mouse to a photo of a figure in a frame of the page."""
    x, y = figure.evaluate(f"[panels[0].px[{index}], panels[0].py[{index}]]")
    box = figure.locator("#plot").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    return figure.locator("#tip")


COLOURS = "() => { const c = tip.querySelector('canvas'); return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size }"


def at(page, index, panel=0):
    return page.evaluate(
        f"(() => {{ const box = plot.getBoundingClientRect(), p = panels[{panel}]; return [box.left + p.px[{index}], box.top + p.py[{index}]] }})()"
    )


def far_out(page):
    """A photo that no other one covers."""
    return page.evaluate("[...panels[0].px.keys()].reduce((a, b) => (panels[0].px[b] > panels[0].px[a] ? b : a))")


def test_marks_are_drawn_by_webgl_and_names_are_text(page):
    assert page.evaluate("stage.dataset.drawn") == "webgl" and page.locator("#note").is_hidden()
    page.get_by_role("button", name="Photos: when close").click()
    page.get_by_role("button", name="Photos: always").click()
    settle(page)
    assert page.evaluate("state.photos") == "never" and ink(page) > 96 * 50
    assert page.locator("#legend").inner_text().split("\n")[1:4] == ["Apple Red", "16", BAD]
    assert page.locator("#status").inner_text() == "96 of 192 photos"


def test_pointing_at_a_photo_shows_it(page):
    index = far_out(page)
    page.mouse.move(*at(page, index))
    tip = page.locator("#tip")
    assert tip.locator("strong").inner_text() == page.evaluate(f"label({index})") and page.evaluate(f"data.path[{index}]") in tip.inner_text()
    page.wait_for_function(f"({COLOURS})() > 50")
    page.locator("#colour").select_option("probability")
    page.mouse.move(*at(page, index + 1))
    page.mouse.move(*at(page, index))
    assert "probability: " in tip.inner_text()
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_the_legend_hides_labels(page):
    kiwi, all_ink = page.get_by_role("button", name="Kiwi 16"), ink(page)
    kiwi.click()
    settle(page)
    assert kiwi.get_attribute("aria-pressed") == "false" and ink(page) < all_ink
    kiwi.press("Enter")
    settle(page)
    assert ink(page) == all_ink
    kiwi.dblclick()
    assert page.evaluate("columns[0].shown") == [False, False, True, False, False, False]
    kiwi.dblclick()
    assert page.evaluate("columns[0].shown").count(True) == 6


def test_zoom_pan_and_reset(page):
    before, (x, y) = page.evaluate("[...panels[0].px]"), at(page, 40)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    settle(page)
    assert page.evaluate("panels[0].eye.zoom") > 2 and at(page, 40) == pytest.approx([x, y], abs=3), "what is pointed at stays"
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=4)
    page.mouse.up()
    settle(page)
    assert at(page, 40) == pytest.approx([x + 60, y + 40], abs=3)
    page.mouse.dblclick(600, 660)
    settle(page)
    assert page.evaluate("[...panels[0].px]") == before, "a double click goes back"
    page.locator("#plot").focus()
    for key in ["+", "ArrowLeft", "-", "ArrowUp"]:
        page.keyboard.press(key)
    settle(page)
    assert page.evaluate("[...panels[0].px]") != before
    page.keyboard.press("0")
    settle(page)
    assert page.evaluate("[...panels[0].px]") == before
    page.keyboard.press("n")
    assert page.locator("#tip").is_visible()


def test_other_axes_and_depth(page):
    before = page.evaluate("[...panels[0].px]")
    page.locator("#axes select").nth(1).select_option(index=2)
    settle(page)
    assert page.evaluate("[...panels[0].px]") == before and page.evaluate("panels[0].pick") == [0, 2, -1]
    page.locator("#axes select").nth(2).select_option(index=4)
    settle(page)
    turned = page.evaluate("[...panels[0].px]")
    page.mouse.move(300, 600)
    page.mouse.down()
    page.mouse.move(400, 630, steps=4)
    page.mouse.up()
    settle(page)
    assert page.evaluate("[...panels[0].px]") != turned and ink(page) > 1000
    save(page, "space")


def test_photos_are_shown_when_close(show, report):
    page = show(Page(report).with_clouds(20_000).html())
    assert page.evaluate("panels[0].photos.side") == 0
    page.mouse.move(*at(page, 0))
    for _ in range(4):
        page.mouse.wheel(0, -400)
    settle(page)
    assert page.evaluate("panels[0].photos.side") >= 24
    save(page, "close")


def test_a_pinned_photo_leads_to_its_neighbours(page):
    index = far_out(page)
    page.mouse.click(*at(page, index))
    pinned = page.get_by_role("region", name="Pinned photo")
    assert page.evaluate(f"label({index})") in pinned.inner_text() and page.evaluate(f"data.root + data.path[{index}]") in pinned.inner_text()
    near = page.evaluate(f"neighboursOf({index})")
    assert len(near) == 10 and pinned.locator(".photos button").count() == 10
    pinned.locator(".photos button").first.click()
    assert page.evaluate("state.pinned") == near[0]
    save(page, "pinned")
    page.keyboard.press("Escape")
    assert pinned.is_hidden() and page.evaluate("state.pinned") == -1


def box(page, x0, y0, x1, y1):
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=3)
    page.mouse.up()


def test_a_box_and_a_lasso_choose_photos(page):
    edge, right = page.locator("#plot").bounding_box(), at(page, far_out(page))
    page.locator("#plot").focus()
    page.keyboard.press("b")
    box(page, right[0] - 4, edge["y"] + 60, right[0] + 4, edge["y"] + 600)
    first = set(page.evaluate("[...state.chosen]"))
    assert first and page.get_by_role("region", name="Chosen photos").locator("h2").inner_text() == f"{len(first)} chosen"
    page.keyboard.down("Control")
    box(page, edge["x"] + 60, edge["y"] + 60, edge["x"] + 300, edge["y"] + 600)
    page.keyboard.up("Control")
    assert first < set(page.evaluate("[...state.chosen]")), "Ctrl adds"
    page.keyboard.press("Escape")
    assert page.evaluate("state.chosen.size") == 0
    page.get_by_role("button", name="Move", exact=True).click()
    page.keyboard.down("Shift")
    page.mouse.move(edge["x"] + 60, edge["y"] + 60)
    page.mouse.down()
    for x, y in [(700, 60), (700, 560), (60, 560), (60, 70)]:
        page.mouse.move(edge["x"] + x, edge["y"] + y, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    within = "px[i] > 60 && px[i] < 700 && py[i] > 60 && py[i] < 560"
    assert page.evaluate("[...state.chosen]") == page.evaluate(f"(() => {{ const {{ px, py }} = panels[0]; return [...px.keys()].filter((i) => {within}) }})()")
    save(page, "lasso")


def test_what_is_chosen_can_be_taken_away(page):
    page.evaluate("choose([0, 17, 95])")
    chosen = page.get_by_role("region", name="Chosen photos")
    output = lambda name: (chosen.get_by_role("button", name=name).click(), chosen.locator("textarea").input_value())[1]
    assert output("Rust") == "let chosen = features.take(&[0, 34, 190])?;"
    root = "s3://fruits/Test/"
    assert output("paths").split("\n")[0] == root + FORMULA
    rows = list(csv.DictReader(io.StringIO(output("CSV"), newline="")))
    assert [row["row"] for row in rows] == ["0", "34", "190"] and rows[0]["path"] == root + FORMULA and rows[1]["label"] == BAD
    assert list(rows[0]) == ["path", "label", "row", "cluster", "probability"]
    assert page.evaluate("quoted('=1+1')") == '"\'=1+1"', "no formula for a spreadsheet"
    with page.expect_download() as download:
        chosen.get_by_role("button", name="Save").click()
    assert download.value.suggested_filename == "chosen.csv"
    chosen.get_by_role("button", name="Copy").click()
    chosen.get_by_role("button", name="Copied").wait_for()
    chosen.get_by_role("button", name="Clear").click()
    assert chosen.is_hidden()


def test_colour_by_a_number(page):
    page.locator("#colour").select_option("probability")
    settle(page)
    legend = page.locator("#legend")
    assert "missing" in legend.inner_text() and legend.locator(".ramp").is_visible() and legend.get_by_role("button").count() == 0
    page.locator("#colour").select_option("cluster")
    assert legend.get_by_role("button").count() == page.evaluate("columns[1].names.length")


def test_search(page):
    page.get_by_role("searchbox").press_sequentially("kIwI/view-0")
    assert page.locator("#status").inner_text() == "10 found" and page.locator("#legend button:visible").count() == 1
    page.keyboard.press("Enter")
    assert page.evaluate("[...state.chosen].every((i) => data.path[i].startsWith('Kiwi'))") and page.evaluate("state.chosen.size") == 10
    page.get_by_role("searchbox").fill("")
    assert page.locator("#status").inner_text() == "96 of 192 photos"


def test_views_side_by_side(page):
    page.get_by_role("button", name="Map", exact=True).click()
    settle(page)
    assert page.evaluate("shownPanels()[0].view.name") == "Map" and page.locator("#axes select").count() == 0
    page.get_by_role("button", name="Side by side").click()
    settle(page)
    assert page.evaluate("stage.dataset.drawn") == "webgl" and page.evaluate("shownPanels().length") == 3
    page.mouse.move(*at(page, 40, panel=1))
    settle(page)
    assert page.evaluate("state.hovered") >= 0
    save(page, "side")


def test_without_the_library_a_canvas_draws(show, text):
    page = show(text(with_library=False))
    assert page.evaluate("stage.dataset.drawn") == "canvas" and ink(page) > 1000
    assert page.locator("#note").inner_text() == "Drawn without WebGL: bootstrap/explorer.sh brings what draws many photos fast."
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -400)
    settle(page)
    assert page.evaluate("panels[0].eye.zoom") > 2
    page.locator("#axes select").nth(2).select_option(index=3)
    settle(page)
    assert ink(page) > 1000


def test_very_many_on_a_canvas(show, report):
    page = show(Page(report).with_clouds(6000).html(with_library=False))
    assert page.evaluate("stage.dataset.drawn") == "canvas" and ink(page) > 6000


def test_without_webgl_a_canvas_draws(browser, show, text):
    without = browser.browser_type.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-3d-apis"])
    page = show(text(), browser=without)
    assert page.evaluate("stage.dataset.drawn") == "canvas"
    assert page.locator("#note").inner_text() == "Drawn without WebGL, which this browser does not have."
    without.close()


def test_a_sandboxed_frame_follows_the_theme_of_its_page(show, text):
    frame = f'<iframe srcdoc="{markup.escape(text())}" sandbox="allow-scripts allow-downloads" style="color-scheme: dark; width: 1000px; height: 560px">'
    page = show(f"<!doctype html><body>{frame}</iframe>", color_scheme="null")
    inner, dark = page.frames[1], "getComputedStyle(document.body).backgroundColor"
    inner.wait_for_function(f"{dark} === 'rgb(20, 23, 27)'")
    page.evaluate("document.querySelector('iframe').style.colorScheme = 'light'")
    inner.wait_for_function(f"{dark} === 'rgb(255, 255, 255)' && theme.paper === '#fff'")
    assert inner.evaluate("stage.dataset.drawn") == "canvas" and inner.locator("#note").is_hidden(), "there is no graphics card"
    inner.evaluate("choose([1])")
    inner.get_by_role("button", name="paths").click()
    inner.get_by_role("button", name="Copy").click()
    inner.get_by_role("button", name="Copied").wait_for()


def test_a_report_of_a_folder_that_is_meant_badly(show, tmp_path):
    photos, name = tmp_path / "photos", BAD.replace("/", "\\")
    shutil.copytree(SAMPLE / "Kiwi", photos / "Kiwi")
    shutil.copytree(SAMPLE / "Banana", photos / name)
    (photos / name / "gone.jpg").write_bytes((SAMPLE / "Lemon" / "view-00.jpg").read_bytes())
    run("features", photos, "--out", tmp_path / "out")
    (photos / name / "gone.jpg").unlink()
    run("report", tmp_path / "out", "--out", tmp_path / "report.html")
    page = show((tmp_path / "report.html").read_text())
    figure = page.frames[1]
    assert "<script>alert" in figure.locator("#legend").inner_text()
    there, gone = (figure.evaluate(f"data.path.findIndex((path) => path.endsWith('{end}'))") for end in ["Kiwi/view-00.jpg", "gone.jpg"])
    tip = point_at(page, figure, there)
    assert tip.locator("strong").inner_text() == "Kiwi" and "Kiwi/view-" in tip.inner_text()
    figure.wait_for_function(f"({COLOURS})() > 50")
    tip = point_at(page, figure, gone)
    assert tip.locator("strong").inner_text() == name and figure.evaluate(COLOURS) < 10
    save(page, "report")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_a_reader(show, text, scheme):
    page = show(text(), color_scheme=scheme)
    page.evaluate("choose([...Array(40).keys()]); pin(3)")
    page.get_by_role("button", name="CSV").click()
    page.get_by_role("button", name="Kiwi 16").click()
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_a_reader_of_a_report(show, report, scheme):
    page = show(report.read_text(), color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 25, 29)"}[scheme]
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], one["impact"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
    save(page, f"report-{scheme}", full_page=True)


def test_a_phone(browser, show, text):
    page = show(text(), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for name in ["PCA", "Side by side"]:
        page.get_by_role("button", name=name).click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="PCA").click()
    small = page.evaluate("[...document.querySelectorAll('button, select')].filter((b) => b.offsetParent && Math.min(b.offsetWidth, b.offsetHeight) < 24).length")
    assert small == 0, "fingers need 24 pixels"
    index = far_out(page)
    page.touchscreen.tap(*at(page, index))
    assert page.locator("#tip").is_visible() and page.evaluate("state.pinned") == index
    touch = page.context.new_cdp_session(page)
    points = lambda gap: [{"x": 200 - gap, "y": 350, "id": 0}, {"x": 200 + gap, "y": 350, "id": 1}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points(30)})
    touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points(60)})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("panels[0].eye.zoom > 1.5")
    save(page, "phone")
