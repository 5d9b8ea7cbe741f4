"""The map's page in a browser: it draws, answers pointer, keys and fingers, changes colours, and
runs nothing that a corpus says.
"""

import base64
import gzip
import json
import re
import time

import numpy as np
import pytest

from snakelm.analysis import map_page as module
from snakelm.analysis.map_page import (
    PAGE_BYTES,
    REPORT_BYTES,
    write_map_page,
    write_report_page,
)
from tests.browser import PHONE
from tests.snakelm.evaluation.embeddings.maps import ATTACKS, make_map, scattered

PIXELS = """(i) => {
  const map = document.getElementById("map"), box = map.getBoundingClientRect(), [x, y] = map.at(i);
  return [box.left + x + 1, box.top + y + 1];
}"""
WRITE = {"map.html": write_map_page, "map_report.html": write_report_page}

READS = "(text) => document.getElementById('excerpt').textContent === text"


def wait_until(page, function, arg=None, seconds=20):
    """Waits until the JavaScript ``function`` gives true. Playwright's own `wait_for_function`
    needs `eval` in the page, which the page's policy forbids.
    """
    deadline = time.monotonic() + seconds
    while not page.evaluate(function, arg):
        assert time.monotonic() < deadline, f"{function} with {arg!r} is still false"
        page.wait_for_timeout(10)


def open_page(page, path):
    """Waits until the map is drawn."""
    page.goto(path.as_uri())
    wait_until(page, "() => document.documentElement.dataset.ready === 'yes'")


def point_at(page, i):
    """Moves the pointer to document ``i``."""
    x, y = page.evaluate(PIXELS, i)
    page.mouse.move(x + 3, y + 1)
    page.mouse.move(x, y)


def data_of(path):
    (packed,) = re.findall(r'id="data">([\w+/=]*)<', path.read_text(encoding="utf-8"))
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(params=WRITE)
def written(request, tmp_path):
    """`written(documents)`: either page of a map."""

    def write(documents):
        WRITE[request.param](documents, tmp_path / "map.html")
        return tmp_path / "map.html"

    return write


def test_it_draws_and_shows_what_is_pointed_at(page, seen, written, tmp_path):
    documents = make_map(
        tmp_path / "m.parquet", scattered(100), score=[i / 100 for i in range(100)]
    )
    open_page(page, written(documents))
    shot = page.screenshot()
    for i in (0, 37, 99):
        point_at(page, i)
        wait_until(page, READS, f"document {i}")
    facts = page.locator("#facts").inner_text().split("\n")
    assert dict(zip(facts[::2], facts[1::2], strict=True)) == {
        "source": "source0",
        "bits per byte": "1.99",
        "length in tokens": "9,811",
        "filter score": "0.99",
        "held out": "no",
    }
    for label in ("bits per byte", "length in tokens", "filter score", "source"):
        before = page.screenshot()
        page.get_by_text(label, exact=True).first.click()
        page.wait_for_timeout(300)
        assert page.screenshot() != before, label
    assert shot != page.screenshot()
    assert not seen.complaints()
    assert all(address.startswith("file://") for address in seen.requests), "nothing is fetched"


def test_no_string_of_a_corpus_runs(page, seen, written, tmp_path):
    n = len(ATTACKS)
    documents = make_map(tmp_path / "m.parquet", scattered(n), excerpt=ATTACKS, source=ATTACKS)
    open_page(page, written(documents))
    data = data_of(tmp_path / "map.html")
    for label in ("source", "bits per byte", "source"):
        page.get_by_text(label, exact=True).first.click()
        for i in range(n):
            point_at(page, i)
            wait_until(page, READS, data["excerpts"][i])
    assert (
        page.evaluate("document.querySelectorAll('#card *:not(dl, dt, dd, #excerpt)').length") == 0
    )
    assert page.evaluate("window.hit") is None
    assert not seen.dialogs
    assert not seen.complaints()
    assert all(address.startswith("file://") for address in seen.requests)


def test_the_policy_stops_what_should_not_be_there(page, seen, written, tmp_path):
    """Were an attack to become markup after all, it would still not run."""
    path = written(make_map(tmp_path / "m.parquet", scattered(4)))
    html = path.read_text(encoding="utf-8")
    path.write_text(html.replace("<aside", "".join(ATTACKS[:20]) + "<aside"), encoding="utf-8")
    open_page(page, path)
    page.wait_for_timeout(300)
    assert page.evaluate("window.hit") is None
    assert not seen.dialogs
    assert any("Content Security Policy" in text for text in seen.complaints())


