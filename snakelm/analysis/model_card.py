"""The model card: what an exported model is, what went into it and under which licences, how good
it was found.

All of it from the run's manifests, its tables and what a person's configuration says of licences.
What stands in a corpus or a package is no Markdown of ours: it is cut and its marks are taken out
of it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Config, Model
from ..workflow.manifest import manifest_path, read_manifest

__all__ = ["About", "model_card"]

LONGEST_CELL = 120
NOT_SAID = "not said: whoever brought the text knows"
WHOSE = {
    "docs": "each package's own, above",
    "synthetic": "made by snakelm, MIT",
    "everyday": "made by snakelm, MIT",
}
RESULTS = {
    "val_bpb": "bits per byte of held-out text",
    "val_bpb_clean": "bits per byte of held-out text that training text has no copies of",
    "val_loss_before": "held-out answers before tuning, nats a token",
    "val_loss": "held-out, nats a token",
}
HELD_OUT = {
    "all": "bits per byte of held-out text",
    "clean": "bits per byte of held-out text without copies in training text",
    "answers": "held-out answers, nats a token",
}
SCORES = {
    "acc": "right",
    "acc_norm": "right, choices weighed by their length",
    "exact": "answered word for word",
    "loose": "answered but for case and punctuation",
}


@dataclass(frozen=True)
class About:
    """The model itself."""

    shape: Model
    parameters: int
    vocab_size: int
    chat: bool  # whether it was tuned on conversations
    pattern: str = ""  # of its tokenizer
    config: Config = field(default_factory=Config)


def model_card(
    about: About, artefacts: Sequence[str | Path] = (), evaluation: Mapping[str, Any] | None = None
) -> str:
    """Markdown. ``artefacts``: files of the run with manifests beside them; those without are left
    out.

    ``evaluation``: what evaluation.json holds.
    """
    told = {str(path): read_manifest(path) for path in artefacts if manifest_path(path).is_file()}
    parts = [
        _head(about),
        _use(about),
        _data(about.config, list(told.values())),
        _measured(told, evaluation or {}),
    ]
    return "\n".join(part for part in [*parts, _limits(about), _made(list(told.values()))] if part)


def _head(about: About) -> str:
    shape, kind = about.shape, "Qwen3" if about.shape.qk_norm else "Llama"
    what = "tuned on conversations" if about.chat else "a base model: it goes on with text"
    words = (
        f" of a byte-level BPE that splits words as {about.pattern} does" if about.pattern else ""
    )
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [snakelm]\n---\n\n"
        f"# A language model made with snakelm\n\n"
        f"{about.parameters:,} parameters, {kind}-shaped ({shape.layers} layers, width {shape.width}, {shape.heads} "
        f"heads of {shape.head_dim}), {about.vocab_size:,} tokens{words}, context of {shape.context}; {what}.\n"
    )


def _use(about: About) -> str:
    ask = (
        'ids = tokenizer.apply_chat_template([{"role": "user", "content": "…"}], add_generation_prompt=True, '
        'return_tensors="pt", return_dict=True)'
        if about.chat
        else 'ids = tokenizer(tokenizer.bos_token + "…", return_tensors="pt", return_token_type_ids=False)'
    )
    mode = "-cnv" if about.chat else '-no-cnv -p "…"'
    return (
        "## Use\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained(".")\ntokenizer = AutoTokenizer.from_pretrained(".")\n'
        f"{ask}\nprint(tokenizer.decode(model.generate(**ids, max_new_tokens=64)[0]))\n```\n\n"
        f"With llama.cpp, where `model.gguf` was made: `llama-cli -m model.gguf {mode}`.\n\n"
        "A text begins with the end-of-text token. A special token's name inside a text that a person wrote is taken "
        "for the token by these tokenizers: take such names out of what strangers send.\n"
    )


def _data(config: Config, told: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        *_packages(told),
        *_sources(config, told),
        *_conversations(config, told),
    ]
    if not rows:
        return ""
    return "\n".join(
        ["## Data", "", *_table(("what", "taken", "licence"), rows), "", *_counts(told)]
    )


def _packages(told: Sequence[Mapping[str, Any]]) -> Iterator[tuple]:
    for manifest in _by(told, "collect"):
        for package in manifest.get("collected", {}).get("packages", []):
            name = f"{package['package']} {package['version']}, docstrings"
            yield name, f"{package['documents']:,} documents", package["licence"] or "unknown"


def _sources(config: Config, told: Sequence[Mapping[str, Any]]) -> Iterator[tuple]:
    """Every source as it was sampled: its owner's licence, or whose it is by what it is."""
    known = {source.name: source for source in config.sources}
    for manifest in _by(told, "sample_data"):
        name = Path(manifest["artefact"]["path"]).stem
        source = known.get(name)
        builtin = source.builtin if source else None
        kind = f"built in: {builtin}" if builtin else _files(len(manifest["inputs"]))
        licence = (source.licence if source else None) or WHOSE.get(builtin, NOT_SAID)
        yield f"source {name} ({kind})", f"{manifest['counts']['taken']:,} documents", licence


def _files(count: int) -> str:
    return f"{count:,} file{'s' if count != 1 else ''}"


