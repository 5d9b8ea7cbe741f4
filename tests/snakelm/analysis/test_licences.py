"""Keys that are shown and make nothing: each reaches every page that shows it, by the way that the
workflow hands it over, and nobody says that it was not given.

A shown key of a section stands in the step's second settings file (`shown_file`). One of an item in
a list can't; so the steps whose pages show it have it in their settings (`shows`).
"""

from io import StringIO
from typing import get_args

import pytest
from rich.console import Console

from snakelm.analysis.model_card import About, model_card
from snakelm.analysis.plot import plot_tuning
from snakelm.analysis.run_record import read_record
from snakelm.analysis.tables.configuration import write_configuration
from snakelm.analysis.tables.sources import write_sources
from snakelm.analysis.tables.summary import write_summary
from snakelm.analysis.tuning_record import read_tuning
from snakelm.config import Config, Model, from_mapping, load_settings, restrict
from snakelm.config.section import Section, is_cosmetic
from snakelm.provenance.chain import read_chain
from snakelm.provenance.terminal import show_tree
from snakelm.workflow.manifest import write_manifest
from snakelm.workflow.settings import settings_file
from snakelm.workflow.step import load_steps

TEXTS, TALKS, PAIRS = "CC BY 4.0 of the texts", "ODbL of the talks", "CC0 of the pairs"
GIVEN = {
    "sources": [
        {"path": "my/*.jsonl", "name": "mine", "licence": TEXTS},
        {"builtin": "docs", "licence": TEXTS + " collected"},
    ],
    "sft_data": {"sources": [{"path": "talks.jsonl", "licence": TALKS}]},
    "preferences": {"sources": [{"path": "pairs.jsonl", "licence": PAIRS}]},
}
STEPS = load_steps()


def shown_keys_of_items(kind=Config, prefix=""):
    """Every cosmetic key of the items of a list."""
    for name, field in kind.model_fields.items():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Section):
                item = inner is not field.annotation
                own = inner.model_fields.items()
                yield from (f"{prefix}{name}[].{k}" for k, f in own if item and is_cosmetic(f))
                yield from shown_keys_of_items(inner, f"{prefix}{name}.")


def test_these_are_all_such_keys():
    sources = ("preferences.sources[]", "sft_data.sources[]", "sources[]")
    keys = ("kind", "licence")  # kinds: test_training_summary.py
    assert sorted(shown_keys_of_items()) == [f"{one}.{key}" for one in sources for key in keys]


@pytest.fixture
def handed_over(tmp_path):
    """`handed_over("export")`: the configuration as that step gets it from the workflow."""

    def config_of(step):
        file = settings_file(tmp_path, from_mapping(GIVEN), STEPS[step])
        complete = load_settings([file])
        return restrict(complete, STEPS[step].keys(complete))

    return config_of


def sources_page(config, metrics, folder, manifest):
    package = {"package": "scipy", "version": "1", "licence": "BSD"}
    artefacts = [
        manifest("sampled/mine.parquet", "sample_data"),
        manifest("raw/docs.parquet", "collect", collected={"packages": [package]}),
    ]
    write_sources(read_record(config, metrics=metrics, artefacts=artefacts), folder / "a.html")
    return (folder / "a.html").read_text()


def page(write):
    def read(config, metrics, folder, manifest):
        write(read_record(config, metrics=metrics), folder / "a.html")
        return (folder / "a.html").read_text()

    return read


def conversations_page(config, metrics, folder, manifest):
    packs = manifest("p.bin", "prepare_sft_data", sources=[{"name": "talks.jsonl", "kept": 7}])
    plot_tuning(read_tuning(config, metrics, artefacts=[packs]), [], folder, folder)
    return (folder / "conversations.html").read_text()


def card(config, metrics, folder, manifest):
    artefacts = [
        manifest("sampled/mine.parquet", "sample_data"),
        manifest("sampled/docs.parquet", "sample_data"),
        manifest("p.bin", "prepare_sft_data", sources=[{"name": "talks.jsonl", "kept": 7}]),
        manifest("q.bin", "prepare_preferences", sources=[{"name": "pairs.jsonl", "kept": 5}]),
    ]
    return model_card(About(Model(), 9, 300, chat=True, config=config), artefacts)


def trace(config, metrics, folder, manifest):
    made = folder / "model.safetensors"
    made.write_text("x")
    step = STEPS["export"]
    settings = step.settings_of(config, cosmetic=True)
    write_manifest(made, inputs=[], config=settings, script=step.script, seed=None)
    said = StringIO()
    show_tree(read_chain(made), Console(file=said, width=500))
    return said.getvalue()


READERS = {  # what is shown → the step that shows it, how, and whose licences stand there
    "page of the sources": ("plot_metrics", sources_page, [TEXTS, TEXTS + " collected"]),
    "page of the conversations": ("plot_sft", conversations_page, [TALKS]),
    "page of the settings": ("summarise", page(write_configuration), [TEXTS, TALKS, PAIRS]),
    "summary": ("summarise", page(write_summary), [TEXTS, TALKS, PAIRS]),
    "model card": ("export", card, [TEXTS, TEXTS + " collected", TALKS, PAIRS]),
    "trace": ("export", trace, [TEXTS, TEXTS + " collected", TALKS, PAIRS]),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_licence_reaches_every_reader(reader, handed_over, manifest, tmp_path):
    step, read, licences = READERS[reader]
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("step,tokens,loss\n5,100,3.0\n", encoding="utf-8")
    said = read(handed_over(step), metrics, tmp_path, manifest)
    for licence in licences:
        assert licence in said
    assert "not stated" not in said


@pytest.mark.parametrize("step", STEPS)
def test_no_step_writes_down_that_a_licence_was_not_given(step, handed_over):
    if STEPS[step].depends_on_values or not STEPS[step].manifest:
        return
    written = STEPS[step].settings_of(handed_over(step), cosmetic=True)
    written.pop("publish", None)  # the licence of the weights, which nobody gave
    assert "'licence': None" not in str(written)
