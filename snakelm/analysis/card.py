"""The model card: what an exported model is, what went into it and how good it was found, from the run's manifests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Model
from ..manifest import manifest_path, read_manifest

__all__ = ["model_card"]


def model_card(shape: Model, parameters: int, vocab_size: int, chat: bool, artefacts: Sequence[str | Path]) -> str:
    """Markdown. ``artefacts``: files of the run with manifests beside them; those without are left out."""
    told = [read_manifest(path) for path in artefacts if manifest_path(path).is_file()]
    parts = [_head(shape, parameters, vocab_size, chat), _use(chat), _data(told), _figures(told), _limits(shape, chat)]
    return "\n".join(part for part in parts if part)


def _head(shape: Model, parameters: int, vocab_size: int, chat: bool) -> str:
    kind = "Qwen3" if shape.qk_norm else "Llama"
    what = "tuned on conversations" if chat else "a base model: it goes on with text"
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [snakelm]\n---\n\n"
        f"# A language model made with snakelm\n\n"
        f"{parameters:,} parameters, {kind}-shaped ({shape.layers} layers, width {shape.width}, {shape.heads} heads of "
        f"{shape.head_dim}), {vocab_size:,} tokens, context of {shape.context}; {what}.\n"
    )


def _use(chat: bool) -> str:
    ask = (
        'ids = tokenizer.apply_chat_template([{"role": "user", "content": "…"}], add_generation_prompt=True, '
        'return_tensors="pt", return_dict=True)'
        if chat
        else 'ids = tokenizer(tokenizer.bos_token + "…", return_tensors="pt", return_token_type_ids=False)'
    )
    return (
        "## Use\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained(".")\ntokenizer = AutoTokenizer.from_pretrained(".")\n'
        f"{ask}\nprint(tokenizer.decode(model.generate(**ids, max_new_tokens=64)[0]))\n```\n\n"
        "A text begins with the end-of-text token. A special token's name inside a text that a person wrote is taken "
        "for the token by this tokenizer: take such names out of what strangers send.\n"
    )


def _data(told: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for manifest in told:
        for package in manifest.get("collected", {}).get("packages", []) if _by(manifest, "collect") else []:
            name = f"{package['package']} {package['version']}, docstrings"
            rows.append((name, package["documents"], package["licence"] or "unknown"))
        if _by(manifest, "sample_data"):
            name = Path(manifest["artefact"]["path"]).stem
            rows.append((f"source `{name}`, sampled", manifest["counts"]["taken"], "as its owner says"))
    if not rows:
        return ""
    lines = [f"| {name} | {documents:,} | {licence} |" for name, documents, licence in rows]
    return "\n".join(["## Data", "", "| what | documents | licence |", "|---|---|---|", *lines, ""])


def _figures(told: Sequence[Mapping[str, Any]]) -> str:
    names = {
        "val_bpb": "bits per byte of held-out text",
        "val_bpb_clean": "bits per byte of held-out text that training text has no copies of",
        "val_loss_before": "held-out answers before tuning, nats a token",
        "val_loss": "held-out, nats a token",
    }
    rows = []
    for manifest in told:
        stage = {"train": "pretraining", "train_sft": "tuning"}.get(Path(manifest["script"]).stem)
        for key, what in names.items():
            value = manifest.get("result", {}).get(key)
            rows += [f"| {stage} | {what} | {value:.4f} |"] if stage and value is not None else []
    return "\n".join(["## Measured", "", "| stage | what | value |", "|---|---|---|", *rows, ""]) if rows else ""


def _limits(shape: Model, chat: bool) -> str:
    asked = "It answers in the manner of its conversations, right or wrong. " if chat else ""
    return (
        f"## Limits\n\n{asked}It knows what its training text said and nothing of its truth; it was not made safe. It "
        f"looks back over {shape.context} tokens.\n"
    )


def _by(manifest: Mapping[str, Any], step: str) -> bool:
    return Path(manifest["script"]).stem == step
