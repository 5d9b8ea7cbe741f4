"""Trains the filter: SetFit on the labels, the student on what SetFit says of the run's own
documents, then the band.

The run's documents are drawn by hash: half of them teach the student, a quarter chooses the
doubtful band, and the last quarter measures agreement and speed on text that nothing was chosen on.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ..config import Classifier
from ..data.documents.table import read_documents
from ..data.split import limit_threshold, mixed
from ..errors import UserError
from ..files import sha256_file
from ..log import Log
from .base import base_folder, base_name
from .cascade import Filter, choose_band
from .contrastive import tune
from .folder import Linear, Meta, write_folder
from .labels import Labels, read_labels
from .measure import agreement, curve, quality, rate
from .records import FilterRecord
from .sentence import SentenceModel
from .student import Student, fit_head, principal

__all__ = ["drawn", "logistic_head", "train_filter"]

DOCUMENTS = 3072  # of the run, that SetFit reads to teach and to measure the student
# C of the logistic head: vectors have length 1, and weaker regularisation lets scores use the range
SHARPNESS = 10.0


def train_filter(
    documents: Path, rules: Classifier, seed: int, folder: Path, log: Log
) -> dict[str, Any]:
    """Trains, measures and writes the filter into ``folder``; gives the numbers for
    setfit_train.json.
    """
    base, labels = base_folder(rules), read_labels(rules.labels)
    training, held_out = labels.split(rules.held_out, seed)
    log.say(
        f"{len(training)} labelled texts to train on, {len(held_out)} to measure, base {base_name(rules)}"
    )
    frozen = _frozen(base, training, held_out, rules)
    with log.progress(rules.steps, "steps") as bar:
        sentence = tune(base, training, rules, seed, bar.update)
    head = logistic_head(sentence.encode(training.texts), training.academic)
    texts = drawn(documents, rules.max_tokens, "classifier", seed, DOCUMENTS)
    log.say(f"{len(texts):,} documents of the run teach and measure the student")
    parts = np.split(np.arange(len(texts)), [len(texts) // 2, 3 * len(texts) // 4])
    logits = _logits(sentence, head, texts, log)
    student, tensors = _teach(
        sentence, head, training, [texts[i] for i in parts[0]], logits[parts[0]], rules.max_tokens
    )
    tensors["head.safetensors"] = {"weight": head.weight, "bias": np.array([head.bias], np.float32)}
    keep = Linear(np.ones(1, np.float32), 0.0).score(logits[:, None]) >= rules.threshold
    choosing = [texts[i] for i in parts[1]]
    low, high = choose_band(
        student.score(choosing), keep[parts[1]], rules.agreement, rules.threshold
    )
    if (low, high) == (0.0, 1.0):
        log.warn(
            f"{len(choosing)} documents are too few to choose a doubtful band: the cascade asks SetFit always"
        )
    meta = Meta(
        rules.threshold,
        low,
        high,
        rules.max_tokens,
        base_name(rules),
        sha256_file(base / "model.safetensors"),
    )
    write_folder(
        folder, lambda place: sentence.body.save(place, create_model_card=False), tensors, meta
    )
    filters = {
        kind: Filter(kind, meta, *_parts(kind, student, sentence), head)
        for kind in ("setfit", "static", "cascade")
    }
    measured = _measure(filters, held_out, [texts[i] for i in parts[2]], rules)
    table = {"labels": len(labels), "band": [low, high], "threshold": rules.threshold, **measured}
    table["held_out"]["frozen"] = frozen
    _say(table, log)
    return FilterRecord.model_validate(table).as_json()


def logistic_head(vectors: np.ndarray, academic: np.ndarray) -> Linear:
    """A logistic regression from ``vectors`` [n, width] to the class, both classes counting
    alike.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=SHARPNESS, class_weight="balanced", max_iter=1000).fit(
        vectors, academic
    )
    return Linear(fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0]))


def _frozen(base: Path, training: Labels, held_out: Labels, rules: Classifier) -> dict[str, Any]:
    """What the base model does with a head alone: the baseline that tuning has to beat."""
    model = SentenceModel.load(base, rules.max_tokens)
    head = logistic_head(model.encode(training.texts), training.academic)
    return quality(head.score(model.encode(held_out.texts)), held_out.academic, rules.threshold)


