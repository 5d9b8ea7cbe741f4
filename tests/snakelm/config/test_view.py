"""snakelm.config.view: the configuration as plain types, all and part of it."""

import json

import pytest
import yaml

from snakelm.config import as_mapping, config_view, every_key, from_mapping, load_config

SOURCES = [{"path": "a.jsonl", "licence": "CC0"}]


def test_cosmetic_keys_are_left_out_of_what_counts():
    counted = as_mapping(load_config(), ["train"], cosmetic=False)["train"]
    assert "lr" in counted
    assert "log_every" not in counted


def test_a_view_holds_the_named_keys_in_the_order_of_the_schema():
    config = from_mapping({"train": {"device": "cpu", "lr": 0.01}})
    view = config_view(config, ["train.device", "seed", "train.lr", "tsne"], cosmetic=True)
    assert json.dumps(view) == json.dumps(
        {
            "seed": 1337,
            "train": {"lr": 0.01, "device": "cpu"},
            "tsne": {"perplexity": 30.0, "method": "auto"},
        }
    )


def test_a_section_and_a_key_of_it_are_the_section():
    config = load_config()
    both = config_view(config, ["model.width", "model"], cosmetic=True)
    assert both == as_mapping(config, ["model"])


def test_cosmetic_keys_are_left_out_of_a_view_even_when_named():
    config = from_mapping({"sources": SOURCES})
    keys = ["train.log_every", "train.lr", "prepare.shards", "results", "sources"]
    counted = config_view(config, keys, cosmetic=False)
    assert counted.keys() == {"sources", "train"}
    assert counted["train"] == {"lr": config.train.lr}
    assert "licence" not in counted["sources"][0]

    shown = config_view(config, keys, cosmetic=True)
    assert shown.keys() == {"results", "sources", "prepare", "train"}
    assert shown["sources"][0]["licence"] == "CC0"


@pytest.mark.parametrize("key", ["trian", "train.lrr", "sources.path", "seed.x", ""])
def test_a_view_of_an_unknown_key_is_refused(key):
    with pytest.raises(KeyError, match="no such key"):
        config_view(load_config(), [key], cosmetic=True)


def test_a_view_of_nothing_is_empty_and_a_mapping_of_nothing_named_is_all():
    config = load_config()
    assert config_view(config, [], cosmetic=True) == {}
    assert config_view(config, every_key(), cosmetic=True) == as_mapping(config)


def test_every_key_is_listed_once_in_the_order_of_the_schema():
    keys = every_key()
    assert len(keys) == len(set(keys))
    assert {"seed", "sources", "train.lr", "sft_data.sources", "compare"} <= set(keys)
    assert not {"train", "sources.path", "sft_data"} & set(keys)
    in_order = [
        f"{name}.{key}" if isinstance(value, dict) else name
        for name, value in as_mapping(load_config()).items()
        for key in (value if isinstance(value, dict) else [""])
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
