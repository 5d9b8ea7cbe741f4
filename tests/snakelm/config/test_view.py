"""snakelm.config.view: the configuration as plain types, all and part of it."""

import json

import pytest
import yaml

from snakelm.config import (
    UndeclaredKeyError,
    as_mapping,
    every_key,
    from_mapping,
    load_config,
    restrict,
)
from snakelm.errors import UserError

SOURCES = [{"path": "a.jsonl", "licence": "CC0"}]


def test_cosmetic_keys_are_left_out_of_what_counts():
    counted = as_mapping(load_config(), ["train"], cosmetic=False)["train"]
    assert "lr" in counted
    assert "log_every" not in counted


def test_a_restricted_config_holds_the_named_keys_in_the_order_of_the_schema():
    config = from_mapping({"train": {"device": "cpu", "lr": 0.01}})
    part = restrict(config, ["train.device", "seed", "train.lr", "tsne"])
    assert json.dumps(as_mapping(part)) == json.dumps(
        {
            "seed": 1337,
            "train": {"lr": 0.01, "device": "cpu"},
            "tsne": {"perplexity": 30.0, "method": "auto"},
        }
    )
    assert (part.seed, part.train.device) == (1337, "cpu")


@pytest.mark.parametrize("keys", [["model.width", "model"], ["model", "model.width"]])
def test_a_section_and_a_key_of_it_are_the_section(keys):
    config = load_config()
    assert as_mapping(restrict(config, keys)) == as_mapping(config, ["model"])


@pytest.mark.parametrize(
    "read",
    [lambda c: c.model, lambda c: c.train.lr, lambda c: c.sources[0].text],
    ids=["a section", "a key", "a key of an item"],
)
def test_a_key_that_was_not_named_can_not_be_read(read):
    part = restrict(load_config(), ["train.device", "sources[].name"])
    with pytest.raises(UndeclaredKeyError, match="does not declare"):
        read(part)


def test_a_misspelt_key_is_no_key():
    with pytest.raises(AttributeError, match="trian"):
        _ = load_config().trian


def test_one_item_of_a_list_is_chosen_by_its_name():
    config = from_mapping({"sources": [{"name": "a", "path": "x"}, {"name": "b", "path": "y"}]})
    one = restrict(config, ["sources[source].path"], {"source": "b"})
    assert as_mapping(one) == {"sources": [{"path": "y"}]}
    every = restrict(config, ["sources[source].path"])
    assert [source.path for source in every.sources] == ["x", "y"]


def test_an_item_that_is_not_there_is_named_with_its_neighbours():
    config = from_mapping({"sources": [{"path": "x", "name": "wiki"}]})
    with pytest.raises(UserError, match=r"sources are wiki; did you mean wiki\?"):
        restrict(config, ["sources[source].path"], {"source": "wikki"})


def test_a_restricted_section_can_be_completed():
    part = restrict(load_config(), ["train.device"]).train.model_copy(update={"lr": 0.5})
    assert (part.device, part.lr) == ("auto", 0.5)
    with pytest.raises(UndeclaredKeyError):
        _ = part.steps


def test_cosmetic_keys_are_left_out_even_when_named_but_for_sections_that_show_them():
    config = from_mapping({"sources": SOURCES})
    part = restrict(config, ["train.log_every", "train.lr", "prepare.shards", "results", "sources"])
    counted = as_mapping(part, cosmetic=False)
    assert counted["train"] == {"lr": config.train.lr}
    assert "results" not in counted
    assert "licence" not in counted["sources"][0]

    shown = as_mapping(part, cosmetic=["sources"])
    assert shown["sources"][0]["licence"] == "CC0"
    assert shown["train"] == {"lr": config.train.lr}
    assert as_mapping(part)["prepare"] == {"shards": config.prepare.shards}


@pytest.mark.parametrize("key", ["trian", "train.lrr", "sources.path", "seed.x", "sources[].x", ""])
def test_an_unknown_key_can_not_be_named(key):
    with pytest.raises(KeyError, match="no such key"):
        restrict(load_config(), [key])


def test_all_keys_are_all_of_it_and_none_are_nothing():
    config = load_config()
    assert as_mapping(restrict(config, [])) == {}
    assert as_mapping(restrict(config, every_key())) == as_mapping(config)


def test_every_key_is_listed_once_in_the_order_of_the_schema():
    keys = every_key()
    assert len(keys) == len(set(keys))
    assert {"seed", "sources", "train.lr", "sft_data.sources", "compare"} <= set(keys)
    assert not {"train", "sources.path", "sft_data"} & set(keys)
    in_order = [
        f"{name}.{key}" if value and isinstance(value, dict) else name
        for name, value in as_mapping(load_config()).items()
        for key in (value if value and isinstance(value, dict) else [""])
    ]
    assert keys == in_order


def test_a_mapping_is_of_plain_types_that_can_be_changed():
    config = from_mapping({"sft_data": {"sources": [{"path": "a", "columns": {"x": "y"}}]}})
    values = as_mapping(config)
    assert yaml.safe_load(yaml.safe_dump(values)) == values
    assert "&id" not in yaml.safe_dump(values), "no object stands twice"

    values["sft_data"]["sources"][0]["columns"]["x"] = "z"
    values["compare"].append("other")
    assert config.sft_data.sources[0].columns == {"x": "y"}
    assert config.compare == []


def test_when_to_evaluate_counts_where_it_decides_which_weights_are_kept():
    measured = {"eval_every", "eval_tokens"}
    for keep_best in (False, True):
        config = from_mapping({"train": {"keep_best": keep_best}})
        counted = as_mapping(config, ["train"], cosmetic=False)["train"]
        assert measured & counted.keys() == (measured if keep_best else set())
