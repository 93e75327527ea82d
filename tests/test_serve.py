"""The page of `fruits serve` in a browser, as someone with a photo meets it."""

import base64
import json
import os
import pathlib
import re
import subprocess
import urllib.request

import pytest
from conftest import SAMPLE
from playwright.sync_api import expect

KIWI, LEMON = SAMPLE / "Kiwi" / "view-00.jpg", SAMPLE / "Lemon" / "view-00.jpg"
DAMAGED = {"name": "half.jpg", "mimeType": "image/jpeg", "buffer": KIWI.read_bytes()[:300] + b"damaged"}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
LAPTOP = {"viewport": {"width": 1280, "height": 800}}
TEXT = "h1, header p, #invitation strong, #another, #headline, #more, #answers span, h2, #nearest span, footer p, summary, #take, #unseen"


@pytest.fixture(scope="module")
def command(classifier):
    """What starts a server on a free port, and says where on the first line."""
    return [os.environ["FRUITS"], "serve", classifier[0], "--port", "0"]


@pytest.fixture(scope="module")
def url(command):
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield server.stdout.readline().strip()
    server.kill()
    server.wait()


@pytest.fixture
def visit(browser, url):
    """Opens the page: `visit(**options)`; fails on requests to elsewhere, and on anything in the console but responses that are refusals."""
    pages, said = [], []

    def open_page(**options):
        page = browser.new_context(**(LAPTOP | options)).new_page()
        pages.append(page)
        page.on("console", lambda message: message.type in ("error", "warning") and said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url.startswith((url + "/", f"blob:{url}/", "data:")) or said.append(request.url))
        page.goto(url)
        page.said = said
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert [text for text in said if not text.startswith("Failed to load resource")] == []


def answer(url, photo):
    """What the server answers to a program."""
    request = urllib.request.Request(url + "/identify", photo.read_bytes(), {"Content-Type": "image/jpeg"})
    return json.load(urllib.request.urlopen(request))


def expect_answer(page, reply):
    """The page shows this answer."""
    expect(page.locator("main")).to_have_attribute("data-state", "unknown" if reply["is_unknown"] else "answer")
    best = f"{100 * reply['probability']:.0f}\u00a0%"
    plausible = f"{100 * sum(reply['probabilities'][:len(reply['plausible'])]):.0f}\u00a0%"
    said = f"I do not know this most like: {reply['answer']}, {best}" if reply["is_unknown"] else f"{' or '.join(reply['plausible'])} {plausible}"
    assert page.get_by_role("status").text_content() == said
    assert page.locator("#answers li span:first-child").all_text_contents() == reply["answers"]
    assert page.locator("#nearest li > span:last-child").all_text_contents() == [photo["label"] for photo in reply["nearest"]]
    assert page.locator("#nearest img").count() == sum(photo["picture"] is not None for photo in reply["nearest"])
    assert page.locator("#photo").evaluate("(photo) => photo.decode().then(() => photo.naturalWidth)") > 0


def choose(page, photo):
    page.locator("#file").set_input_files(photo)


def save(page, name):
    """Keeps a picture where the variable FRUITS_PICTURES says, for people to look at."""
    if folder := os.environ.get("FRUITS_PICTURES"):
        page.screenshot(path=pathlib.Path(folder) / f"{name}.png")


def test_a_photo_is_chosen(visit, url):
    page = visit()
    assert page.title() == "Which fruit is this?" and page.locator("footer").inner_text().count("photos") > 0
    expect(page.locator("#take")).to_be_hidden()
    save(page, "serve-empty")
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Choose a photo").click()
    chooser.value.set_files(KIWI)
    expect_answer(page, answer(url, KIWI))
    save(page, "serve-answer")
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Choose another photo").click()
    chooser.value.set_files(KIWI)  # the same one again is a question, too
    expect_answer(page, answer(url, KIWI))


def drop(page, data):
    """Drops something as the system's file manager does."""
    box = page.locator("#zone").bounding_box()
    place = {"x": box["x"] + 50, "y": box["y"] + 50, "data": {"items": [], "dragOperationsMask": 1} | data}
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver"):
        devtools.send("Input.dispatchDragEvent", {"type": kind} | place)
    expect(page.locator("main")).to_have_class(re.compile(r"\bover\b"))
    devtools.send("Input.dispatchDragEvent", {"type": "drop"} | place)
    expect(page.locator("main")).not_to_have_class(re.compile(r"\bover\b"))


