"""What reruns after a change is exactly what must: a matrix of changes to a finished run.

A finished run of the smoke preset's size, every step of it done, is changed in one place, and a dry
run says which steps have a reason of their own to run again (not merely another step before them).
What is expected stands here in tables of their own, written from what each step is for, not taken
from what the steps declare.

Which keys a step reads, and which native sources, is compared without a dry run, one by one; dry
runs say that what is compared is what they decide by.

    python -m pytest -m long tests/workflow/test_reruns.py     every section, every edit: 6 minutes
"""

import functools
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import yaml

from snakelm.config import Config, every_key, from_mapping
from snakelm.config.section import Section
from snakelm.workflow.code_digest import ROOT, imported_files
from snakelm.workflow.step import Step, load_steps

OWN = """\
preset: smoke
sources: [{path: "my/*.parquet", text: body, name: own}, {builtin: synthetic, limit: 200}]
train: {steps: 24, eval_every: 12, save_every: 12}
sft_data: {sources: [{path: my/talks.jsonl}], val_fraction: 0.2}
preferences: {sources: [{path: my/pairs.jsonl}], val_fraction: 0.2, eval_every: 5, save_every: 5}
tasks: [{builtin: continuation, limit: 20}]
embeddings: {documents: 60}
"""

# Which steps read what a step writes: whatever runs, these run after it.
AFTER = {
    "collect": {"sample_data"},
    "sample_data": {"deduplicate"},
    "deduplicate": {
        "train_tokenizer", "prepare_shard", "measure_tokenizer", "loss", "generate_embeddings",
    },
    "forget": {
        "train_tokenizer", "prepare_shard", "measure_tokenizer", "loss", "generate_embeddings",
    },
    "train_tokenizer": {
        "prepare_shard", "prepare_sft_data", "prepare_preferences", "measure_tokenizer", "export",
        "export_gguf",
    },
    "prepare_shard": {"prepare_data"},
    "prepare_data": {"prepare_shard", "baseline", "measure_tokenizer", "train"},
    "prepare_sft_data": {"train_sft"},
    "baseline": {"train"},  # the last line of training compares with it
    "train": {
        "train_sft", "loss", "evaluate", "generate_embeddings", "plot_metrics", "summarise",
    },
    "prepare_preferences": {"train_preferences"},
    "train_sft": {"train_preferences", "plot_sft", "summarise"},
    "train_preferences": {
        "export", "export_gguf", "loss", "evaluate", "plot_preferences", "summarise",
    },
    "measure_tokenizer": {"plot_tokenizer"},
    "loss": {"evaluate", "plot_loss"},
    "evaluate": {"export", "plot_loss", "summarise"},
    "generate_embeddings": {"visualize_embeddings"},
    "visualize_embeddings": {"plot_tsne_interactive", "summarise"},
}  # fmt: skip


def with_what_follows(steps: set[str]) -> set[str]:
    """Steps, and all that comes after one of them."""
    waiting, found = list(steps), set()
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            waiting += AFTER.get(step, ())
    return found


# Steps by what they need of the configuration; each stands for itself, not for what comes after it.
SAMPLED = {"collect", "sample_data"}
MODELS = {"train", "train_sft", "train_preferences"}
READ_TALKS = {"prepare_sft_data", "prepare_preferences"}
ASK_A_MODEL = {"loss", "evaluate", "generate_embeddings"}
SHOW_SETTINGS = {"summarise"}  # configuration.html lists every key

