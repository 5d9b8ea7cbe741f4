"""loss.json: what a run's models make of held-out text and held-out answers, before and after
tuning.

Two stages: `base`, the pretrained model, and `tuned`, after instruction tuning, where there was
one. Tuning on answers costs some knowledge of plain text; both stages on both kinds of text show
how much. The gap to text that training has read says how much is learned by heart: only documents
that were read to their end count as read, which a run of less than an epoch has few of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.bins import TokenBin, open_bin
from ..data.packs import Packs, open_packs
from ..errors import UserError
from ..log import Log
from ..model import Decoder
from ..tokenizer import Tokenizer
from ..training.packed_batches import answer_losses
from .breakdown import Breakdown, breakdown
from .intervals import Interval, difference, rate
from .origins import Origins, origins

__all__ = ["STAGES", "HeldOut", "Stage", "answers", "fact_sheet", "held_out", "measure", "table"]

STAGES = ("base", "tuned")
BITS = 1 / np.log(2)


@dataclass(frozen=True)
class HeldOut:
    """The held-out documents: each [documents]."""

    val: TokenBin
    bytes: np.ndarray  # int64
    tokens: np.ndarray  # int64, of text
    clean: np.ndarray  # bool
    origins: Origins


@dataclass
class Stage:
    """A model's results."""

    text: Breakdown
    answers: tuple[np.ndarray, np.ndarray] | None = None  # nats and tokens of each pack [packs]
    facts: dict[str, Any] = field(default_factory=dict)


def held_out(processed: Path, documents: Path, tokenizer: Tokenizer, clean_share: float) -> HeldOut:
    """Opens val.bin and says of each document what it is; UserError when there is no text in it."""
    val = open_bin(processed / "val.bin", tokenizer.sha256)
    shares = np.load(processed / "val_overlap.npy", allow_pickle=False)
    if shares.shape != (val.meta.documents,):
        raise UserError(
            f"{processed / 'val_overlap.npy'}: shape {shares.shape}, expected ({val.meta.documents},), one share for "
            "each held-out document; run prepare_data again"
        )
    texts = [val.document(i)[1:] for i in range(val.meta.documents)]
    sizes = np.array([int(tokenizer.token_lengths[text].sum()) for text in texts], np.int64)
    if not sizes.sum():
        raise UserError(
            f"{val.path}: no held-out text; raise prepare.val_fraction or bring more documents"
        )
    lengths = np.array([text.size for text in texts], np.int64)
    return HeldOut(val, sizes, lengths, shares < clean_share, origins(documents, val.document_ids))


def measure(
    model: Decoder, held: HeldOut, counts: np.ndarray, tokenizer: Tokenizer, log: Log, name: str
) -> Stage:
    """A model's loss on the held-out text, broken down. ``counts``: occurrences of each token in
    training.
    """
    everything = np.arange(held.val.meta.documents)
    with log.progress(int(held.tokens.sum()), "tokens") as bar:
        text = breakdown(
            model,
            held.val,
            everything,
            counts,
            tokenizer.token_lengths,
            lambda done: bar.update(done, name),
        )
    return Stage(text)