def test_a_photo_is_dropped(visit, url):
    page = visit()
    drop(page, {"items": [{"mimeType": "text/plain", "data": "kiwi"}]})
    expect(page.get_by_role("status")).to_contain_text("is no file")
    expect(page.get_by_text("Choose a photo")).to_be_visible()
    drop(page, {"files": [str(KIWI)]})
    expect_answer(page, answer(url, KIWI))
    assert page.url == url + "/", "the browser has not gone to the photo"


def test_a_photo_is_pasted(visit, url):
    page = visit()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy = """async (jpeg) => {
        const bytes = Uint8Array.from(atob(jpeg), (c) => c.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes]));
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        await navigator.clipboard.write([new ClipboardItem({ "image/png": await canvas.convertToBlob() })]);
    }"""
    page.evaluate(copy, base64.b64encode(LEMON.read_bytes()).decode())
    with page.expect_response("**/identify") as response:
        page.keyboard.press("Control+V")
    assert response.value.request.headers["content-type"] == "image/png"
    expect_answer(page, response.value.json())


def test_a_photo_is_taken_with_a_phone(visit, url):
    page = visit(**PHONE)
    save(page, "serve-phone")
    assert page.locator("#camera").get_attribute("capture") == "environment"
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Take a photo").tap()
    chooser.value.set_files(LEMON)
    expect_answer(page, answer(url, LEMON))
    expect(page.locator("#headline")).to_be_in_viewport(ratio=1)
    save(page, "serve-phone-answer")
    for target in ("#zone", "#take", "summary"):
        box = page.locator(target).bounding_box()
        assert box["height"] >= 44 and box["width"] >= 44, target


def test_by_keyboard_alone(visit, url):
    page = visit()
    page.on("filechooser", lambda _: None)  # files are asked of the test from here on: with the key it comes too late at times
    for key, photo in (("Enter", KIWI), ("Space", LEMON)):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        outline = page.locator("#zone").evaluate("(zone) => getComputedStyle(zone).outlineStyle")
        assert outline == "solid"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press(key)
        chooser.value.set_files(photo)
        expect_answer(page, answer(url, photo))
        page.keyboard.press("Shift+Tab")
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("details li").first).to_be_visible()


def test_what_is_unknown_is_said_to_be(visit, url):
    page = visit()
    unknown = answer(url, KIWI) | {"is_unknown": True, "probability": 0.41}
    page.route("**/identify", lambda route: route.fulfill(json=unknown))
    choose(page, KIWI)
    expect(page.get_by_role("status")).to_contain_text("I do not know this")
    expect_answer(page, unknown)
    save(page, "serve-unknown")


def test_what_may_be_one_of_two_is_said_so(visit, url):
    page = visit()
    either = answer(url, KIWI) | {"is_unknown": False, "answers": ["Pear", "Quince", "Kiwi"], "probabilities": [0.52, 0.41, 0.07]}
    either |= {"answer": "Pear", "probability": 0.52, "plausible": ["Pear", "Quince"]}
    page.route("**/identify", lambda route: route.fulfill(json=either))
    choose(page, KIWI)
    expect(page.get_by_role("status")).to_have_text("Pear or Quince 93\u00a0%")
    expect_answer(page, either)
    save(page, "serve-either")


def test_names_are_text(visit, url):
    page = visit()
    bad = "<img src=x onerror=alert(1)>"
    photo = {"path": bad, "label": bad, "similarity": 0.5, "picture": None}
    reply = answer(url, KIWI) | {"answer": bad, "answers": [bad], "probabilities": [1.0], "plausible": [bad], "probability": 1.0, "is_unknown": False}
    page.route("**/identify", lambda route: route.fulfill(json=reply | {"nearest": [photo]}))
    choose(page, KIWI)
    expect_answer(page, reply | {"nearest": [photo]})