def drawn(documents: Path, max_tokens: int, purpose: str, seed: int, count: int) -> list[str]:
    """The heads of ``count`` documents drawn by hash for ``purpose``, in the order of their
    hashes.
    """
    ids = [np.asarray(batch.column("id")) for batch in read_documents(documents, ["id"])]
    if not ids:
        raise UserError(f"{documents}: no documents; the sources gave none")
    last, _ = limit_threshold(mixed(np.concatenate(ids), seed, purpose), count)
    found: list[tuple[int, str]] = []
    for group in range(len(ids)):
        order = mixed(ids[group], seed, purpose)
        places = np.flatnonzero(order <= np.uint64(min(last, 2**64 - 1)))
        if places.size:
            (batch,) = read_documents(documents, ["text"], [group])
            heads = pc.utf8_slice_codeunits(batch.column("text").take(places), 0, max_tokens * 16)
            found += zip(order[places].tolist(), heads.to_pylist(), strict=True)
    return [text for _, text in sorted(found)[:count]]


def _logits(sentence: SentenceModel, head: Linear, texts: list[str], log: Log) -> np.ndarray:
    found = []
    with log.progress(len(texts), "documents") as bar:
        for first in range(0, len(texts), 256):
            found.append(head.logits(sentence.encode(texts[first : first + 256])))
            bar.update(min(len(texts), first + 256))
    return np.concatenate(found)


def _teach(
    sentence: SentenceModel,
    head: Linear,
    training: Labels,
    texts: list[str],
    logits: np.ndarray,
    max_tokens: int,
) -> tuple[Student, dict[str, dict[str, np.ndarray]]]:
    """The student, and the arrays it is saved as; the labelled texts teach it too."""
    tokenizer = sentence.pieces_of_words()
    vectors = principal(sentence.piece_vectors())
    own = head.logits(sentence.encode(training.texts))
    fitted = fit_head(
        vectors, tokenizer, [*texts, *training.texts], np.concatenate([logits, own]), max_tokens
    )
    saved = {
        "vectors": vectors,
        "weight": fitted.weight,
        "bias": np.array([fitted.bias], np.float32),
    }
    numbers = vectors.astype(np.float32) @ fitted.weight
    return Student(tokenizer, numbers, fitted.bias, max_tokens), {"static.safetensors": saved}


def _parts(
    kind: str, student: Student, sentence: SentenceModel
) -> tuple[Student | None, SentenceModel | None]:
    return None if kind == "setfit" else student, None if kind == "static" else sentence


def _measure(
    filters: dict[str, Filter], held_out: Labels, texts: list[str], rules: Classifier
) -> dict[str, Any]:
    known = {kind: one.score(held_out.texts)[0] for kind, one in filters.items()}
    seen = {kind: one.score(texts) for kind, one in filters.items()}
    setfit = seen["setfit"][0]
    return {
        "held_out": {
            kind: quality(scores, held_out.academic, rules.threshold)
            for kind, scores in known.items()
        },
        "curve": {kind: curve(scores, held_out.academic) for kind, scores in known.items()},
        "documents": len(texts),
        "kept": {
            kind: float((scores >= rules.threshold).mean())
            for kind, (scores, _) in seen.items()
            if len(texts)
        },
        "agreement": {
            kind: agreement(scores, setfit, rules.threshold) for kind, (scores, _) in seen.items()
        },
        "asked": float(seen["cascade"][1].mean()) if texts else None,
        "documents_per_cpu_second": {
            kind: rate(lambda t, one=one: one.score(t), texts) for kind, one in filters.items()
        }
        if texts
        else {},
    }


def _say(table: dict[str, Any], log: Log) -> None:
    for kind, found in table["held_out"].items():
        said = " · ".join(
            f"{name} {found[name]:.3f}"
            for name in ("accuracy", "precision", "recall")
            if found[name] is not None
        )
        log.say(f"{kind} on {found['texts']} held-out texts: {said}")
    rates = table["documents_per_cpu_second"]
    if rates:
        log.say(
            f"cascade decides as SetFit on {table['agreement']['cascade']:.2%} of {table['documents']:,} documents, "
            f"asking it about {table['asked']:.1%}, at {rates['cascade'] / rates['setfit']:.1f} times its speed "
            f"({rates['cascade']:,.0f} against {rates['setfit']:,.0f} documents per CPU-second)"
        )
