"""The static maps: valid SVG for every sort of map, every document drawn once, colours that have
their dark ones.
"""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from snakelm.analysis.figures import map as module
from snakelm.analysis.figures.map import draw_map
from snakelm.analysis.figures.style import DARK
from snakelm.errors import UserError
from tests.snakelm.evaluation.embeddings.maps import ATTACKS, make_map, scattered

NAMES = ("map_source.svg", "map_loss.svg", "map_tokens.svg", "map_score.svg")


def drawn(path, name, documents):
    draw_map(documents, path / name)
    text = (path / name).read_text(encoding="utf-8")
    return text, ET.fromstring(text)


def dots(text):
    """Where the lines without length are, in points: [n, 2]."""
    places = [place.split() for place in re.findall(r"M ([\d.]+ [\d.]+) \nL \1 \n", text)]
    return np.array(
        [place for place in places if float(place[0]) < 389], float
    )  # letters are in larger units


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_every_document_is_a_dot(name, n, tmp_path):
    documents = make_map(
        tmp_path / "map.parquet", scattered(n), score=[i / n if i % 2 else None for i in range(n)]
    )
    text, root = drawn(tmp_path, name, documents)
    assert len(dots(text)) == n
    assert not [e for e in root.iter() if e.tag.endswith(("}script", "}text", "}image"))]
    styles = [part.strip() for e in root.iter() for part in e.get("style", "").split(";")]
    colours = {part.split(": ")[1] for part in styles if part.startswith(("fill: #", "stroke: #"))}
    assert colours <= set(DARK)


def test_places_equal_and_unknown_values_stand(tmp_path):
    documents = make_map(
        tmp_path / "map.parquet", np.zeros((9, 2)), loss=[None] * 9, tokens=[5] * 9
    )
    for name in NAMES:
        text, _ = drawn(tmp_path, name, documents)
        assert len(dots(text)) == 9, name


def test_a_dot_is_where_its_document_is(tmp_path):
    text, root = drawn(
        tmp_path,
        "map_loss.svg",
        make_map(tmp_path / "m.parquet", np.array([[-1, -1], [1, 1], [0, 0]])),
    )
    low, high, middle = dots(text)
    np.testing.assert_allclose(middle, (low + high) / 2, atol=0.06)
    assert low[0] < high[0]
    assert low[1] > high[1], "an SVG counts from the top"
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    assert min(low[0], high[1]) > 0
    assert high[0] < width
    assert low[1] < height


def test_of_many_documents_some_are_drawn_and_the_figure_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_DOTS", 50)
    documents = make_map(tmp_path / "map.parquet", scattered(200), id=list(range(200))[::-1])
    assert len(dots(drawn(tmp_path, "map_source.svg", documents)[0])) == 50
    assert module._title(50, 200, "source") == "50 of 200 documents by source"
    assert module._title(1, 1, "source") == "1 document by source"


def test_names_that_mean_something_to_matplotlib_or_to_xml(tmp_path):
    n = len(ATTACKS)
    documents = make_map(
        tmp_path / "map.parquet", scattered(n), source=[*ATTACKS[:-3], "$x^{", "_a", "\n"]
    )
    text, root = drawn(tmp_path, "map_source.svg", documents)
    assert len(dots(text)) == n
    assert not [e for e in root.iter() if "script" in e.tag]
    few = make_map(
        tmp_path / "map.parquet", scattered(4), source=["$x^{", "_a", "\n", "<script>\x00"]
    )
    assert len(dots(drawn(tmp_path, "map_source.svg", few)[0])) == 4


def test_same_map_same_bytes(tmp_path):
    documents = make_map(tmp_path / "map.parquet", scattered(30))
    assert (
        drawn(tmp_path, "map_loss.svg", documents)[0]
        == drawn(tmp_path, "map_loss.svg", documents)[0]
    )


def test_a_colouring_that_there_is_not(tmp_path):
    with pytest.raises(UserError, match="expected one of map_source"):
        draw_map(make_map(tmp_path / "map.parquet", scattered(3)), tmp_path / "map_colour.svg")