def test_errors_are_in_words(visit, url, tmp_path):
    page = visit()
    status = page.get_by_role("status")
    choose(page, DAMAGED)
    expect(status).to_contain_text("The photo is damaged: ")
    expect(page.locator("#reasons")).to_be_hidden()
    save(page, "serve-error")
    (tmp_path / "notes.txt").write_text("no photo")
    choose(page, tmp_path / "notes.txt")
    expect(status).to_contain_text("The photo cannot be read: ")
    expect(page.locator("#unseen")).to_have_text("This browser cannot show notes.txt.")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    (tmp_path / "none.jpg").touch()
    choose(page, tmp_path / "none.jpg")
    expect(status).to_contain_text("The file is empty.")
    with open(tmp_path / "large.jpg", "wb") as file:
        file.truncate((32 << 20) + 1)
    choose(page, tmp_path / "large.jpg")
    expect(status).to_contain_text("it may have 32 MB at most")
    assert not [one for one in asked if one.endswith("/identify")], "it is known without asking"
    page.route("**/identify", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    choose(page, KIWI)
    expect(status).to_contain_text("The answer cannot be read (status 502).")
    page.unroute("**/identify")
    page.route("**/identify", lambda route: route.abort())
    choose(page, KIWI)
    expect(status).to_contain_text("The server does not answer.")
    page.unroute("**/identify")
    choose(page, KIWI)
    expect_answer(page, answer(url, KIWI))


def test_a_busy_server_is_asked_once_more(visit, url):
    page = visit()
    asked = []

    def busy(times):
        def handle(route):
            asked.append(route.request.url)
            if len(asked) > times:
                return route.continue_()
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "Many photos are being looked at."})

        return handle

    page.route("**/identify", busy(1))
    choose(page, KIWI)
    expect(page.get_by_role("status")).to_have_text("Looking at it…")
    expect(page.locator("main")).not_to_have_attribute("data-state", "waiting")
    expect_answer(page, answer(url, KIWI))
    assert len(asked) == 2
    asked.clear()
    page.unroute("**/identify")
    page.route("**/identify", busy(9))
    choose(page, KIWI)
    expect(page.get_by_role("status")).to_contain_text("Many photos are being looked at.")
    assert len(asked) == 2


def test_the_last_photo_is_the_one_that_counts(visit, url):
    page = visit()
    held = []
    page.route("**/identify", lambda route: held.append(route) if not held else route.continue_())
    choose(page, LEMON)
    expect(page.locator("main")).to_have_attribute("data-state", "waiting")
    choose(page, KIWI)
    expect(page.locator("main")).not_to_have_attribute("data-state", "waiting")
    expect_answer(page, answer(url, KIWI))
    page.unroute_all(behavior="ignoreErrors")


def contrast(one, other):
    """The contrast of two colours, as WCAG 2 has it."""

    def lightness(colour):
        parts = [part / 255 for part in colour]
        red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted([lightness(one), lightness(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 800, 1280])
def test_it_is_readable_at_every_width(visit, url, scheme, width):
    page = visit(viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    colours = """(elements) => elements.filter((element) => element.offsetParent).map((element) => {
        const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
        let under = element;
        while (numbers(getComputedStyle(under).backgroundColor)[3] === 0) under = under.parentElement;
        return [element.id || element.tagName, numbers(getComputedStyle(element).color), numbers(getComputedStyle(under).backgroundColor)];
    })"""
    for photo, state in [(None, "empty"), (KIWI, "answer|unknown"), (DAMAGED, "error")]:
        if photo:
            choose(page, photo)
        expect(page.locator("main")).to_have_attribute("data-state", re.compile(state))
        assert page.evaluate("document.documentElement.scrollWidth") == width
        texts = page.locator(TEXT).evaluate_all(colours)
        assert len(texts) > 5
        for name, ink, paper in texts:
            assert contrast(ink[:3], paper[:3]) >= 4.5, (state, name, ink, paper)
    moving = "document.getAnimations().length"
    assert page.evaluate(moving) == 0


def test_scripts_from_elsewhere_do_not_run(visit, url):
    page = visit()
    inline = """() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        const picture = new Image();
        picture.setAttribute("onerror", "window.ran = true");
        picture.src = "data:,";
        document.body.append(picture);
        return new Promise((done) => setTimeout(() => done(window.ran), 200));
    }"""
    assert page.evaluate(inline) is None
    refused = [text for text in page.said if "Content Security Policy" in text]
    assert len(refused) >= 2
    page.said[:] = [text for text in page.said if text not in refused]


def test_other_pages_cannot_ask(browser, url):
    """A page of another origin gets no answer, not even by a form."""
    page = browser.new_page()
    page.route("http://other.test/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.goto("http://other.test/")
    ask = "(url) => fetch(url + '/identify', { method: 'POST', mode: 'no-cors', body: 'x' }).then((r) => r.type, () => 'failed')"
    assert page.evaluate(ask, url) in ("opaque", "failed")
    read = "(url) => fetch(url).then(() => 'read', () => 'failed')"
    assert page.evaluate(read, url) == "failed"
    page.close()
