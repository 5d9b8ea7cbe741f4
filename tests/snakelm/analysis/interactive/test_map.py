"""The map's page in a browser: it draws, answers the pointer, changes colours, and runs nothing that a corpus says."""

import base64
import gzip
import json
import re

import numpy as np
import pytest

from snakelm.analysis.interactive import map as module
from snakelm.analysis.interactive.map import LARGEST, write_map_page
from tests.browser import PHONE
from tests.snakelm.analysis.maps import ATTACKS, make_map, scattered

PIXELS = """([x, y]) => {
  const map = document.getElementById("map"), {xaxis, yaxis} = map._fullLayout, box = map.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)];
}"""

READS = "(text) => document.getElementById('excerpt').textContent === text"


def open_page(page, path):
    """Waits until the map is drawn."""
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")


def point_at(page, documents, i):
    """Moves the pointer to document ``i``."""
    place = [round(float(v) * module.GRID) for v in documents.places[i]]
    x, y = page.evaluate(PIXELS, place)
    page.mouse.move(x + 3, y + 1)
    page.mouse.move(x, y)


def data_of(path):
    (packed,) = re.findall(r'id="data">([\w+/=]*)<', path.read_text(encoding="utf-8"))
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture
def written(tmp_path):
    """`written(documents)`: the page of a map."""

    def write(documents):
        write_map_page(documents, tmp_path / "map.html")
        return tmp_path / "map.html"

    return write


def test_it_draws_and_tells_what_is_pointed_at(page, seen, written, tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(100), score=[i / 100 for i in range(100)])
    open_page(page, written(documents))
    assert page.evaluate("document.getElementById('map').data.every((trace) => trace.type === 'scattergl')")
    shot = page.screenshot()
    for i in (0, 37, 99):
        point_at(page, documents, i)
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
            point_at(page, documents, i)
            page.wait_for_function(
                "([at, text]) => document.getElementById('excerpt').textContent === text", arg=[i, data["excerpt"][i]]
            )
    assert page.evaluate("document.querySelectorAll('#card *:not(dl, dt, dd, #excerpt)').length") == 0
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


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_documents(n, page, seen, written, tmp_path):
    documents = make_map(tmp_path / "m.parquet", np.zeros((n, 2)) + np.arange(n)[:, None], loss=[None] * n)
    open_page(page, written(documents))
    point_at(page, documents, n - 1)
    page.wait_for_function(READS, arg=f"document {n - 1}")
    assert page.get_by_text("length in tokens").count()
    assert not page.locator("label", has_text="bits per byte").count(), "nothing is known of it"
    assert not seen.complaints()


def test_without_webgl_it_draws_all_the_same(page, seen, written, tmp_path):
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    documents = make_map(tmp_path / "m.parquet", scattered(20))
    open_page(page, written(documents))
    assert page.locator("#map .point").count() == 20


def test_a_phone_in_the_dark(page, seen, written, tmp_path):
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    open_page(page, written(make_map(tmp_path / "m.parquet", scattered(50), excerpt=["long" * 30] * 50)))
    page.get_by_text("bits per byte").click()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], "nothing sticks out"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    ticks = page.locator("#map .colorbar .cbaxis text, #map .cbaxis text").first
    assert ticks.evaluate("(e) => getComputedStyle(e).fill") == "rgb(232, 236, 241)"


def test_source_names_of_the_legend_and_the_rest_of_them(page, seen, written, tmp_path):
    names = [f"<b>{i}</b>" for i in range(12) for _ in range(12 - i)]
    open_page(page, written(make_map(tmp_path / "m.parquet", scattered(len(names)), source=names)))
    legend = [text.text_content() for text in page.locator("#map .legendtext").all()]
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
