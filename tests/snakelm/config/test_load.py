"""snakelm.config: layers, strictness, and the words for what is wrong."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakelm.config import (
    Config,
    Model,
    Section,
    Source,
    Task,
    as_mapping,
    docs,
    every_key,
    from_mapping,
    load_config,
    read_section,
)
from snakelm.config.presets import PRESETS
from snakelm.config.training_sections import MIX
from snakelm.errors import UserError

WRONG = {
    "unknown section": ({"trian": {}}, ["trian: unknown key", "did you mean train"]),
    "unknown key": ({"train": {"lrr": 0.1}}, ["train.lrr: unknown key", "did you mean lr"]),
    "section as text": ({"train": "{lr: 7}"}, ["train: found the text '{lr: 7}'", "--configfile"]),
    "number as text": (
        {"train": {"lr": "7"}},
        ["train.lr: found the text '7'", "a number above 0 and at most 1"],
    ),
    "exponent out of range": ({"train": {"lr": "1e3"}}, ["train.lr: found 1000.0", "at most 1"]),
    "exponent for a whole number": (
        {"train": {"steps": "1e6"}},
        ["train.steps: found the text '1e6'", "a whole number", "write out all its digits"],
    ),
    "infinity": ({"train": {"clip": float("inf")}}, ["train.clip: found inf", "nor infinity"]),
    "more than anyone means": (
        {"train": {"steps": 10**13}},
        ["train.steps: found 10000000000000", "no more than 1,000,000,000,000"],
    ),
    "more digits than Python prints": (
        {"train": {"steps": 1 << 20_000}},
        ["train.steps: found a whole number of thousands of digits"],
    ),
    "out of range": ({"train": {"lr": 7}}, ["train.lr: found 7, ", "at most 1"]),
    "range of a key that may be null": (
        {"tasks": [{"builtin": "continuation", "limit": 0}]},
        ["tasks[0].limit: found 0, allowed is a whole number at least 1 or null"],
    ),
    "true for a number that need not be whole": (
        {"train": {"lr": True}},
        ["train.lr: found True, allowed is a number"],
    ),
    "ranks for a tokenizer that is trained": (
        {"tokenizer": {"file": "cl100k.tiktoken"}},
        ["tokenizer.file: found 'cl100k.tiktoken'", "set kind: tiktoken"],
    ),
    "a size for tokens of a file": (
        {"tokenizer": {"kind": "tiktoken", "file": "x", "vocab_size": 9000}},
        ["tokenizer.vocab_size: found 9000, and kind: tiktoken", "set kind: bpe"],
    ),
    "text to train tokens of a file on": (
        {"tokenizer": {"kind": "tiktoken", "file": "x", "train_mb": 1}},
        ["tokenizer.train_mb: found 1, and kind: tiktoken"],
    ),
    "near duplicates that nobody compares": (
        {"deduplicate": {"minhash": False, "threshold": 0.8}},
        ["deduplicate.threshold: found 0.8, and minhash: false compares", "set minhash: true"],
    ),
    "a copy to keep where all are kept": (
        {"deduplicate": {"minhash": False, "exact": False, "keep": "longest"}},
        ["deduplicate.keep: found 'longest', and with exact and minhash false every copy stays"],
    ),
    "countries of telephones that nobody looks for": (
        {"personal_data": {"action": "mask", "kinds": ["email"], "regions": ["IT"]}},
        ["personal_data.regions: found ['IT'], and personal_data.kinds has no phone"],
    ),
    "a column of what is built in": (
        {"sources": [{"builtin": "docs", "text": "body"}]},
        ["sources[0].text: found 'body', and builtin: docs reads no file"],
    ),
    "columns of conversations that are built in": (
        {"sft_data": {"sources": [{"builtin": "docs", "columns": {"question": "q"}}]}},
        ["sft_data.sources[0].columns: found {'question': 'q'}, and builtin: docs reads no file"],
    ),
    "columns of preferences that are built in": (
        {"preferences": {"sources": [{"builtin": "docs", "columns": {"prompt": "q"}}]}},
        ["preferences.sources[0].columns: found {'prompt': 'q'}"],
    ),
    "a size of pieces that aren't cut by size": (
        {"sources": [{"path": "a.txt", "split": "lines", "split_kb": 4.0}]},
        ["sources[0].split_kb: found 4, and split: lines", "set split: size"],
    ),
    "number for a text": (
        {"sft": {"base": 124}},
        ["sft.base: found 124", "a text or null", "quotes"],
    ),
    "number for a name": (
        {"prepare": {"token_bits": 16}},
        ["prepare.token_bits: found 16", "auto, 16, 32", 'in quotes: "16"'],
    ),
    "YAML's off": (
        {"train": {"compile": False}},
        ["train.compile: found False", "auto, on, off", 'in quotes: "off"'],
    ),
    "a backend that attention does not have": (
        {"train": {"attention": "flash"}},
        ["train.attention: found 'flash'", "auto, cpu, triton, cuda, sdpa, reference"],
    ),
    "text for a list": ({"compare": "a"}, ["compare: found the text 'a'", "a list of texts"]),
    "number in a list": ({"compare": ["a", 5]}, ["compare[1]: found 5, allowed is a text"]),
    "number for a text or a list": (
        {"sources": [{"path": 5}]},
        ["sources[0].path: found 5, allowed is a text or a list of texts or null"],
    ),
    "number in a text or a list": (
        {"sources": [{"path": ["a", 5]}]},
        ["sources[0].path[1]: found 5, allowed is a text"],
    ),
    "mapping for a list": (
        {"sources": {"path": "a"}},
        ["sources: found {'path': 'a'}, allowed is a list of sections"],
    ),
    "number for a section in a list": (
        {"sources": [5]},
        ["sources[0]: found 5, allowed is a section"],
    ),
    "section that is null": (
        {"train": None},
        ["train: found nothing (null), allowed is a section of `key: value` lines"],
    ),
    "number as a name in a mapping": (
        {"sft_data": {"sources": [{"builtin": "docs", "columns": {1: "a"}}]}},
        ["sft_data.sources[0].columns: found 1, allowed is `name: a text` lines"],
    ),
    "number in a mapping": (
        {"sft_data": {"sources": [{"builtin": "docs", "columns": {"a": 1}}]}},
        ["sft_data.sources[0].columns.a: found 1, allowed is a text"],
    ),
    "unknown key in a list": (
        {"sources": [{"pat": "x"}]},
        ["sources[0].pat: unknown key", "did you mean path"],
    ),
    "a dotted key": ({"train.lr": 1}, ["train.lr: unknown key; write `train: {lr: …}`"]),
    "unknown key that is a number": ({3: 4}, ["3: unknown key; known are preset, results"]),
    "unknown key with a line break": ({"a\nb": 4}, [r"'a\nb': unknown key"]),
    "several": (
        {"seed": -1, "train": {"lrr": 1, "steps": 1.5}, "model": {"width": "a"}},
        ["train.lrr: unknown key; did you mean lr? (also wrong: seed, model.width, train.steps)"],
    ),
    "no mapping": ([1, 2], ["config: found [1, 2], allowed is a section of `key: value` lines"]),
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
    "no Llama": (
        {"model": {"qk_norm": False, "width": 250}},
        ["model.width: 250 is no multiple of model.heads 4", "qk_norm: true"],
    ),
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
    "what an answer is, of a greedy task": (
        {"tasks": [{"path": "a.jsonl", "kind": "greedy", "gold": "text"}]},
        ["tasks[0].gold: found 'text'", "kind choice"],
    ),
    "braces in results": ({"results": "out/{x}"}, ["results"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_keys_are_named_with_what_is_allowed(case):
    values, said = WRONG[case]
    with pytest.raises(UserError) as caught:
        from_mapping(values)
    message = str(caught.value)
    for part in said:
        assert part in message
    assert "\n" not in message


def test_keys_of_near_duplicates_are_read_for_those_of_what_is_forgotten():
    near = {"minhash": False, "threshold": 0.8, "shingle": 3}
    config = from_mapping({"deduplicate": near, "forget": {"documents": "gone.txt"}})
    assert config.deduplicate.threshold == 0.8
    with pytest.raises(UserError, match=r"deduplicate\.threshold: found 0\.8"):
        from_mapping({"deduplicate": near, "forget": {"documents": "gone.txt", "near": False}})


def test_what_a_preset_says_of_a_tokenizer_that_is_trained_is_nobodys_wish():
    config = from_mapping({"preset": "smoke", "tokenizer": {"kind": "tiktoken", "file": "x"}})
    assert config.tokenizer.file == "x"


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-3", "0.1e-2", "10.e-4"])
def test_an_exponent_is_a_number(text):
    config = from_mapping({"train": {"lr": text, "clip": text}, "cost": {"price_per_hour": text}})
    assert [config.train.lr, config.train.clip, config.cost.price_per_hour] == [0.001] * 3
    assert as_mapping(config)["train"]["lr"] == 0.001


def test_a_whole_number_is_a_float_where_any_number_is_allowed():
    lr = from_mapping({"train": {"lr": 1}}).train.lr
    assert (lr, type(lr)) == (1.0, float)


def test_a_message_shows_only_the_beginning_of_a_large_value():
    bomb: list = ["x"]
    for _ in range(30):  # a billion items when written out, as YAML's aliases make them
        bomb = [bomb, bomb]
    for values in ({"train": bomb}, {"compare": bomb}, {"compare": "x" * 10**6}, {"x" * 10**6: 1}):
        with pytest.raises(UserError) as caught:
            from_mapping(values)
        assert len(str(caught.value)) < 1000


def test_a_message_names_only_some_of_many_faults():
    with pytest.raises(UserError, match=r"compare\[0\].*compare\[10\], …\)$"):
        from_mapping({"compare": [5] * 10_000})


def test_a_section_by_itself_is_read_as_strictly():
    assert read_section(Model, {"layers": 3}) == Model(layers=3)
    with pytest.raises(UserError, match=r"^x\.pt: model\.layers: found the text '3'"):
        read_section(Model, {"layers": "3"}, "x.pt: model")
    with pytest.raises(UserError, match=r"^\.\./x\.pt: model\.layer: unknown key; did you mean"):
        read_section(Model, {"layer": 3}, "../x.pt: model")
    with pytest.raises(UserError, match=r"^x\.pt: model: found \[\], allowed is a section"):
        read_section(Model, [], "x.pt: model")


def test_a_config_cannot_be_changed_in_place():
    config = load_config()
    with pytest.raises(ValueError, match="frozen"):
        config.train.steps = 3
    assert config.model_copy(update={"seed": 3}) != config
    assert all(issubclass(type(part), Section) for part in (config, config.train))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.binary()
    | st.sampled_from(["auto", "docs", "1e-3", "a.jsonl", 10**400])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=5,
)


ITEMS = {"sources": Source(builtin="docs"), "tasks": Task(builtin="answers", kind="greedy")}
KEYS = [*every_key(), *Config.model_fields]
KEYS += [f"{name}.{key}" for name, item in ITEMS.items() for key in type(item).model_fields]


@settings(deadline=None)
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_of_any_key_is_taken_or_refused_in_one_line(key, value):
    section, _, name = key.rpartition(".")
    values = {name: value}
    if section in ITEMS:
        values = {section: [ITEMS[section].model_dump() | values]}
    elif section:
        values = {section: values}

    error = ""
    try:
        config = from_mapping(values)
    except UserError as refusal:
        error = str(refusal)
    assert "\n" not in error
    assert len(error) < 2000
    assert error or from_mapping(as_mapping(config)) == config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_config(name):
    config = from_mapping({"preset": name})
    assert from_mapping(as_mapping(config)) == config


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"default"}))
def test_no_preset_inherits_what_is_chosen_for_the_default_run(name):
    for key in ("model.context", "train.steps", "train.sampled_softmax", "sft.batch_rows"):
        section, _, rest = key.partition(".")
        assert rest in PRESETS[name].get(section, {}), key


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


def test_sources_get_names_from_their_paths():
    values = {
        "sources": [
            {"path": "my data/it*/*.parquet"},
            {"path": "x/$(rm -rf).jsonl"},
            {"path": "*.parquet"},
        ]
    }
    assert [s.name for s in from_mapping(values).sources] == ["my-data", "rm--rf", "source"]


def test_the_configuration_is_read_without_the_large_libraries():
    code = (
        "import sys; from snakelm.config import load_config; load_config(); "
        "print({'torch', 'numpy', 'pyarrow', 'snakemake'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=docs.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("values", "seeds"),
    [
        ({}, (1337, 1337)),
        ({"seed": 3}, (3, 3)),
        ({"seed": 3, "train": {"seed": 4}}, (4, 4)),
        ({"train": {"seed": 4}, "sft": {"seed": 5}}, (4, 5)),
    ],
    ids=["defaults", "one for all", "training's own", "tuning's own"],
)
def test_the_seeds_of_training_follow_the_one_above_them(values, seeds):
    config = from_mapping(values)
    assert (config.train.seed, config.sft.seed) == seeds


@pytest.mark.parametrize(
    ("sft", "mix"),
    [
        ({}, MIX),
        ({"base": "./results/final_model.pt"}, MIX),
        ({"base": "theirs.pt"}, 0.0),
        ({"base": "theirs.pt", "mix": 0.1}, 0.1),
        ({"mix": 0}, 0.0),
    ],
    ids=["own", "own_by_name", "theirs", "theirs_and_text", "none"],
)
def test_text_is_mixed_into_the_tuning_of_the_run_s_own_model(sft, mix):
    assert from_mapping({"sft": sft}).sft.mix == mix


def test_a_task_is_not_named_after_a_home_folder():
    tasks = [{"path": "/home/alice/*.jsonl"}, {"path": "my/sums.jsonl"}]
    assert [task.name for task in from_mapping({"tasks": tasks}).tasks] == ["task-1", "sums"]


def test_sections_that_are_left_out_are_what_their_classes_give():
    """They are made without a validator, which would find nothing and takes long to make."""
    given = {"sources": [{"path": "a.parquet", "name": "a"}]}
    config = read_section(Config, given)
    sections = {n: v for n, v in config if isinstance(v, Section)}
    assert len(sections) > 15
    for name, section in sections.items():
        assert section == type(section)()
        assert section.model_fields_set == set()
        assert section.model_dump() == type(section)().model_dump(), name
    assert read_section(Config, config.model_dump()) == config