def test_it_moves_zooms_and_hides(page, seen, written, tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(9), source=["a", "b", "c"] * 3)
    open_page(page, written(documents))
    middle, corner = page.evaluate(PIXELS, 4), page.evaluate(PIXELS, 8)

    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    wait_until(
        page, "([i, x]) => document.getElementById('map').at(i)[0] > x + 100", [8, corner[0]]
    )
    assert page.evaluate(PIXELS, 4) == pytest.approx(middle, abs=1), (
        "what is under the pointer stays there"
    )
    page.mouse.down()
    page.mouse.move(middle[0] + 50, middle[1] - 20, steps=4)
    page.mouse.up()
    assert page.evaluate(PIXELS, 4) == pytest.approx([middle[0] + 50, middle[1] - 20], abs=1)
    page.locator("#map canvas").dblclick(position={"x": 5, "y": 5})
    assert page.evaluate(PIXELS, 8) == pytest.approx(corner, abs=1)

    page.locator("#legend button", has_text="b").click()
    point_at(page, 3)
    wait_until(page, READS, "document 3")
    point_at(page, 4)
    page.wait_for_timeout(100)
    assert page.locator("#excerpt").text_content() == "document 3", (
        "4 is of source b, which is hidden"
    )
    page.get_by_text("bits per byte", exact=True).first.click()
    pressed = [
        button.get_attribute("aria-pressed") for button in page.locator("#legend button").all()
    ]
    assert pressed == ["true", "false", "true"], "hidden whatever the colours, and can be shown"
    assert not seen.complaints()


def test_it_is_used_without_a_pointer(page, seen, written, tmp_path):
    open_page(page, written(make_map(tmp_path / "m.parquet", scattered(9))))
    corner = page.evaluate(PIXELS, 8)
    page.locator("#map canvas").focus()

    # 4 is in the middle of three rows of three; y counts upwards.
    for key, document in [
        ("ArrowRight", 5),
        ("ArrowUp", 8),
        ("ArrowLeft", 7),
        ("ArrowUp", 7),
        ("ArrowDown", 4),
    ]:
        page.keyboard.press(key)
        wait_until(page, READS, f"document {document}")

    before = page.evaluate(PIXELS, 4)
    page.keyboard.press("+")
    assert page.evaluate(PIXELS, 8)[0] > corner[0] + 100
    assert page.evaluate(PIXELS, 4) == pytest.approx(before, abs=1), "zooms about what is selected"
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate(PIXELS, 4)[0] < before[0] - 50
    page.keyboard.press("0")
    assert page.evaluate(PIXELS, 8) == pytest.approx(corner, abs=1)

    page.get_by_label("Zoom in").click()
    assert page.evaluate(PIXELS, 8)[0] > corner[0] + 100
    page.get_by_label("Show everything").click()
    assert page.evaluate(PIXELS, 8) == pytest.approx(corner, abs=1)
    assert not seen.complaints()