# Section or key → the steps that have a reason of their own when it changes, besides SHOW_SETTINGS.
EXPECTED = {
    "seed": SAMPLED
    | MODELS
    | ASK_A_MODEL
    | READ_TALKS
    | {"train_tokenizer", "prepare_data", "measure_tokenizer"}
    | {"visualize_embeddings"},
    "on_bad_file": SAMPLED | READ_TALKS,
    "max_document_mb": SAMPLED | READ_TALKS,
    "classifier": set(),  # without a filter, nobody reads it
    "deduplicate": {"deduplicate"},
    "tokenizer": {"train_tokenizer"},
    "prepare.val_fraction": {"train_tokenizer", "prepare_data"},
    "prepare.token_bits": {"prepare_data"},
    "model": {"train"},
    "model.context": {"train", "plot_metrics"} | READ_TALKS,
    "train": {"train"},
    "train.seed": MODELS,  # tuning follows where it has no seed of its own
    "train.steps": {"train", "plot_metrics"},
    "train.clip": {"train", "plot_metrics"},
    "train.precision": MODELS | {"generate_embeddings"},
    "train.device": MODELS | ASK_A_MODEL,
    "train.compile": MODELS,
    "train.attention": MODELS,
    "train.reproducible": MODELS,
    "train.on_nan": MODELS,
    "train.momentum": MODELS,
    "train.beta1": MODELS,
    "train.beta2": MODELS,
    "evaluate.clean_share": {"train", "baseline", "loss"},
    "evaluate.span": {"prepare_data", "train"},
    "evaluate.compressor_mb": {"baseline"},
    "sft_data": {"prepare_sft_data", "export"},
    "sft_data.val_fraction": {"prepare_sft_data", "prepare_preferences", "export"},
    "sft": {"train_sft"},
    "sft.clip": {"train_sft", "plot_sft"},
    "preferences": {"train_preferences"},
    "preferences.sources": {"prepare_preferences", "export"},
    "preferences.context": {"prepare_preferences"},
    "preferences.val_fraction": {"prepare_preferences"},
    "preferences.loss": {"prepare_preferences", "train_preferences"},
    "preferences.clip": {"train_preferences", "plot_preferences"},
    "tasks": {"evaluate"},
    "embeddings": {"generate_embeddings"},
    "tsne": {"visualize_embeddings"},
    "cost": set(),
    "publish": {"export", "export_gguf"},
    "publish.gguf": {"export_gguf"},
    "sweep": set(),  # a target of its own
    "memorisation": set(),  # likewise
    "plan": set(),  # likewise
    "source_ablation": set(),  # likewise
}
COSMETIC = {  # keys that change what is shown or kept, or how many do it, never a byte
    "prepare.shards",
    "train.eval_every", "train.eval_tokens", "train.save_every", "train.keep", "train.log_every",
    "train.sample_tokens", "train.sample_prompt", "train.processes", "train.nodes",
    "train.activation_checkpointing", "train.sharding", "train.on_other_machine",
    "sft.eval_every", "sft.save_every", "sft.keep", "sft.log_every",
    "preferences.eval_every", "preferences.save_every", "preferences.keep",
    "preferences.log_every",
}  # fmt: skip

# Values for keys where a neighbour of the default would not do.
VALUES = {
    "sources": [{"path": "my/*.parquet", "text": "body", "name": "own", "fraction": 0.5}],
    "classifier.labels": "config/labels/academic_it.jsonl",
    "classifier.base": "nowhere",
    "classifier.base_sha256": "0" * 64,
    "decontaminate.files": ["my/talks.jsonl"],
    "tokenizer.pattern": "gpt2",
    "model.heads": 4,
    "model.kv_heads": 2,
    "model.head_dim": 16,
    "model.context": 32,
    "train.batch_tokens": 2048,
    "train.device": "cpu",
    "train.bigram_steps": 3,
    "train.reproducible": 2,
    "train.attention": "reference",
    "train.processes": 2,
    "sft_data.sources": [{"path": "my/talks.jsonl", "weight": 0.5}],
    "sft_data.context": 32,
    "sft.lora_rank": 8,
    "sft.mix": 0.1,
    "sft.base": "results/final_model.pt",
    "preferences.sources": [{"path": "my/pairs.jsonl", "limit": 50}],
    "preferences.context": 32,
    "preferences.lora_rank": 8,
    "tasks": [{"builtin": "continuation", "limit": 10}],
    "cost.currency": "USD",
    "publish.licence": "mit",
    "publish.languages": ["en"],
    "publish.datasets": ["a/b"],
    "sweep": {"train.lr": [0.01]},
    "plan.sizes": [2, 3],
    "plan.candidates": [{"size": 3}],
    "source_ablation.seeds": [1, 2],
    "source_ablation.proxy": {"train.steps": 8},
    "source_ablation.judge_by": ["own"],
    "source_ablation.mixtures": 4,
}
# Steps that this run does not have, besides its checks.
OF_OTHER_RUNS = {
    "setfit_train", "filter_dataset", "plot_filter", "plot_compare", "plan", "plot_plan",
    "train_point", "plot_sweep", "mix_sources", "judge_sources", "plot_source_ablation",
    "memorisation", "training_summary",
}  # fmt: skip
# Keys that ask for another run altogether, or for steps that this one does not have.
ELSEWHERE = {
    "preset",
    "size",
    "plan.hours",  # a preset can't be planned
    "results",
    "filter",
    "export",
    "compare",
    "tokenizer.kind",
    "tokenizer.file",  # of the kind that this run doesn't have
    "train.base",
    "model.tie_embeddings",
    "train.weight_decay_schedule",  # without a weight decay
    "preferences.desirable_weight",  # of the loss that this run doesn't have
    "preferences.undesirable_weight",
}
CHECKS = {
    "forget": "not_forgotten",
    "personal_data": "personal_data",
    "languages": "languages",
    "quality": "quality",
    "decontaminate": "decontaminate",
}


