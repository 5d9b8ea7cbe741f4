"""loss.json: a run's models on held-out text and held-out answers, before and after tuning.

Two stages: `base`, the pretrained model, and `tuned`, the same after instruction tuning, where
there was one. Tuning on answers costs some knowledge of plain text; both stages on both kinds of
text show how much, unless tuning began with another model (sft.base). A base model has never seen
the token that ends a turn; on answers it is measured as tuning begins with it, so that its number
is the one that tuning started from.

The gap to training text is between different documents: those held out, and those that training has
read to their end, of which a run of less than an epoch has few.

Everything is computed in float32, as the exported model computes, whatever it was trained in.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Config
from ..data.bins import TokenBin, open_bin
from ..data.packs import open_packs
from ..errors import UserError
from ..log import Log
from ..model import Decoder
from ..model.file import ModelRecord, knows_chat_tokens
from ..tokenizer import Tokenizer
from ..training.batches import Batches
from ..training.chat_rows import as_tuning_begins
from ..training.packed_batches import answer_losses
from ..training.validation import document_losses
from .breakdown import Bins, Breakdown, breakdown
from .heldout_documents import BITS, HeldOutCorpus, extremes, open_held_out, write_documents
from .intervals import Interval, difference, rate, rounded
from .loss_record import (
    BinLosses,
    FrequencyLosses,
    LossRecord,
    SourceLoss,
    SourceRate,
    StageLoss,
    TrainLoss,
    TuningChange,
)
from .records import FEW_BYTES_MORE, HeldOutText, Stage
from .scaling_law import run_laws
from .tokenizer_statistics import token_counts
from .trained_model import (
    PretrainingSettings,
    device_for,
    is_tuned_from_another,
    open_model,
    pretraining_of,
)

__all__ = ["HeldOutLossFiles", "MeasuredLoss", "measure_loss", "summary"]


@dataclass(frozen=True)
class HeldOutLossFiles:
    """What the measurement reads."""

    base: Path  # final_model.pt
    tuned: Path | None  # sft_model.pt, where the run tunes a model
    processed: Path  # folder of train.bin, val.bin, val_overlap.npy and val_sft_packed.bin
    documents: Path  # documents that the token files were made from
    tokenizer: Path  # folder
    metrics: Path  # training_metrics.csv


@dataclass(frozen=True)
class MeasuredLoss:
    """loss.json's content, and the loss of each document behind it."""

    record: LossRecord
    held_out: HeldOutCorpus
    nll: dict[Stage, np.ndarray]  # float64 [documents], nats

    def write_documents(self, path: str | Path) -> None:
        """Parquet with every held-out document."""
        write_documents(path, self.held_out, self.nll)


@dataclass(frozen=True)
class _Data:
    """What each model is measured on."""

    tokenizer: Tokenizer
    held_out: HeldOutCorpus
    counts: np.ndarray  # int64 [V], occurrences of each token in the training text
    packs: Path | None  # held-out conversations, where a model is tuned on others
    seed: int


@dataclass(frozen=True)
class _Answers:
    """A model's loss on the answers in held-out conversations, each [packs]."""

    nll: np.ndarray  # float64, nats
    tokens: np.ndarray  # int64


@dataclass(frozen=True)
class _Measured:
    """What was measured of a model, and what loss.json says of it."""

    text: Breakdown
    answers: _Answers | None
    loss: StageLoss


def measure_loss(
    config: Config, files: HeldOutLossFiles, threads: int | None, log: Log
) -> MeasuredLoss:
    """Measures the run's models; ``threads``: at most this many, None for all that are free."""
    tokenizer = Tokenizer.load(files.tokenizer)
    device = device_for(config.train.device, threads, log)

    train_bin = files.processed / "train.bin"
    held_out = open_held_out(
        files.processed, files.documents, tokenizer, config.evaluate.clean_share
    )
    counts = token_counts(open_bin(train_bin, tokenizer.sha256))
    packs = files.processed / "val_sft_packed.bin" if files.tuned is not None else None
    data = _Data(tokenizer, held_out, counts, packs, config.seed)

    model, record = open_model(files.base, tokenizer, device)
    pretraining = pretraining_of(files.base, record, train_bin)
    stages: dict[Stage, _Measured] = {
        "base": _measure_stage("base", files.base, model, record, data, log)
    }
    train_loss = _train_loss(
        model, record["step"], pretraining, train_bin, data, stages["base"].loss.all
    )

    other = False
    if files.tuned is not None:
        other = is_tuned_from_another(files.tuned, files.base)
        del model  # so that memory holds one model at a time
        model, record = open_model(files.tuned, tokenizer, device)
        stages["tuned"] = _measure_stage("tuned", files.tuned, model, record, data, log)

    # The last evaluation of a training takes all held-out documents. Where those before it took
    # only some, it is no point of their curve.
    some = pretraining.eval_tokens
    last_differs = some is not None and held_out.val.meta.tokens > some
    nll: dict[Stage, np.ndarray] = {stage: one.text.nll for stage, one in stages.items()}
    hardest, easiest = extremes(held_out, nll, tokenizer)

    loss = LossRecord(
        held_out=_text(held_out),
        stages={stage: one.loss for stage, one in stages.items()},
        change=None if other else _change(stages, data),
        sources=_by_source(nll, data),
        by_visible=BinLosses(**_bins({stage: one.text.visible for stage, one in stages.items()})),
        by_frequency=FrequencyLosses(
            **_bins({stage: one.text.frequency for stage, one in stages.items()}),
            frequency_alone=_frequency_alone(stages["base"].text.frequency, counts),
        ),
        train_loss=train_loss,
        law=run_laws(files.metrics, pretraining.warmup_tokens, last_differs, config.seed),
        hardest=hardest,
        easiest=easiest,
    )
    return MeasuredLoss(loss, held_out, nll)