def test_two_fingers_zoom_about_their_middle_and_a_tap_selects(browser, tmp_path):
    write_map_page(make_map(tmp_path / "m.parquet", scattered(9)), tmp_path / "map.html")
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    open_page(page, tmp_path / "map.html")
    middle, right = page.evaluate(PIXELS, 4), page.evaluate(PIXELS, 5)
    page.touchscreen.tap(*right)
    wait_until(page, READS, "document 5")

    def touch(kind, *apart):
        points = [{"x": middle[0] + d, "y": middle[1], "id": i} for i, d in enumerate(apart)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    devtools = context.new_cdp_session(page)
    touch("touchStart", -20, 20)
    for d in (30, 40, 60):
        touch("touchMove", -d, d)
    touch("touchEnd")
    assert page.evaluate(PIXELS, 4) == pytest.approx(middle, abs=2)
    assert page.evaluate(PIXELS, 5)[0] - middle[0] == pytest.approx(
        3 * (right[0] - middle[0]), rel=0.05
    )
    context.close()


def test_another_window_shows_everything_still(page, written, tmp_path):
    open_page(page, written(make_map(tmp_path / "m.parquet", scattered(9))))
    for width, height in ((390, 844), (1200, 800)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(200)
        box = page.locator("#map canvas").bounding_box()
        for i in range(9):
            x, y = page.evaluate(PIXELS, i)
            assert box["x"] < x < box["x"] + box["width"]
            assert box["y"] < y < box["y"] + box["height"]


def test_the_reports_page_is_shown_by_a_data_uri(page, seen, tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(3000), excerpt=["a b c " * 20] * 3000)
    assert write_report_page(documents, tmp_path / "map.html") == 3000
    data = base64.b64encode((tmp_path / "map.html").read_bytes()).decode()
    assert len(data) < 2 << 20, "more than Chromium shows by a data URI"
    assert REPORT_BYTES * 4 / 3 < (2 << 20) - 1000

    page.set_content(f'<iframe width="1000" height="700" src="data:text/html;base64,{data}">')
    frame = page.frame_locator("iframe")
    frame.locator("html[data-ready=yes]").wait_for(state="attached")
    assert not seen.complaints()


def test_no_code_is_made_of_text(written, tmp_path):
    text = written(make_map(tmp_path / "m.parquet", scattered(4))).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    scripts = re.search(r"script-src ([^;]*)", policy)[1].split()
    assert len(scripts) == 1
    assert scripts[0].startswith("'sha256-")
    assert "unsafe-eval" not in text


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_documents(n, page, seen, written, tmp_path):
    documents = make_map(
        tmp_path / "m.parquet", np.zeros((n, 2)) + np.arange(n)[:, None], loss=[None] * n
    )
    open_page(page, written(documents))
    point_at(page, n - 1)
    wait_until(page, READS, f"document {n - 1}")
    assert page.get_by_text("length in tokens").count()
    assert not page.locator("label", has_text="bits per byte").count(), "nothing is known of it"
    assert not seen.complaints()


def test_without_a_canvas_it_says_so(page, written, tmp_path):
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(written(make_map(tmp_path / "m.parquet", scattered(20))).as_uri())
    page.get_by_text("The map can't be drawn here: this browser has no canvas").wait_for()


def test_a_phone_in_the_dark(page, seen, written, tmp_path):
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    open_page(
        page, written(make_map(tmp_path / "m.parquet", scattered(50), excerpt=["long" * 30] * 50))
    )
    page.get_by_text("bits per byte").click()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], (
        "nothing sticks out"
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    tick = page.locator("#scale span").first
    assert tick.evaluate("(e) => getComputedStyle(e).color") == "rgb(232, 236, 241)"
    assert page.evaluate("document.querySelector('#map canvas').width") > 300


def test_source_names_of_the_legend_and_the_rest_of_them(page, seen, written, tmp_path):
    names = [f"<b>{i}</b>" for i in range(12) for _ in range(12 - i)]
    open_page(page, written(make_map(tmp_path / "m.parquet", scattered(len(names)), source=names)))
    legend = [text.text_content() for text in page.locator("#legend button").all()]
    assert legend == [*(f"<b>{i}</b>" for i in range(7)), "5 more"]


def test_words_are_cut_and_cleared_of_what_turns_text(written, tmp_path):
    texts = ["\u202egnorw", "x" * 500, "👩‍👩‍👧‍👦" * 60, "\ud83d", ""]
    texts[3] = "nul\x00"
    data = data_of(written(make_map(tmp_path / "m.parquet", scattered(5), excerpt=texts)))
    assert data["excerpts"][0] == "�gnorw"
    assert data["excerpts"][1] == "x" * 119 + "…"
    assert len(data["excerpts"][2]) == 120
    assert data["excerpts"][3] == "nul�"


def test_same_map_same_bytes(written, tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(30))
    assert written(documents).read_bytes() == written(documents).read_bytes()


def test_a_page_stays_within_its_size(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    texts = [base64.b64encode(generator.bytes(90)).decode() for _ in range(3000)]
    documents = make_map(tmp_path / "m.parquet", generator.uniform(-1, 1, (3000, 2)), excerpt=texts)
    path = tmp_path / "map.html"
    write_map_page(make_map(tmp_path / "one.parquet", scattered(1)), path)
    fixed = path.stat().st_size

    shown = []
    for room in (1_000_000, 330_000, 30_000):
        monkeypatch.setattr(module, "PAGE_BYTES", fixed + room)
        shown.append(write_map_page(documents, path))
        assert path.stat().st_size <= fixed + room
    assert shown[:2] == [3000, 3000]
    assert 500 < shown[2] < 3000
    assert f"{shown[2]:,} of 3,000 documents" in path.read_text(encoding="utf-8").replace("\n", " ")
    assert PAGE_BYTES <= 8_000_000
