"""Trains the filter: SetFit on the labels, the student on SetFit's scores of the run's own
documents, then the band.

The run's documents are drawn by hash: half of them teach the student, a quarter chooses the
doubtful band, and the last quarter measures agreement and speed on text that nothing was chosen on.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from ..config import Classifier
from ..data.documents.table import read_documents
from ..data.split import limit_threshold, mixed
from ..errors import UserError
from ..files import sha256_file
from ..log import Log
from .base import base_folder, base_name
from .cascade import EVERYTHING, Filter, choose_band
from .contrastive import tune
from .folder import FilterMeta, LogisticHead, logistic, write_folder
from .labels import Labels, read_labels
from .measure import log_record, measure_filters, quality
from .records import FilterQuality, FilterRecord
from .sentence import SentenceModel
from .student import Student, fit_head, principal

__all__ = ["drawn", "logistic_head", "train_filter"]

DOCUMENTS = 3072  # of the run, that SetFit scores to teach and to measure the student
DOCUMENTS_AT_ONCE = 256
CHARACTERS_PER_TOKEN = 16  # of a text, more than this for each token it may have is not read
# C of the logistic head: vectors have length 1, and weaker regularisation lets scores use the range
SHARPNESS = 10.0

Tensors = Mapping[str, np.ndarray]


def train_filter(
    documents: Path, classifier: Classifier, seed: int, folder: Path, log: Log
) -> FilterRecord:
    """Trains, measures and writes the filter into ``folder``; gives the numbers for
    setfit_train.json.
    """
    base, labels = base_folder(classifier), read_labels(classifier.labels)
    training, held_out = labels.split(classifier.held_out, seed)
    copies = f" ({labels.copies} copies left out)" if labels.copies else ""
    log.say(
        f"{len(training)} labelled texts to train on, {len(held_out)} to measure{copies}, base "
        f"{base_name(classifier)}"
    )

    # SetFit: the base model with a head alone is what tuning has to beat.
    frozen = _frozen(base, training, held_out, classifier)
    with log.progress(classifier.steps, "steps") as bar:
        sentence = tune(base, training, classifier, seed, bar.update)
    head = logistic_head(sentence.encode(training.texts), training.academic)

    # The student, from SetFit's logits of the run's documents and of the labelled texts.
    texts = drawn(documents, classifier.max_tokens, "classifier", seed, DOCUMENTS)
    log.say(f"{len(texts):,} documents of the run teach and measure the student")
    logits = _logits(sentence, head, texts, log)
    half, three_quarters = len(texts) // 2, 3 * len(texts) // 4
    student, student_tensors = _teach(
        sentence, head, training, texts[:half], logits[:half], classifier.max_tokens
    )

    # The band, on documents that the student hasn't seen.
    unseen = slice(half, three_quarters)
    low, high = _doubtful_band(student, texts[unseen], logits[unseen], classifier, log)

    meta = FilterMeta(
        classifier.threshold,
        low,
        high,
        classifier.max_tokens,
        base_name(classifier),
        sha256_file(base / "model.safetensors"),
    )
    head_tensors = {"weight": head.weight, "bias": np.array([head.bias], np.float32)}
    write_folder(
        folder,
        lambda path: sentence.body.save(path, create_model_card=False),
        {"static.safetensors": student_tensors, "head.safetensors": head_tensors},
        meta,
    )

    filters = {
        "setfit": Filter("setfit", meta, None, sentence, head),
        "static": Filter("static", meta, student, None, head),
        "cascade": Filter("cascade", meta, student, sentence, head),
    }
    record = measure_filters(filters, frozen, labels, held_out, texts[three_quarters:])
    log_record(record, log)
    return record


def logistic_head(vectors: np.ndarray, academic: np.ndarray) -> LogisticHead:
    """A logistic regression from ``vectors`` [n, width] to the class, both classes counting
    alike.
    """
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=SHARPNESS, class_weight="balanced", max_iter=1000)
    fitted = regression.fit(vectors, academic)
    return LogisticHead(fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0]))


def _frozen(
    base: Path, training: Labels, held_out: Labels, classifier: Classifier
) -> FilterQuality:
    """What the base model does with a head alone."""
    model = SentenceModel.load(base, classifier.max_tokens)
    head = logistic_head(model.encode(training.texts), training.academic)
    scores = head.score(model.encode(held_out.texts))
    return quality(scores, held_out.academic, classifier.threshold)


def _doubtful_band(
    student: Student, texts: list[str], logits: np.ndarray, classifier: Classifier, log: Log
) -> tuple[float, float]:
    """The student's scores between which the cascade has SetFit decide, chosen on ``texts`` and
    SetFit's ``logits`` of them, float32 [n].
    """
    keep = logistic(logits) >= classifier.threshold
    band = choose_band(student.score(texts), keep, classifier.agreement, classifier.threshold)
    if band == EVERYTHING:
        log.warn(
            f"{len(texts)} documents are too few to choose a doubtful band: the cascade always "
            "runs SetFit"
        )
    return band


def drawn(documents: Path, max_tokens: int, purpose: str, seed: int, count: int) -> list[str]:
    """The beginnings of ``count`` documents drawn by hash for ``purpose``, in the order of their
    hashes.
    """
    # A first pass over the ids alone finds the hash up to which there are enough.
    ids = [np.asarray(batch.column("id")) for batch in read_documents(documents, ["id"])]
    if not ids:
        raise UserError(f"{documents}: no documents; the sources gave none")
    limit, _ = limit_threshold(mixed(np.concatenate(ids), seed, purpose), count)

    chosen: list[tuple[int, str]] = []
    most = max_tokens * CHARACTERS_PER_TOKEN
    for group in range(len(ids)):
        order = mixed(ids[group], seed, purpose)
        places = np.flatnonzero(order <= np.uint64(min(limit, 2**64 - 1)))
        if places.size:
            (batch,) = read_documents(documents, ["text"], [group])
            heads = pc.utf8_slice_codeunits(batch.column("text").take(places), 0, most)
            chosen += zip(order[places].tolist(), heads.to_pylist(), strict=True)
    return [text for _, text in sorted(chosen)[:count]]


def _logits(sentence: SentenceModel, head: LogisticHead, texts: list[str], log: Log) -> np.ndarray:
    """SetFit's logits of ``texts``: float32 [n]."""
    logits = []
    with log.progress(len(texts), "documents") as bar:
        for first in range(0, len(texts), DOCUMENTS_AT_ONCE):
            part = texts[first : first + DOCUMENTS_AT_ONCE]
            logits.append(head.logits(sentence.encode(part)))
            bar.update(first + len(part))
    return np.concatenate(logits)


def _teach(
    sentence: SentenceModel,
    head: LogisticHead,
    training: Labels,
    texts: list[str],
    logits: np.ndarray,
    max_tokens: int,
) -> tuple[Student, Tensors]:
    """The student, and the arrays it is saved as; the labelled texts teach it too."""
    tokenizer = sentence.pieces_of_words()
    vectors = principal(sentence.piece_vectors())
    labelled = head.logits(sentence.encode(training.texts))
    fitted = fit_head(
        vectors,
        tokenizer,
        [*texts, *training.texts],
        np.concatenate([logits, labelled]),
        max_tokens,
    )

    tensors = {
        "vectors": vectors,
        "weight": fitted.weight,
        "bias": np.array([fitted.bias], np.float32),
    }
    numbers = vectors.astype(np.float32) @ fitted.weight
    return Student(tokenizer, numbers, fitted.bias, max_tokens), tensors
