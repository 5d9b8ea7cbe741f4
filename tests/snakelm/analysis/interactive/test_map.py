"""The map's page in a browser: it draws, answers the pointer, changes colours, and runs nothing
that a corpus says.
"""

import base64
import gzip
import json
import re

import numpy as np
import pytest

from snakelm.analysis.interactive import map as module
from snakelm.analysis.interactive.map import (
    LARGEST,
    LARGEST_IN_REPORT,
    write_map_page,
    write_report_page,
)
from tests.browser import PHONE
from tests.snakelm.evaluation.embeddings.maps import ATTACKS, make_map, scattered

PIXELS = """(i) => {
  const map = document.getElementById("map"), box = map.getBoundingClientRect(), [x, y] = map.at(i);
  return [box.left + x + 1, box.top + y + 1];
}"""
WRITE = {"plotly": write_map_page, "canvas": write_report_page}

READS = "(text) => document.getElementById('excerpt').textContent === text"


def open_page(page, path):
    """Waits until the map is drawn."""
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")


def point_at(page, i):
    """Moves the pointer to document ``i``."""
    x, y = page.evaluate(PIXELS, i)
    page.mouse.move(x + 3, y + 1)
    page.mouse.move(x, y)


def data_of(path):
    (packed,) = re.findall(r'id="data">([\w+/=]*)<', path.read_text(encoding="utf-8"))
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(params=WRITE)
def drawer(request):
    """What draws the page's dots."""
    return request.param


@pytest.fixture
def written(drawer, tmp_path):
    """`written(documents)`: the page of a map."""

    def write(documents):
        WRITE[drawer](documents, tmp_path / "map.html")
        return tmp_path / "map.html"

    return write


def test_it_draws_and_tells_what_is_pointed_at(page, seen, drawer, written, tmp_path):
    documents = make_map(
        tmp_path / "m.parquet", scattered(100), score=[i / 100 for i in range(100)]
    )
    open_page(page, written(documents))
    if drawer == "plotly":
        assert page.evaluate(
            "document.getElementById('map').data.every((trace) => trace.type === 'scattergl')"
        )
    shot = page.screenshot()
    for i in (0, 37, 99):
        point_at(page, i)
        page.wait_for_function(READS, arg=f"document {i}")
    facts = page.locator("#facts").inner_text().split("\n")
    told = dict(zip(facts[::2], facts[1::2], strict=True))
    assert told == {
        "source": "source0", "bits per byte": "1.99", "length in tokens": "9,811", "score of the filter": "0.99",
        "held out": "no",
    }  # fmt: skip
    for words in ("bits per byte", "length in tokens", "score of the filter", "source"):
        before = page.screenshot()
        page.get_by_text(words, exact=True).first.click()
        page.wait_for_timeout(300)
        assert page.screenshot() != before, words
    assert shot != page.screenshot()
    assert not seen.complaints()
    assert all(address.startswith("file://") for address in seen.requests), "nothing is fetched"


def test_no_string_of_a_corpus_runs(page, seen, written, tmp_path):
    n = len(ATTACKS)
    documents = make_map(tmp_path / "m.parquet", scattered(n), excerpt=ATTACKS, source=ATTACKS)
    open_page(page, written(documents))
    data = data_of(tmp_path / "map.html")
    for words in ("source", "bits per byte", "source"):
        page.get_by_text(words, exact=True).first.click()
        for i in range(n):
            point_at(page, i)
            page.wait_for_function(
                "([at, text]) => document.getElementById('excerpt').textContent === text",
                arg=[i, data["excerpt"][i]],
            )
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


def test_a_canvas_moves_zooms_and_hides(page, seen, tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(9), source=["a", "b", "c"] * 3)
    write_report_page(documents, tmp_path / "map.html")
    open_page(page, tmp_path / "map.html")
    middle, corner = page.evaluate(PIXELS, 4), page.evaluate(PIXELS, 8)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        "([i, x]) => document.getElementById('map').at(i)[0] > x + 100", arg=[8, corner[0]]
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
    page.locator("#scale button", has_text="b").click()
    point_at(page, 3)
    page.wait_for_function(READS, arg="document 3")
    point_at(page, 4)
    page.wait_for_timeout(100)
    assert page.locator("#excerpt").text_content() == "document 3", (
        "4 is of source b, which is hidden"
    )