def answers(model: Decoder, path: Path, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Nats and tokens [packs] of the answers in held-out conversations; UserError when they don't
    fit the model.
    """
    packs: Packs = open_packs(path, tokenizer.sha256)
    if packs.context > model.shape.context:
        raise UserError(
            f"{path}: packs of {packs.context} tokens, the model looks back over {model.shape.context}; "
            "run prepare_sft_data again"
        )
    return answer_losses(model, packs)


def table(
    held: HeldOut,
    stages: Mapping[str, Stage],
    counts: np.ndarray,
    read: Mapping[str, Any],
    seed: int,
) -> dict:
    """loss.json without the documents and the law."""
    whole = {name: _rates(stage, held, seed) for name, stage in stages.items()}
    return {
        "held_out": {
            "documents": int(held.bytes.size),
            "clean_documents": int(held.clean.sum()),
            "tokens": int(held.tokens.sum()),
            "bytes": int(held.bytes.sum()),
        },
        "stages": whole,
        "change": _change(held, stages, seed),
        "sources": _sources(held, stages, seed),
        "by_visible": _bins(stages, "visible"),
        "by_frequency": {**_bins(stages, "frequency"), "frequency_alone": _alone(stages, counts)},
        "reading": {**read, "gap": _gap(whole["base"]["all"], read["bpb"])},
    }


def _rates(stage: Stage, held: HeldOut, seed: int) -> dict[str, Any]:
    nll, clean = stage.text.nll, held.clean
    found = {
        "all": rate(nll, held.bytes, seed, BITS),
        "clean": rate(nll[clean], held.bytes[clean], seed, BITS),
        "answers": rate(*stage.answers, seed) if stage.answers is not None else None,
    }
    return {**stage.facts, **{name: one and one.as_dict() for name, one in found.items()}}


def _change(held: HeldOut, stages: Mapping[str, Stage], seed: int) -> dict[str, Any] | None:
    """Tuned minus base, on the same documents: what the two have in common falls out of the
    interval.
    """
    if "tuned" not in stages:
        return None
    base, tuned = (stages[name] for name in STAGES)
    found = {"all": rate(tuned.text.nll - base.text.nll, held.bytes, seed, BITS)}
    if base.answers is not None:
        found["answers"] = rate(tuned.answers[0] - base.answers[0], base.answers[1], seed)
    return {name: one and one.as_dict() for name, one in found.items()}


def _sources(held: HeldOut, stages: Mapping[str, Stage], seed: int) -> dict[str, Any]:
    of, found = np.array(held.origins.source, object), {}
    for name in sorted(set(held.origins.source)):
        mine = of == name
        found[name] = {"documents": int(mine.sum()), "bytes": int(held.bytes[mine].sum())}
        for key, stage in stages.items():
            one = rate(stage.text.nll[mine], held.bytes[mine], seed, BITS)
            found[name][key] = one and {
                **one.as_dict(),
                "quantiles": _quantiles(stage.text.nll[mine], held.bytes[mine]),
            }
    return found


def _quantiles(nll: np.ndarray, sizes: np.ndarray) -> list[float]:
    """Bits per byte that 5, 25, 50, 75 and 95% of the documents stay below."""
    there = sizes > 0
    return (
        np.quantile(nll[there] * BITS / sizes[there], [0.05, 0.25, 0.5, 0.75, 0.95])
        .round(5)
        .tolist()
    )


def _bins(stages: Mapping[str, Stage], name: str) -> dict[str, Any]:
    first = getattr(next(iter(stages.values())).text, name)
    told = {
        "edges": first.edges.tolist(),
        "tokens": first.targets.tolist(),
        "bytes": first.bytes.tolist(),
    }
    return told | {key: getattr(stage.text, name).mean() for key, stage in stages.items()}


def _alone(stages: Mapping[str, Stage], counts: np.ndarray) -> list[float | None]:
    """Nats per token by frequency alone, for each bin: what its commonness says before any context
    is read.
    """
    bins, nats = (
        next(iter(stages.values())).text.frequency,
        -np.log((counts + 1.0) / (counts.sum() + counts.size)),
    )
    found = []
    for low, high, met in zip(bins.edges[:-1], bins.edges[1:], bins.targets.tolist(), strict=True):
        within = (counts >= low) & (counts < high)
        weights = counts[within] + 1.0  # held-out text has them about as often as training text
        found.append(
            round(float((weights * nats[within]).sum() / weights.sum()), 5)
            if met and within.any()
            else None
        )
    return found


def _gap(val: Mapping[str, Any], read: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return difference(Interval(**val), Interval(**read)).as_dict() if val and read else None


def fact_sheet(model: Decoder, record: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What loss.json says of a model itself."""
    weights = sum(p.numel() for p in model.parameters())
    return {
        "model": Path(file).name,
        "parameters": weights,
        "step": record["step"],
        "context": model.shape.context,
    }