def _text(held_out: HeldOutCorpus) -> HeldOutText:
    clean = held_out.clean
    return HeldOutText(
        documents=int(held_out.bytes.size),
        clean_documents=int(clean.sum()),
        tokens=int(held_out.tokens.sum()),
        bytes=int(held_out.bytes.sum()),
        characters=int(held_out.characters.sum()),
        clean_bytes=int(held_out.bytes[clean].sum()),
        clean_characters=int(held_out.characters[clean].sum()),
    )


def _measure_stage(
    stage: Stage, file: Path, model: Decoder, record: ModelRecord, data: _Data, log: Log
) -> _Measured:
    """The loss of the model that ``file`` holds."""
    held_out = data.held_out
    with log.progress(int(held_out.tokens.sum()), "tokens") as bar:
        text = breakdown(
            model,
            held_out.val,
            np.arange(held_out.val.meta.documents),
            data.counts,
            data.tokenizer.token_lengths,
            lambda done: bar.update(done, stage),
        )
    answers = _on_answers(model, data, knows_chat_tokens(record)) if data.packs else None

    clean = held_out.clean
    loss = StageLoss(
        model=file.name,
        parameters=sum(p.numel() for p in model.parameters()),
        step=record["step"],
        context=model.shape.context,
        all=_known(_rate(text.nll, held_out.bytes, data.seed, BITS)),
        clean=_rate(text.nll[clean], held_out.bytes[clean], data.seed, BITS),
        answers=_rate(answers.nll, answers.tokens, data.seed) if answers else None,
    )
    return _Measured(text, answers, loss)


def _on_answers(model: Decoder, data: _Data, chat_tokens: bool) -> _Answers:
    """A model whose ``chat_tokens`` aren't trained is measured as tuning begins with it. UserError
    for packs that are longer than the model's context.
    """
    path = data.packs
    assert path is not None, "asked for where there are some"
    packs = open_packs(path, data.tokenizer.sha256)
    if packs.context > model.shape.context:
        raise UserError(
            f"{path}: packs of {packs.context} tokens, the model looks back over "
            f"{model.shape.context}; run prepare_sft_data again"
        )
    with nullcontext() if chat_tokens else as_tuning_begins(model, data.tokenizer):
        return _Answers(*answer_losses(model, packs))


def _train_loss(
    model: Decoder,
    step: int,
    pretraining: PretrainingSettings,
    train_bin: Path,
    data: _Data,
    held_out_rate: Interval,
) -> TrainLoss:
    """Bits per byte of documents that training has read to their end, at even distances, of about
    as many tokens as the held-out text has.

    Which documents those are follows from file, seed and step: batches are a function of these.
    """
    train = open_bin(train_bin, data.tokenizer.sha256, verify=False)
    batches = Batches(train, model.shape.context, pretraining.batch_tokens, pretraining.seed)
    seen = _once(train, batches.seen(step))

    measured, bpb = 0, None
    if seen.size:
        most, tokens = int(data.held_out.tokens.sum()), np.diff(train.document_offsets)[seen].sum()
        count = max(1, int(min(seen.size, seen.size * most / tokens)))
        chosen = seen[np.unique(np.linspace(0, seen.size - 1, count).astype(np.int64))]

        nll = document_losses(model, train, chosen)
        assert nll is not None, "nothing stops it early"
        lengths = data.tokenizer.token_lengths
        sizes = np.array([int(lengths[train.document(i)[1:]].sum()) for i in chosen])
        measured, bpb = int(chosen.size), _rate(nll, sizes, data.seed, BITS)

    return TrainLoss(
        epochs=batches.epoch(step),
        read_documents=int(seen.size),
        train_documents=int(np.unique(train.document_ids).size),
        documents=measured,
        bpb=bpb,
        gap=rounded(difference(held_out_rate, bpb)) if bpb else None,
    )


