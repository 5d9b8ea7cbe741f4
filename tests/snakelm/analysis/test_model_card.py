"""The model card says what the manifests, the tables and the configuration say, and nothing in them
can break it.
"""

import json

import pytest

from snakelm.analysis.model_card import About, model_card
from snakelm.config import Model, from_mapping
from snakelm.files import write_json

CONFIG = {
    "sources": [
        {"name": "notes", "path": "my/*.parquet", "licence": "CC BY 4.0"},
        {"name": "web", "path": "web.jsonl"},
        {"builtin": "docs"},
        {"builtin": "synthetic"},
    ],
    "sft_data": {"sources": [{"path": "talks.jsonl", "licence": "CC0"}, {"builtin": "docs"}]},
}
SHAPE = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=64)
EVALUATION = {
    "held_out": {
        "base": {
            "all": {"value": 1.5176, "low": 1.4919, "high": 1.5423},
            "clean": None,
            "answers": None,
        }
    },
    "tasks": {
        "continuation": {
            "chance": 0.25,
            "base": {"acc": {"value": 0.5542, "low": 0.4921, "high": 0.6147}},
        },
        "answers": {"left_out": "needs conversations"},
    },
}


def about(**more):
    return About(
        SHAPE,
        12_345,
        300,
        **{"chat": False, "pattern": "cl100k", "config": from_mapping(CONFIG), **more},
    )


@pytest.fixture
def told(manifest):
    """Artefacts of a run with manifests as the steps write them."""
    package = {
        "package": "scipy",
        "version": "1.17.1",
        "licence": "BSD-3-Clause",
        "documents": 6789,
    }
    return [
        manifest("raw/docs.parquet", "collect", collected={"packages": [package]}),
        *(manifest(f"sampled/{name}.parquet", "sample_data", counts={"taken": 1000 + i}, inputs=[{}, {}])
          for i, name in enumerate(("notes", "web", "docs", "synthetic"))),
        manifest("deduplicated/documents.parquet", "deduplicate", documents=3456),
        manifest("train.bin", "prepare_data", train={"documents": 3000, "tokens": 99_999, "text_bytes": 400_000},
                 val={"documents": 50}),
        manifest("train_sft_packed.bin", "prepare_sft_data",
                 sources=[{"name": "talks.jsonl", "kept": 77}, {"name": "docs", "kept": 88}]),
        manifest("final_model.pt", "train", result={"val_bpb": 1.25, "val_loss": 3.5}, seed=1337),
    ]  # fmt: skip


def test_every_source_is_there_with_its_licence(told):
    card = model_card(about(), told)
    for row in [
        "| scipy 1.17.1, docstrings | 6,789 documents | BSD-3-Clause |",
        "| source notes (2 files) | 1,000 documents | CC BY 4.0 |",
        "| source web (2 files) | 1,001 documents | not said: whoever brought the text knows |",
        "| source docs (built in: docs) | 1,002 documents | each package's own, above |",
        "| source synthetic (built in: synthetic) | 1,003 documents | made by snakelm, MIT |",
        "| conversations of talks.jsonl | 77 conversations | CC0 |",
    ]:
        assert row in card, row
    assert (
        "3,456 without duplicates; 3,000 trained on (99,999 tokens, 400,000 bytes); 50 held out."
        in card
    )


def test_figures_stand_with_their_intervals(told, tmp_path, manifest):
    baseline = manifest("baseline.json", "baseline")
    write_json(baseline, {"ppmd": {"bpb": 1.1}})
    card = model_card(about(), [*told, baseline], EVALUATION)
    assert "pretraining" not in card, "said once, with the interval"
    for row in [
        "| for comparison | bits per byte of held-out text, a compressor that has read the training text | 1.1000 |",
        "| base | bits per byte of held-out text | 1.5176 | 1.4919 to 1.5423 |",
        "| base | continuation: right, chance 25.0% | 55.4% | 49.2% to 61.5% |",
        f"| final_model.pt | {'ab' * 32} | 1337 |",
    ]:
        assert row in card, row


def test_without_an_evaluation_training_speaks_for_itself(told):
    assert "| pretraining | bits per byte of held-out text | 1.2500 |" in model_card(about(), told)


@pytest.mark.parametrize("chat", [False, True], ids=["base", "tuned"])
def test_it_says_how_to_use_the_model(chat):
    card = model_card(about(chat=chat))
    assert ("apply_chat_template" in card) is chat
    assert ("-cnv" in card.split("model.gguf ")[1][:5]) is chat
    assert "## Data" not in card
    assert "## Measured" not in card


def test_nothing_that_was_collected_is_markdown_or_html(manifest):
    attack = "x | <script>alert(1)</script>\n# head [link](javascript:1) `code`" + "y" * 500
    package = {"package": attack, "version": attack, "licence": attack, "documents": 1}
    raw = manifest("raw/docs.parquet", "collect", collected={"packages": [package]})
    card = model_card(about(), [raw])
    line = next(line for line in card.split("\n") if "alert" in line)
    assert line.count("|") == 4
    assert not set(line) & set("<>`[]")
    assert len(line) < 400
    assert "\n# head" not in card


def test_it_is_the_same_each_time(told):
    assert model_card(about(), told, EVALUATION) == model_card(
        about(), told, json.loads(json.dumps(EVALUATION))
    )
