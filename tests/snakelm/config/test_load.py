"""snakelm.config: layers, strictness, and that what is generated from the schema is up to date."""

import json

import pytest
import yaml

from snakelm.config import as_mapping, docs, from_mapping, load_config
from snakelm.config.presets import PRESETS
from snakelm.errors import UserError

WRONG = {
    "unknown section": ({"trian": {}}, ["trian: unknown key", "did you mean train"]),
    "unknown key": ({"train": {"lrr": 0.1}}, ["train.lrr: unknown key", "did you mean lr"]),
    "section as text": ({"train": "{lr: 7}"}, ["train: found the text '{lr: 7}'", "--configfile"]),
    "number as text": (
        {"train": {"lr": "7"}},
        ["train.lr: found the text '7'", "a number above 0 and at most 1"],
    ),
    "exponent read as text": ({"train": {"lr": "1e-3"}}, ["write 1.0e-3 for 1e-3"]),
    "out of range": ({"train": {"lr": 7}}, ["train.lr: found 7.0", "at most 1"]),
    "true for a number": (
        {"train": {"steps": True}},
        ["train.steps: found True", "a whole number"],
    ),
    "float for a whole number": ({"train": {"steps": 1.5}}, ["train.steps: found 1.5"]),
    "null for a number": ({"train": {"steps": None}}, ["train.steps: found nothing (null)"]),
    "not a choice": (
        {"preset": "smok"},
        ["preset: found 'smok'", "smoke, default", "did you mean smoke"],
    ),
    "preset is a list": ({"preset": [1]}, ["preset"]),
    "two places for a source": (
        {"sources": [{"path": "a", "builtin": "docs"}]},
        ["path and builtin", "exactly one"],
    ),
    "no place for a source": ({"sources": [{"text": "body"}]}, ["none of path, url, builtin"]),
    "no sources": ({"sources": []}, ["sources: empty"]),
    "url without its hash": (
        {"sources": [{"url": "http://x/a.parquet"}]},
        ["sha256", "found 0 for 1"],
    ),
    "name with a slash": (
        {"sources": [{"name": "../x", "builtin": "docs"}]},
        ["sources[0].name", "'../x'"],
    ),
    "same name twice": (
        {"sources": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]},
        ["taken"],
    ),
    "heads do not divide": ({"model": {"kv_heads": 3}}, ["model.kv_heads: 3 does not divide"]),
    "odd head": ({"model": {"head_dim": 33}}, ["model.head_dim: 33 is odd"]),
    "tied and normed": (
        {"model": {"tie_embeddings": True}},
        ["model.tie_embeddings", "embedding_norm: false"],
    ),
    "batch is no multiple": (
        {"train": {"batch_tokens": 1000}},
        ["train.batch_tokens: 1000 is no multiple"],
    ),
    "16 bits too few": (
        {"tokenizer": {"vocab_size": 70_000}, "prepare": {"token_bits": "16"}},
        ["16 bits hold"],
    ),
    "ranks file not named": ({"tokenizer": {"kind": "tiktoken"}}, ["tokenizer.file: missing"]),
    "two places for a task": (
        {"tasks": [{"path": "a", "builtin": "answers"}]},
        ["tasks[0]", "exactly one"],
    ),
    "same task twice": (
        {"tasks": [{"path": "a/x.jsonl"}, {"path": "b/x.jsonl"}]},
        ["tasks[1].name: 'x' is taken"],
    ),
    "task with a line break": (
        {"tasks": [{"name": "a\nb", "path": "a"}]},
        ["tasks[0].name", "letters, digits"],
    ),
    "answers to choose": (
        {"tasks": [{"builtin": "answers"}]},
        ["tasks[0].kind: found 'choice'", "is greedy"],
    ),
    "shots before a built-in": (
        {"tasks": [{"builtin": "continuation", "shots": 2}]},
        ["tasks[0].shots", "takes none"],
    ),
    "braces in results": ({"results": "out/{x}"}, ["results"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_keys_are_named_with_what_is_allowed(case):
    values, said = WRONG[case]
    with pytest.raises(UserError) as caught:
        from_mapping(values)
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_config(name):
    config = from_mapping({"preset": name})
    assert from_mapping(as_mapping(config)) == config


def test_own_keys_go_over_the_preset_and_leave_its_others():
    config = from_mapping({"preset": "smoke", "train": {"steps": 7}})
    assert config.train.steps == 7
    assert config.train.batch_tokens == PRESETS["smoke"]["train"]["batch_tokens"]


def test_later_files_go_over_earlier_ones(tmp_path):
    for name, text in {
        "a.yaml": "train: {steps: 5, warmup: 3}",
        "b.yaml": "train: {steps: 6}",
    }.items():
        (tmp_path / name).write_text(text)
    train = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"], {"train": {"warmup": 4}}).train
    assert (train.steps, train.warmup) == (6, 4)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "!!python/object/apply:os.system ['true']"])
def test_files_that_are_no_mapping_are_refused(tmp_path, text):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"bad\.yaml"):
        load_config([file])


def test_sources_get_names_from_their_paths():
    values = {
        "sources": [
            {"path": "my data/it*/*.parquet"},
            {"path": "x/$(rm -rf).jsonl"},
            {"path": "*.parquet"},
        ]
    }
    assert [s.name for s in from_mapping(values).sources] == ["my-data", "rm--rf", "source"]


def test_cosmetic_keys_are_left_out_of_what_counts():
    counted = as_mapping(load_config(), ["train"], cosmetic=False)["train"]
    assert "lr" in counted
    assert "log_every" not in counted


def test_generated_files_are_up_to_date():
    remedy = "run `python -m snakelm.config.docs`"
    assert (docs.ROOT / "docs/TRAINING_CONFIG.md").read_text() == docs.markdown(), remedy
    assert json.loads((docs.ROOT / "config/schema.json").read_text()) == docs.json_schema(), remedy


def test_default_config_file_names_nothing_that_a_preset_sets():
    values = yaml.safe_load((docs.ROOT / "config/config.yaml").read_text())
    assert values == {"preset": "default"}
