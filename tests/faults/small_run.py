"""A run small enough to be made for a campaign, step by step in this process, and what each of its
steps reads.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from snakelm.config import Config, from_mapping
from snakelm.data.bins import idx_path
from snakelm.workflow.flags import Folder
from snakelm.workflow.settings import settings_file, shown_file
from snakelm.workflow.step import Step, load_steps

DOCUMENTS, PROCESSED = "data/deduplicated/documents.parquet", "data/processed"
TOKENIZER, SHARDS = "tokenizer", f"{PROCESSED}/shards/1"
METRICS, SFT_METRICS = "logs/training_metrics.csv", "logs/sft_metrics.csv"
BASELINE, LOSS, EVALUATION = "tables/baseline.json", "tables/loss.json", "tables/evaluation.json"
EMBEDDINGS, MAP = "embeddings/documents.parquet", "embeddings/map.parquet"
PACKS = f"{PROCESSED}/val_sft_packed.bin"

Flags = dict[str, str | list[str]]

# Step → its flags, paths from the results folder, in the order in which a run takes them. The
# values of a list are several files; what begins with `=` is no path.
STEPS: dict[str, Flags] = {
    "collect": {"source": "=synthetic", "output": "data/raw/synthetic.parquet"},
    "sample_data": {
        "source": "=synthetic",
        "files": ["data/raw/synthetic.parquet"],
        "output": "data/sampled/synthetic.parquet",
    },
    "deduplicate": {"inputs": ["data/sampled/synthetic.parquet"], "output": DOCUMENTS},
    "train_tokenizer": {"documents": DOCUMENTS, "output": TOKENIZER},
    "prepare_shard": {
        "shard": "=0",
        "of": "=1",
        "documents": DOCUMENTS,
        "tokenizer": TOKENIZER,
        "output-dir": SHARDS,
    },
    "prepare_data": {"shards": [SHARDS], "tokenizer": TOKENIZER, "output-dir": PROCESSED},
    "baseline": {"processed": PROCESSED, "tokenizer": TOKENIZER, "output": BASELINE},
    "measure_tokenizer": {
        "documents": DOCUMENTS,
        "tokenizer": TOKENIZER,
        "processed": PROCESSED,
        "output": "tables/tokens.json",
    },
    "train": {"results": ""},
    "prepare_sft_data": {"tokenizer": TOKENIZER, "output-dir": PROCESSED},
    "train_sft": {"results": ""},
    "prepare_preferences": {"tokenizer": TOKENIZER, "output-dir": PROCESSED},
    "train_preferences": {"results": ""},
    "loss": {
        "base": "final_model.pt",
        "tuned": "sft_model.pt",
        "processed": PROCESSED,
        "documents": DOCUMENTS,
        "tokenizer": TOKENIZER,
        "metrics": METRICS,
        "output": LOSS,
        "per-document": "tables/loss_documents.parquet",
    },
    "evaluate": {
        "base": "final_model.pt",
        "tuned": "sft_model.pt",
        "processed": PROCESSED,
        "tokenizer": TOKENIZER,
        "loss": LOSS,
        "output": EVALUATION,
        "items": "tables/evaluation_items.jsonl",
    },
    "export": {
        "model": "sft_model.pt",
        "tokenizer": TOKENIZER,
        "evaluation": EVALUATION,
        "output": "models/final",
    },
    "export_gguf": {
        "model": "sft_model.pt",
        "tokenizer": TOKENIZER,
        "output": "models/final/model.gguf",
    },
    "generate_embeddings": {
        "documents": DOCUMENTS,
        "model": "final_model.pt",
        "tokenizer": TOKENIZER,
        "val": f"{PROCESSED}/val.bin",
        "output": EMBEDDINGS,
    },
    "visualize_embeddings": {
        "embeddings": EMBEDDINGS,
        "map": MAP,
        "figures": ["figures/map_source.svg"],
    },
    "plot_metrics": {
        "metrics": METRICS,
        "baseline": BASELINE,
        "train-bin": f"{PROCESSED}/train.bin",
        "samples": "logs/samples.jsonl",
        "figures": "figures",
        "tables": "tables",
    },
    "plot_tokenizer": {
        "measured": "tables/tokens.json",
        "fertility": "figures/fertility.svg",
        "frequencies": "figures/token_frequencies.svg",
        "table": "tables/tokenizer.html",
    },
    "plot_sft": {
        "metrics": SFT_METRICS,
        "packs": f"{PROCESSED}/train_sft_packed.bin",
        "tokenizer": TOKENIZER,
        "samples": "logs/sft_samples.jsonl",
        "figures": "figures",
        "tables": "tables",
    },
    "plot_preferences": {
        "metrics": "logs/preference_metrics.csv",
        "samples": "logs/preference_samples.jsonl",
        "figures": "figures",
        "tables": "tables",
    },
    "plot_loss": {
        "loss": LOSS,
        "evaluation": EVALUATION,
        "results": "",
        "figures": "figures",
        "tables": "tables",
    },
    "plot_tsne_interactive": {
        "map": MAP,
        "output": "figures/map.html",
        "report": "figures/map_report.html",
    },
    "summarise": {
        "rerun": "=",
        "metrics": METRICS,
        "tuned": SFT_METRICS,
        "baseline": BASELINE,
        "evaluation": EVALUATION,
        "figures": "figures",
        "tables": "tables",
    },
    "plot_compare": {"results": "", "figures": "figures", "table": "tables/compare.html"},
}
# Read by a step that no flag names.
MORE = {
    "loss": [PACKS, str(idx_path(Path(PACKS)))],
    "evaluate": [PACKS, str(idx_path(Path(PACKS)))],
    "train_sft": ["final_model.pt"],
    "plot_compare": [METRICS, SFT_METRICS],
}
FILTERS = {"setfit_train", "filter_dataset", "plot_filter"}  # their packages take long to load
CHECKS = {
    "forget",
    "personal_data",
    "languages",
    "quality",
    "decontaminate",
    "preflight",
}  # read documents as deduplicate's readers do
SWEEP = {"train_point", "plot_sweep"}  # read token files as train does, metrics as plot_compare
# Reads models and token files as loss does, documents as forget; manifests as export does.
ASKED_FOR = {"memorisation", "training_summary"}
PLAN = {"plan", "plot_plan"}  # documents as train_tokenizer, a manifest as plot_sweep
ABLATION = {  # reads token files and documents as loss does
    "mix_sources",
    "judge_sources",
    "plot_source_ablation",
}
LAST_OF_SAMPLE = "train"

SMALL = {
    "preset": "smoke",
    "sources": [{"builtin": "synthetic", "limit": 150}],
    "tokenizer": {"vocab_size": 300},
    "model": {
        "layers": 1,
        "width": 32,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 16,
        "hidden": 64,
        "context": 64,
    },
    "train": {"steps": 4, "batch_tokens": 256, "micro_batch": 4, "sample_tokens": 4, "warmup": 1},
    "evaluate": {"compressor_mb": 0.1},
    "preferences": {"batch_rows": 16},
}


@dataclass
class SmallRun:
    """A results folder in ``folder``; ``whole``: all steps, or those up to training alone."""

    folder: Path
    whole: bool
    steps: dict[str, Step] = field(default_factory=load_steps)
    _config: Config = field(init=False)

    def make(self) -> None:
        """Runs the steps."""
        for name in self.names:
            self.start(name, self.settings(name))

    @property
    def names(self) -> list[str]:
        """The steps that are made."""
        names = list(STEPS)
        return names if self.whole else names[: names.index(LAST_OF_SAMPLE) + 1]

    def __post_init__(self) -> None:
        asked = [f"What is {i}?" for i in range(60)]
        conversations = self._users(
            "conversations", [{"question": asked[i], "answer": f"{i}."} for i in range(60)]
        )
        pairs = [
            {"prompt": asked[i], "chosen": f"{i}.", "rejected": f"Not {i}."} for i in range(60)
        ]
        preferences = SMALL["preferences"] | {"sources": [self._users("preferences", pairs)]}
        self._config = from_mapping(
            SMALL | {"sft_data": {"sources": [conversations]}, "preferences": preferences}
        )

    def _users(self, name: str, rows: list[dict[str, str]]) -> dict[str, str]:
        """A source: a file of the user's with these rows."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
        return {"path": str(path)}

    def settings(self, name: str) -> list[Path]:
        """The files that the workflow gives a step as its settings."""
        step = self.steps[name]
        values = {"source": "synthetic"} if step.depends_on_values else None
        files = [settings_file(self.folder, self._config, step, values)]
        files += [shown_file(self.folder, self._config, step)] if step.shown_of(Config()) else []
        return [Path(file) for file in files]

    def start(self, name: str, settings: list[Path]) -> None:
        """Runs a step; raises what it raises."""
        given = ["--config", *map(str, settings)]
        for flag, value in STEPS[name].items():
            values = value if isinstance(value, list) else [value]
            given += [f"--{flag}", *(self._word(one) for one in values)]
        given += ["--threads", "1"] if self.steps[name].threads else []
        self._mains[name]([*given, "--log", str(self.folder / f"logs/steps/{name}.log")])

    def _word(self, value: str) -> str:
        return value[1:] if value.startswith("=") else str(self.folder / value)

    def read(self) -> Iterator[tuple[str, Path]]:
        """Every step with every file that it reads and that is there."""
        for name, step in self.steps.items():
            for path in dict.fromkeys(self._reads(name, step)):
                if path.is_file():
                    yield name, path

    def _reads(self, name: str, step: Step) -> Iterator[Path]:
        if name not in STEPS:
            assert name in FILTERS | CHECKS | SWEEP | ASKED_FOR | PLAN | ABLATION, (
                f"{name}: say in STEPS what it reads"
            )
            return
        for flag, kind in [*step.reads.items(), *step.beside.items()]:
            given = STEPS[name].get(flag.replace("_", "-"), kind.at)
            for value in given if isinstance(given, list) else [given]:
                path = self.folder / value
                if isinstance(kind, Folder):
                    yield from (path / file for file in kind.files)
                elif value:
                    yield from sorted(path.glob("*-0.???")) if path.is_dir() else [path]
                    yield from [idx_path(path)] if path.suffix == ".bin" else []
        yield from (self.folder / path for path in MORE.get(name, []))

    @cached_property
    def _mains(self) -> dict[str, Callable[[list[str]], Any]]:
        return {name: _main_of(step.script) for name, step in self.steps.items()}


def _main_of(script: Path) -> Callable[[list[str]], Any]:
    spec = importlib.util.spec_from_file_location(f"faults_{script.stem}", script)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], Any] = module.main
    return main