def test_the_reports_page_runs_no_code_made_of_text_and_is_small(tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(3000), excerpt=["a b c " * 20] * 3000)
    assert write_report_page(documents, tmp_path / "map.html") == 3000
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "unsafe-eval" not in text
    assert len(base64.b64encode(text.encode())) < 2 << 20, "more than Chromium shows by a data URI"
    assert LARGEST_IN_REPORT * 4 / 3 < (2 << 20) - 1000


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_documents(n, page, seen, written, tmp_path):
    documents = make_map(
        tmp_path / "m.parquet", np.zeros((n, 2)) + np.arange(n)[:, None], loss=[None] * n
    )
    open_page(page, written(documents))
    point_at(page, n - 1)
    page.wait_for_function(READS, arg=f"document {n - 1}")
    assert page.get_by_text("length in tokens").count()
    assert not page.locator("label", has_text="bits per byte").count(), "nothing is known of it"
    assert not seen.complaints()


@pytest.mark.parametrize("drawer", ["plotly"])
def test_without_webgl_it_draws_all_the_same(page, seen, written, tmp_path):
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    documents = make_map(tmp_path / "m.parquet", scattered(20))
    open_page(page, written(documents))
    assert page.locator("#map .point").count() == 20


def test_a_phone_in_the_dark(page, seen, drawer, written, tmp_path):
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
    words = {"plotly": ("#map .cbaxis text", "fill"), "canvas": ("#scale span", "color")}[drawer]
    assert (
        page.locator(words[0]).first.evaluate(f"(e) => getComputedStyle(e).{words[1]}")
        == "rgb(232, 236, 241)"
    )
    assert page.evaluate("document.querySelector('#map canvas').width") > 300


def test_source_names_of_the_legend_and_the_rest_of_them(page, seen, written, tmp_path):
    names = [f"<b>{i}</b>" for i in range(12) for _ in range(12 - i)]
    open_page(page, written(make_map(tmp_path / "m.parquet", scattered(len(names)), source=names)))
    legend = [text.text_content() for text in page.locator("#map .legendtext, #scale button").all()]
    assert legend == [*(f"<b>{i}</b>" for i in range(7)), "5 more"]


def test_words_are_cut_and_cleared_of_what_turns_text(written, tmp_path):
    texts = ["\u202egnorw", "x" * 500, "👩‍👩‍👧‍👦" * 60, "\ud83d", ""]
    texts[3] = "nul\x00"
    data = data_of(written(make_map(tmp_path / "m.parquet", scattered(5), excerpt=texts)))
    assert data["excerpt"][0] == "�gnorw"
    assert data["excerpt"][1] == "x" * 119 + "…"
    assert len(data["excerpt"][2]) == 120
    assert data["excerpt"][3] == "nul�"


def test_same_map_same_bytes(written, tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(30))
    assert written(documents).read_bytes() == written(documents).read_bytes()


def test_a_page_stays_within_its_size(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    texts = [base64.b64encode(generator.bytes(90)).decode() for _ in range(3000)]
    documents = make_map(tmp_path / "m.parquet", generator.uniform(-1, 1, (3000, 2)), excerpt=texts)
    library = len(module._packed(module.get_plotlyjs()))
    shown = []
    for room in (1_000_000, 330_000, 30_000):
        monkeypatch.setattr(module, "LARGEST", library + room)
        shown.append(write_map_page(documents, tmp_path / "map.html"))
        assert (tmp_path / "map.html").stat().st_size <= library + room
    assert shown[:2] == [3000, 3000]
    assert 500 < shown[2] < 3000
    assert f"{shown[2]:,} of 3,000 documents" in (tmp_path / "map.html").read_text(encoding="utf-8")
    assert LARGEST <= 8_000_000