def _conversations(config: Config, told: Sequence[Mapping[str, Any]]) -> Iterator[tuple]:
    licences = {}
    for source in config.sft_data.sources:
        name = source.builtin or (
            source.path if isinstance(source.path, str) else ", ".join(source.path or [])
        )
        own = (
            "made by snakelm of installed packages' docstrings, each package's own"
            if source.builtin
            else NOT_SAID
        )
        licences[name] = source.licence or own
    for manifest in _by(told, "prepare_sft_data")[:1]:
        for source in manifest.get("sources", []):
            name = str(source["name"])
            yield (
                f"conversations of {name}",
                f"{source['kept']:,} conversations",
                licences.get(name, NOT_SAID),
            )


def _counts(told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence on what became of the documents."""
    steps = (("deduplicate", "without duplicates"), ("quality", "after rules of quality"))
    steps += (
        ("filter_dataset", "kept by the filter"),
        ("decontaminate", "without text of evaluation sets"),
    )
    parts = [
        f"{m['documents']:,} {what}"
        for step, what in steps
        for m in _by(told, step)[:1]
        if "documents" in m
    ]
    for manifest in _by(told, "prepare_data")[:1]:
        train, val = manifest["train"], manifest["val"]
        parts.append(
            f"{train['documents']:,} trained on ({train['tokens']:,} tokens, {train['text_bytes']:,} bytes)"
        )
        parts.append(f"{val['documents']:,} held out")
    if parts:
        yield f"Documents: {'; '.join(parts)}.\n"


def _measured(told: Mapping[str, Mapping[str, Any]], evaluation: Mapping[str, Any]) -> str:
    # What evaluate measured stands for what training said of itself: the same figures, with
    # intervals.
    rows = [*_evaluated(evaluation)] or [*_trained(list(told.values()))]
    rows += _compressors(told)
    if not rows:
        return ""
    return "\n".join(
        ["## Measured", "", *_table(("stage", "what", "value", "95% interval"), rows), ""]
    )


def _trained(told: Sequence[Mapping[str, Any]]) -> Iterator[tuple]:
    for step, stage in (("train", "pretraining"), ("train_sft", "tuning")):
        for manifest in _by(told, step):
            found = {what: manifest.get("result", {}).get(key) for key, what in RESULTS.items()}
            yield from (
                (stage, what, f"{value:.4f}", "")
                for what, value in found.items()
                if value is not None
            )


def _compressors(told: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple]:
    for path, manifest in told.items():
        if Path(manifest["script"]).stem == "baseline" and Path(path).is_file():
            found = json.loads(Path(path).read_text(encoding="utf-8")).get("ppmd", {})
            if "bpb" in found:
                what = (
                    "bits per byte of held-out text, a compressor that has read the training text"
                )
                yield "for comparison", what, f"{found['bpb']:.4f}", ""


def _evaluated(evaluation: Mapping[str, Any]) -> Iterator[tuple]:
    for stage, values in evaluation.get("held_out", {}).items():
        yield from (
            _row(stage, what, values[key], "{:.4f}")
            for key, what in HELD_OUT.items()
            if values.get(key)
        )
    for name, task in evaluation.get("tasks", {}).items():
        for stage in (stage for stage in ("base", "tuned") if stage in task):
            chance = f", chance {task['chance']:.1%}" if "chance" in task else ""
            found = ((what, task[stage].get(key)) for key, what in SCORES.items())
            yield from (
                _row(stage, f"{name}: {what}{chance}", value, "{:.1%}")
                for what, value in found
                if value
            )


def _row(stage: str, what: str, value: Mapping[str, float], form: str) -> tuple[str, str, str, str]:
    return (
        stage,
        what,
        form.format(value["value"]),
        f"{form.format(value['low'])} to {form.format(value['high'])}",
    )


def _limits(about: About) -> str:
    asked = "It answers in the manner of its conversations, right or wrong. " if about.chat else ""
    return (
        f"## Limits\n\n{asked}It knows what its training text said and nothing of its truth; it was not made safe. It "
        f"looks back over {about.shape.context} tokens.\n"
    )


def _made(told: Sequence[Mapping[str, Any]]) -> str:
    """What the model can be traced and made again by."""
    newest = [manifest for step in ("train", "train_sft") for manifest in _by(told, step)[:1]]
    if not newest:
        return ""
    rows = [
        (
            Path(m["artefact"]["path"]).name,
            m["artefact"]["sha256"],
            m["seed"],
            m["versions"].get("torch", ""),
        )
        for m in newest
    ]
    return "\n".join(
        [
            "## How it was made",
            "",
            *_table(("file", "SHA-256", "seed", "torch"), rows),
            "",
            "Every input of every step stands in the manifests beside the run's files; in the project's folder, "
            "`python scripts/analysis/trace.py results/models/final` shows them as a tree and verifies each.\n",
        ]
    )


def _by(told: Sequence[Mapping[str, Any]], step: str) -> list[Mapping[str, Any]]:
    return [manifest for manifest in told if Path(manifest["script"]).stem == step]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: object) -> str:
    """One line, cut, without what Markdown or HTML would read as more than text."""
    text = re.sub(r"[\s|<>`\\\[\]]+", " ", str(value)).strip()
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