@dataclass
class Run:
    """A finished run in a checkout of its own."""

    checkout: object

    @property
    def root(self) -> Path:
        return self.checkout.root

    def jobs(self, *changes: str) -> set[str]:
        """The steps that a dry run lists after the changes of some configuration files."""
        done = self.checkout.snakemake("-n", "--configfile", "my.yaml", *changes)
        assert done.code == 0, done.said
        return done.jobs()


@pytest.fixture(scope="module")
def run(checkout, sentences):
    """The run with everything drawn; done once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (checkout.root / "my").mkdir()
    pq.write_table(pa.table({"body": sentences}), checkout.root / "my/notes.parquet")
    talks = [{"question": f"{i} and 1?", "answer": f"{i + 1}."} for i in range(120)]
    checkout.write("my/talks.jsonl", "".join(json.dumps(talk) + "\n" for talk in talks))
    pairs = [{"prompt": f"{i} and 2?", "chosen": f"{i + 2}.", "rejected": "?"} for i in range(60)]
    checkout.write("my/pairs.jsonl", "".join(json.dumps(pair) + "\n" for pair in pairs))
    checkout.write("my.yaml", OWN)
    done = checkout.snakemake("--configfile", "my.yaml", timeout=550)
    assert done.code == 0, done.said
    return Run(checkout)


def neighbour(key: str):
    """Another allowed value of a key."""
    if key in VALUES:
        return VALUES[key]
    section, _, name = key.rpartition(".")
    kind = Config.model_fields[section].annotation if section else Config
    assert issubclass(kind, Section)
    field = kind.model_fields[name]
    smoke = (
        Config.model_fields[section].get_default(call_default_factory=True) if section else Config()
    )
    value, choices = getattr(smoke, name), get_args(field.annotation)

    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return (
            type(value)(value + 1) if value >= 1 and isinstance(value, int) else value * 0.9 or 0.01
        )
    words = [choice for choice in choices if isinstance(choice, str) and choice != value]
    if words:
        return words[0]
    if value is None:
        return 0.5 if float in choices else 3 if int in choices else "other"
    return value + " other" if isinstance(value, str) else value


def expected(key: str) -> set[str]:
    section = key.split(".")[0]
    if key in COSMETIC:
        return set()
    if key in EXPECTED:
        return with_what_follows(EXPECTED[key] | SHOW_SETTINGS)
    if section in CHECKS:
        return SHOW_SETTINGS
    return with_what_follows(EXPECTED[section] | SHOW_SETTINGS)


def changed(run: Run, key: str) -> set[str]:
    section, _, name = key.rpartition(".")
    values = {section: {name: neighbour(key)}} if section else {name: neighbour(key)}
    run.checkout.write("more.yaml", json.dumps(values))
    return run.jobs("more.yaml")


SAMPLE = ["train.lr", "train.device", "prepare.shards", "preferences.beta"]  # four dry runs
KEYS = [
    key
    for key in every_key()
    if key not in ELSEWHERE | {"sources"} and not key.startswith(tuple(CHECKS))
]
# The first of each section, and the sections' exceptions.
FIRST_KEYS = {key.partition(".")[0]: key for key in reversed(KEYS)}
OF_EACH_SECTION = sorted({*FIRST_KEYS.values(), *EXPECTED} & {*KEYS} - {*SAMPLE})


@functools.cache
def in_this_run() -> dict[str, Step]:
    """The steps of the run, by name."""
    elsewhere = {*CHECKS, *OF_OTHER_RUNS, "preflight"}
    return {name: step for name, step in load_steps().items() if name not in elsewhere}


@pytest.mark.parametrize("key", KEYS)
def test_a_changed_key_changes_the_settings_of_what_reads_it(key):
    """What a dry run decides by, without one: the settings file of each step."""
    own = yaml.safe_load(OWN)
    section, _, name = key.rpartition(".")
    value = {**own.get(section, {}), name: neighbour(key)} if section else neighbour(key)
    configs = from_mapping(own), from_mapping({**own, section or name: value})
    changed = {
        name
        for name, step in in_this_run().items()
        if step.settings_of(configs[0]) != step.settings_of(configs[1])
    }
    assert with_what_follows(changed) == expected(key)


def test_the_run_is_finished(run):
    assert run.jobs() == set()


def test_preferences_are_learned_and_have_their_chapter_of_the_report(run):
    manifest = json.loads((run.root / "results/preference_model.pt.manifest.json").read_text())
    result = manifest["counts"]["result"]
    assert result["val_loss"] < result["val_loss_before"]
    exported = run.root / "results/models/final/model.safetensors.manifest.json"
    inputs = [used["path"] for used in json.loads(exported.read_text())["inputs"]]
    assert "results/preference_model.pt" in inputs

    done = run.checkout.snakemake("--configfile", "my.yaml", "--report", "report.html")
    assert done.code == 0, done.said
    text = (run.root / "report.html").read_text(encoding="utf-8")
    chapters = json.loads(re.search(r"^ *var categories = (.*);$", text, re.MULTILINE)[1])
    shown = {name.rpartition("/")[2] for name in chapters["5b. Preferences"]["Other"]}
    assert shown == {"preference_loss.svg", "preference_rewards.svg", "preferences.html"}


@pytest.mark.parametrize("key", SAMPLE)
def test_a_changed_key_reruns_what_reads_it(run, key):
    assert changed(run, key) == expected(key)


@pytest.mark.long
@pytest.mark.parametrize("key", OF_EACH_SECTION)
def test_a_changed_key_of_each_section_reruns_what_reads_it(run, key):
    assert changed(run, key) == expected(key)


GENERATED = {"builtin": "synthetic", "limit": 200}
OWN_SOURCE = {"path": "my/*.parquet", "text": "body", "name": "own"}
SHOW_SOURCES = {"plot_metrics", "export"}  # counts, files and licences of each
SOURCES = {
    "a fraction of one": ({"fraction": 0.5}, {"sample_data"} | SHOW_SOURCES),
    "a weight of one": ({"weight": 2.0}, {"prepare_data"} | SHOW_SOURCES),
    "a licence": ({"licence": "CC0-1.0"}, SHOW_SOURCES | SHOW_SETTINGS),
}


def test_a_plan_needs_the_documents_alone(run):
    budget = {"preset": "default", "plan": {"hours": 1.0}}
    run.checkout.write("more.yaml", json.dumps(budget))
    done = run.checkout.snakemake("plan", "-n", "--configfile", "my.yaml", "more.yaml")
    assert done.jobs() == {"plan"}

    none = run.checkout.snakemake("plan", "-n", "--configfile", "my.yaml")
    assert none.code == 2
    assert "plan.hours: missing; set how long training may take here" in none.said


def test_a_sweep_trains_each_point_and_prepares_nothing_anew(run):
    sweep = {"train.lr": [0.01, 0.03], "seed": [1, 2, 3]}
    run.checkout.write("more.yaml", json.dumps({"sweep": sweep}))
    done = run.checkout.snakemake("sweep", "-n", "--configfile", "my.yaml", "more.yaml")
    assert done.jobs() == {"train_point", "plot_sweep", "sweep"}
    assert re.search(r"^train_point +6$", done.said, flags=re.MULTILINE), done.said


def test_a_source_ablation_mixes_once_and_prepares_nothing_anew(run):
    study = {"seeds": [1, 2], "mixtures": 4, "proxy": {"train.steps": 8}}
    run.checkout.write("more.yaml", json.dumps({"source_ablation": study}))
    done = run.checkout.snakemake("source_ablation", "-n", "--configfile", "my.yaml", "more.yaml")
    steps = {"mix_sources", "train_point", "judge_sources", "plot_source_ablation"}
    assert done.jobs() == {*steps, "source_ablation"}
    assert re.search(r"^train_point +10$", done.said, flags=re.MULTILINE), done.said
    assert re.search(r"^mix_sources +1$", done.said, flags=re.MULTILINE), done.said


@pytest.mark.parametrize("change", SOURCES)
def test_a_change_of_one_source(run, change):
    keys, steps = SOURCES[change]
    sources = [{**OWN_SOURCE, **keys}, GENERATED]
    run.checkout.write("more.yaml", json.dumps({"sources": sources}))
    shown_alone = change == "a licence"  # cosmetic: nothing but what shows it
    expected_steps = steps | (set() if shown_alone else SHOW_SETTINGS)
    assert run.jobs("more.yaml") == with_what_follows(expected_steps)


def test_a_licence_of_conversations_reruns_what_shows_it(run):
    sources = [{"path": "my/talks.jsonl", "licence": "CC0-1.0"}]
    run.checkout.write("more.yaml", json.dumps({"sft_data": {"sources": sources}}))
    assert run.jobs("more.yaml") == with_what_follows({"plot_sft", "export", "summarise"})


def test_a_change_of_one_source_leaves_the_other_alone(run):
    sources = [{**OWN_SOURCE, "fraction": 0.5}, GENERATED]
    run.checkout.write("more.yaml", json.dumps({"sources": sources}))
    said = run.checkout.snakemake("-n", "--configfile", "my.yaml", "more.yaml").said
    assert re.findall(r"^rule (collect|sample_data):", said, flags=re.MULTILINE) == ["sample_data"]


def test_a_key_changed_and_changed_back_finds_the_earlier_run(run):
    changed(run, "train.lr")
    assert run.jobs() == set()


def test_ten_forgotten_documents_rerun_what_learns_from_documents_and_no_more(run):
    import pyarrow.parquet as pq

    documents = pq.read_table(run.root / "results/data/deduplicated/documents.parquet")
    ids = "".join(f"{one:016x}\n" for one in documents["id"][:10].to_pylist())
    run.checkout.write("forget.txt", ids)
    run.checkout.write("more.yaml", "forget: {documents: forget.txt}")

    done = run.checkout.snakemake("-n", "--configfile", "my.yaml", "more.yaml")
    assert done.jobs() == with_what_follows({"forget"} | SHOW_SETTINGS)
    counted = dict(re.findall(r"^(\w+) +(\d+)$", done.said, flags=re.MULTILINE))
    assert counted.pop("prepare_shard") == "2"
    del counted["total"]
    assert set(counted.values()) == {"1"}


def test_a_forgotten_conversation_reruns_tuning_and_no_more(run):
    run.checkout.write("forget.txt", "0" * 16)
    run.checkout.write("more.yaml", "forget: {conversations: forget.txt}")
    assert run.jobs("more.yaml") == with_what_follows({"prepare_sft_data"} | SHOW_SETTINGS)


def test_a_list_that_is_none_stops_it_before_any_job(run):
    run.checkout.write("forget.txt", "Anna Rossi")
    run.checkout.write("more.yaml", "forget: {documents: forget.txt}")
    done = run.checkout.snakemake("--configfile", "my.yaml", "more.yaml")
    assert done.code != 0
    assert "forget.txt:1: found 'Anna Rossi', expected a text's SHA-256" in done.said
    assert "Traceback" not in done.said
    assert not done.jobs()


# Edits of the code: the file, what is added to it, and the steps that run again; training never
# does for its code, a warning says so. None: some of the steps that draw, and no other.
REMARK, CODE = "\n# a remark\n", "\nMORE = 1\n"
NATIVE_REMARK, NATIVE_CODE = (
    "\n// a remark\n",
    "\nnamespace snakelm { inline constexpr int more = 1; }\n",
)
DRAW = {
    "plot_metrics", "plot_tokenizer", "plot_sft", "plot_preferences", "plot_loss", "plot_compare",
    "plot_filter", "plot_tsne_interactive", "summarise", "visualize_embeddings", "export",
}  # fmt: skip
TOKENIZE = {"train_tokenizer", "prepare_data", "prepare_sft_data", "measure_tokenizer"}
ENCODE = TOKENIZE | ASK_A_MODEL | {"baseline", "plot_sft", "export", "export_gguf"}
RUN_A_MODEL = ASK_A_MODEL | {"export", "export_gguf"}
EDITS = {
    "a comment": ("snakelm/data/documents/deduplicate.py", REMARK, set()),
    "a comment in what every step imports": ("snakelm/files.py", REMARK, set()),
    "a comment in the core": ("csrc/text/bpe.cpp", NATIVE_REMARK, set()),
    "the schema's help texts": ("snakelm/config/data_sections.py", CODE, set()),
    "how the configuration is read": ("snakelm/config/load.py", CODE, set()),
    "how a step is declared": ("snakelm/workflow/step.py", CODE, set()),
    "the log": ("snakelm/log.py", CODE, set()),
    "near duplicates": ("snakelm/data/documents/minhash.py", CODE, {"deduplicate"}),
    "the compressor": ("snakelm/evaluation/baselines.py", CODE, {"baseline"}),
    "the optimizer": ("snakelm/training/optimizer.py", CODE, set()),
    "the training loop": ("snakelm/training/loop.py", CODE, set()),
    "GGUF": ("snakelm/model/gguf.py", CODE, {"export_gguf"}),
    "the filter, which is off": ("snakelm/filter/cascade.py", CODE, set()),
    "a page of the report": ("snakelm/analysis/verdict.py", CODE, None),
    "a step's own script": ("scripts/analysis/plot_loss.py", CODE, {"plot_loss"}),
    "an attention kernel": ("csrc/ops/attention/attention_cpu.cpp", NATIVE_CODE, RUN_A_MODEL),
    "what the kernels share": ("csrc/common/simd.h", NATIVE_CODE, RUN_A_MODEL),
    "MinHash in the core": (
        "csrc/dedup/minhash.cpp",
        NATIVE_CODE,
        {"deduplicate", "prepare_sft_data"},
    ),
    "the tokenizer's core": ("csrc/text/bpe.cpp", NATIVE_CODE, ENCODE),
}
EDIT_SAMPLE = [
    "a comment in the core",
    "the schema's help texts",
    "an attention kernel",
    "near duplicates",
]


def edited(run: Run, name: str, more: str) -> set[str]:
    file = run.root / name
    before = file.read_bytes()
    try:
        file.write_bytes(before + more.encode())
        return run.jobs()
    finally:
        file.write_bytes(before)


def check_edit(run: Run, change: str) -> None:
    name, more, steps = EDITS[change]
    rerun = edited(run, name, more)
    if steps is None:
        assert rerun
        assert rerun <= DRAW
    else:
        assert rerun == with_what_follows(steps)


@pytest.mark.parametrize("change", EDIT_SAMPLE)
def test_an_edit_reruns_the_steps_that_it_can_change(run, change):
    check_edit(run, change)


@pytest.mark.long
@pytest.mark.parametrize("change", [change for change in EDITS if change not in EDIT_SAMPLE])
def test_every_edit_reruns_the_steps_that_it_can_change(run, change):
    check_edit(run, change)


NATIVE = sorted(
    file.relative_to(ROOT).as_posix()
    for file in (ROOT / "csrc").rglob("*")
    if file.suffix in {".cpp", ".h", ".cu", ".cuh"}
)


@functools.cache
def read_by() -> dict[str, set[str]]:
    """Each native source → the steps that run again for it."""
    found: dict[str, set[str]] = {name: set() for name in NATIVE}
    for step in in_this_run().values():
        files = imported_files(step.script, carriers=False) if step.code_triggers else []
        for name in {file.relative_to(ROOT).as_posix() for file in files} & {*NATIVE}:
            found[name].add(step.name)
    return found


@pytest.mark.parametrize("name", NATIVE)
def test_no_native_source_makes_documents_again_that_it_never_saw(name):
    rerun = with_what_follows(read_by()[name])
    assert not rerun & SAMPLED
    if name.startswith("csrc/ops/"):
        assert rerun == with_what_follows(RUN_A_MODEL)


# Files that change in name, time or place, and not in what they hold.


def test_touched_files_are_not_changed_files(run):
    for name in (
        "my/notes.parquet",
        "my/talks.jsonl",
        "my.yaml",
        "results/data/deduplicated/documents.parquet",
    ):
        (run.root / name).touch()
    assert run.jobs() == set()


def test_files_written_again_with_the_same_bytes_are_not_changed_files(run):
    for name in ("my/notes.parquet", "config/config.yaml", "snakelm/files.py"):
        path = run.root / name
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    assert run.jobs() == set()


@pytest.mark.long
def test_a_fresh_checkout_with_the_results_moved_into_it_has_nothing_to_do(run, checkout_copy):
    fresh = checkout_copy()
    for name in ("results", "my", ".snakemake"):
        shutil.move(run.root / name, fresh.root / name)
    try:
        shutil.copy(run.root / "my.yaml", fresh.root / "my.yaml")
        assert Run(fresh).jobs() == set()
    finally:
        for name in ("results", "my", ".snakemake"):
            shutil.move(fresh.root / name, run.root / name)


def test_a_source_that_gains_a_file_is_sampled_again_and_the_other_is_not(run):
    extra = run.root / "my/more.parquet"
    shutil.copy(run.root / "my/notes.parquet", extra)
    try:
        said = run.checkout.snakemake("-n", "--configfile", "my.yaml").said
        assert re.findall(r"^rule (collect|sample_data):", said, flags=re.MULTILINE) == [
            "sample_data"
        ]
    finally:
        extra.unlink()