def _once(train: TokenBin, documents: np.ndarray) -> np.ndarray:
    """Those of the numbered ``documents`` that repeat none before them (weights do), in order."""
    _, first = np.unique(train.document_ids[documents], return_index=True)
    return documents[np.sort(first)]


def _change(stages: Mapping[Stage, _Measured], data: _Data) -> TuningChange | None:
    """Loss after tuning minus loss before. Taken document by document, so that what both models
    find hard falls out of the interval.
    """
    if "tuned" not in stages:
        return None
    base, tuned = stages["base"], stages["tuned"]
    text = _rate(tuned.text.nll - base.text.nll, data.held_out.bytes, data.seed, BITS)

    assert base.answers is not None, "measured where a model was tuned"
    assert tuned.answers is not None, "measured where a model was tuned"
    answers = _rate(tuned.answers.nll - base.answers.nll, base.answers.tokens, data.seed)
    return TuningChange(all=_known(text), answers=answers)


def _by_source(nll: Mapping[Stage, np.ndarray], data: _Data) -> dict[str, SourceLoss]:
    """Bits per byte of each source's documents."""
    held_out, sources = data.held_out, np.array(data.held_out.origins.source, object)
    by_source = {}

    for name in sorted(set(held_out.origins.source)):
        own = sources == name
        sizes = held_out.bytes[own]
        rates = {
            stage: _source_rate(losses[own], sizes, data.seed) for stage, losses in nll.items()
        }
        by_source[name] = SourceLoss(
            documents=int(own.sum()),
            bytes=int(sizes.sum()),
            characters=int(held_out.characters[own].sum()),
            **rates,
        )
    return by_source


def _source_rate(nll: np.ndarray, sizes: np.ndarray, seed: int) -> SourceRate | None:
    """None for documents without text."""
    interval = _rate(nll, sizes, seed, BITS)
    if interval is None:
        return None
    some = sizes > 0
    quantiles = np.quantile(nll[some] * BITS / sizes[some], [0.05, 0.25, 0.5, 0.75, 0.95])
    return SourceRate(**vars(interval), quantiles=quantiles.round(5).tolist())


def _bins(stages: Mapping[Stage, Bins]) -> dict[str, list]:
    """What the record of some bins holds. Of a stage with other bins than the base's, since tuning
    began with a model of another context (sft.base), nothing: its numbers belong nowhere here.
    """
    first = stages["base"]
    same = {stage: bins for stage, bins in stages.items() if bins.is_like(first)}
    shared = {
        "edges": first.edges.tolist(),
        "tokens": first.targets.tolist(),
        "bytes": first.bytes.tolist(),
    }
    return {**shared, **{stage: bins.mean() for stage, bins in same.items()}}


def _frequency_alone(bins: Bins, counts: np.ndarray) -> list[float | None]:
    """Nats per token in each bin for a model that knows the tokens' frequencies and reads no
    context.
    """
    nats = -np.log((counts + 1.0) / (counts.sum() + counts.size))
    losses: list[float | None] = []
    for low, high, targets in zip(
        bins.edges[:-1], bins.edges[1:], bins.targets.tolist(), strict=True
    ):
        within = (counts >= low) & (counts < high)
        if not targets or not within.any():
            losses.append(None)
            continue
        weights = counts[within] + 1.0  # held-out text has them about as often as training text
        losses.append(round(float((weights * nats[within]).sum() / weights.sum()), 5))
    return losses


def _rate(nll: np.ndarray, sizes: np.ndarray, seed: int, scale: float = 1.0) -> Interval | None:
    interval = rate(nll, sizes, seed, scale)
    return rounded(interval) if interval else None


def _known(interval: Interval | None) -> Interval:
    assert interval is not None, "open_held_out refuses a val.bin without text"
    return interval


def summary(loss: LossRecord) -> str:
    """`held-out text 1.518 bits per byte (1.49 to 1.55), after tuning 1.6 …`."""
    base, tuned = loss.stages["base"], loss.stages.get("tuned")
    line = f"held-out text {base.all.in_words()} bits per byte"
    if (each := loss.held_out.bytes_per_character()) and each > 1 + FEW_BYTES_MORE:
        line += f", {base.all.value * each:.3f} per character"
    if train := loss.train_loss.bpb:
        line += (
            f"; {loss.train_loss.documents:,} documents that training has read {train.in_words()}"
        )
    if tuned is None:
        return f"{line}; nothing was tuned, so there is no second stage"

    if loss.change is None:
        return f"{line}; the tuned model, which began with another, {tuned.all.in_words()}"
    after = "preferences" if loss.preferred else "tuning"
    line += f"; after {after} {tuned.all.in_words()}"
    if base.answers and tuned.answers:
        line += (
            f"; held-out answers {base.answers.value:.3f} → {tuned.answers.value:.3f} nats a token"
        )
    return line
