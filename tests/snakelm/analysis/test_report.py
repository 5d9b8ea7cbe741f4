"""The report is complete: every figure and table is in it once, each with a caption that explains
it.
"""

import re
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import pytest

from snakelm.analysis.plot import (
    FIGURES,
    LAST_FIGURES,
    LAST_TABLES,
    PREFERENCE_FIGURES,
    PREFERENCE_TABLES,
    TABLES,
    TUNING_FIGURES,
)

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = (ROOT / "rules/report.smk").read_text(encoding="utf-8")
OF_THEIR_OWN = ("sweep", "memorisation", "plan", "source_ablation")  # targets
RULES = DEFAULT + "".join(
    (ROOT / f"rules/{name}.smk").read_text(encoding="utf-8") for name in OF_THEIR_OWN
)
CHAPTERS = re.findall(
    r'^    "(\w+)": "(\d[a-z]?)\. ',
    (ROOT / "rules/common.smk").read_text(encoding="utf-8"),
    re.MULTILINE,
)
OUTPUTS = re.findall(
    r'reported\(\s*"(?:figures|tables)/([\w.]+)",\s*"(\w+)",\s*"(\d)\. [^"]+",?\s*\)', RULES
)
CAPTIONS = sorted((ROOT / "report").glob("*.rst"))


def test_every_figure_and_table_is_in_the_report():
    figures = [*FIGURES, *LAST_FIGURES, *TUNING_FIGURES, *PREFERENCE_FIGURES, "document_lengths"]
    drawn = {
        *(f"{name}.svg" for name in figures),
        *(f"{name}.html" for name in [*TABLES, *LAST_TABLES, *PREFERENCE_TABLES]),
    }
    assert drawn <= {name for name, _, _ in OUTPUTS}
    assert len(OUTPUTS) == RULES.count("reported("), "each names its file, chapter and place"


def test_every_part_has_a_caption_and_every_caption_a_part():
    assert {Path(name).stem for name, _, _ in OUTPUTS} | {"workflow"} == {
        caption.stem for caption in CAPTIONS
    }


def test_the_chapters_are_in_order_and_no_two_parts_have_one_place():
    numbers = [number for _, number in CHAPTERS]
    assert numbers == sorted(set(numbers)), "Snakemake sorts them by name"
    assert [int(one) for one in numbers if one.isdigit()] == list(range(1, 10))
    assert {chapter for _, chapter, _ in OUTPUTS} <= {name for name, _ in CHAPTERS}
    places = [(chapter, place) for _, chapter, place in OUTPUTS]
    assert len(set(places)) == len(places), sorted(
        place for place in places if places.count(place) > 1
    )


def test_every_rule_of_the_report_is_drawn_by_default():
    rules = set(re.findall(r"^rule (\w+):", DEFAULT, re.MULTILINE))
    assert set(re.findall(r"rules\.(\w+)\.output", DEFAULT[DEFAULT.index("DRAWN = ") :])) == rules


def test_only_single_files_so_that_a_bare_report_works():
    assert "directory(" not in RULES
    assert "htmlindex" not in RULES


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda p: p.stem)
def test_a_caption_is_sound_and_answers_three_questions(caption):
    text = caption.read_text(encoding="utf-8")

    shown = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(
        snakemake=SimpleNamespace(config={})
    )
    docutils.core.publish_string(
        shown, writer="html5", settings_overrides={"halt_level": 2, "report_level": 2}
    )
    if caption.stem != "workflow":
        for question in ("**What you see.**", "**What is good.**", "**If not.**"):
            assert question in text


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda p: p.stem)
def test_captions_name_keys_that_exist(caption):
    from snakelm.config import as_mapping, load_config

    config = as_mapping(load_config())
    for section, key in re.findall(
        r"``([a-z_]+)\.(\w+)(?:: \w+)?``", caption.read_text(encoding="utf-8")
    ):
        assert key in config[section], f"{section}.{key}"
