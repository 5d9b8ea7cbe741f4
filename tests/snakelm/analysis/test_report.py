"""The report is whole: every figure and table is in it once, each with a caption that explains it."""

import re
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import pytest

from snakelm.analysis.plot import FIGURES, TABLES

ROOT = Path(__file__).resolve().parents[3]
RULES = (ROOT / "rules/analysis.smk").read_text(encoding="utf-8")
OUTPUTS = re.findall(r'report\(\s*\w+\("(?:figures|tables)/([\w.]+)"\),\s*caption="\.\./report/(\w+)\.rst"', RULES)
CAPTIONS = sorted((ROOT / "report").glob("*.rst"))


def test_every_figure_and_table_is_in_the_report():
    drawn = {*(f"{name}.svg" for name in [*FIGURES, "document_lengths"]), *(f"{name}.html" for name in TABLES)}
    assert {name for name, _ in OUTPUTS} == drawn | {"filter_threshold.svg", "filter.html"}  # plot_filter's
    assert len(OUTPUTS) == RULES.count("report(\n"), "each report() names its caption"


def test_a_caption_has_its_figures_name():
    assert all(Path(name).stem == caption for name, caption in OUTPUTS)
    assert {c.stem for c in CAPTIONS} == {caption for _, caption in OUTPUTS} | {"workflow"}


def test_only_single_files_so_that_a_bare_report_works():
    assert "directory(" not in RULES
    assert "htmlindex" not in RULES


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda p: p.stem)
def test_a_caption_is_sound_and_answers_three_questions(caption):
    text = caption.read_text(encoding="utf-8")

    shown = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(snakemake=SimpleNamespace(config={}))
    docutils.core.publish_string(shown, writer="html5", settings_overrides={"halt_level": 2, "report_level": 2})
    if caption.stem != "workflow":
        for question in ("**What you see.**", "**What is good.**", "**If not.**"):
            assert question in text


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda p: p.stem)
def test_captions_name_keys_that_exist(caption):
    from snakelm.config import as_mapping, load_config

    config = as_mapping(load_config())
    for section, key in re.findall(r"``(\w+)\.(\w+)``", caption.read_text(encoding="utf-8")):
        assert key in config[section], f"{section}.{key}"
