"""The check of a run's memory from its files: documents by a list of hashes, controls from val.bin,
its models and an earlier one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Config
from ..data.bins import open_bin
from ..data.documents.forget import named_documents
from ..data.documents.forget_list import read_hashes
from ..data.split import is_validation, mixed
from ..data.tokens.overlap import read_shares
from ..errors import UserError
from ..log import Log
from ..model import load_model
from ..model.huggingface import from_huggingface
from ..tokenizer import Tokenizer
from ..tokenizer.of_base import tokenizer_of_base
from ..user_paths import home
from .memorisation import MOST_CONTROLS_ASKED, Checked, check_context, measure_memory
from .memorisation_record import AskedDocument, MemorisationRecord
from .trained_model import device_for, open_model

__all__ = ["MemorisationFiles", "check_memorisation"]

NAMES = {
    "final_model": "pretrained",
    "sft_model": "tuned",
    "preference_model": "with preferences",
}


@dataclass(frozen=True)
class MemorisationFiles:
    """What the check reads."""

    models: Sequence[Path]
    tokenizer: Path
    processed: Path
    sampled: Sequence[Path]
    lists: Sequence[Path]


def check_memorisation(
    config: Config, files: MemorisationFiles, most_threads: int | None, log: Log
) -> MemorisationRecord:
    """Measures every model; UserError for a list that names no document there is, an earlier model
    that can't be read, or models that look back too little.
    """
    rules, seed = config.memorisation, config.seed
    hashes = read_hashes(files.lists, "memorisation.documents")
    named = named_documents(files.sampled, hashes, log)
    hashes.check("memorisation.documents", "document", config.forget.missing, log.warn)
    if not named:
        raise UserError("memorisation.documents: none of them is there; nothing to check")

    ids = np.array(list(named), np.uint64)
    tokenizer = Tokenizer.load(files.tokenizer)
    trained, held_out = _sides(ids, config, files.processed, tokenizer)
    if held_out.all():
        raise UserError(
            f"memorisation.documents: all {ids.size:,} are held out (prepare.val_fraction), so no "
            "model was trained on them; name others"
        )
    texts = [one["text"] for one in named.values()]
    controls = _controls(config, files.processed, tokenizer)
    log.say(
        f"{ids.size:,} documents, {int(held_out.sum()):,} of them held out; among "
        f"{len(controls):,} held-out documents"
    )
    if elsewhere := int((~trained & ~held_out).sum()):
        log.say(
            f"{elsewhere:,} of them are not in train.bin as they are: forgotten, dropped or "
            "changed before it was made; this run's own models never read them so"
        )

    device = device_for(config.train.device, most_threads, log)
    checked = list(_models(config, files, tokenizer, str(device)))
    for one in checked:
        check_context(one, rules)
    return MemorisationRecord(
        prefix=rules.prefix,
        continuation=rules.continuation,
        near=rules.near,
        controls=len(controls),
        control_continuations=min(len(texts), len(controls), MOST_CONTROLS_ASKED),
        documents=[
            AskedDocument(
                id=f"{number:016x}",
                source=one["source"],
                file=one["origin_file"],
                row=one["origin_row"],
                bytes=len(one["text"].encode()),
                held_out=bool(out),
                trained=bool(read),
            )
            for (number, one), out, read in zip(named.items(), held_out, trained, strict=True)
        ],
        models=[
            measure_memory(one, texts, ~held_out, controls, rules, seed, log) for one in checked
        ],
    )


def _sides(
    ids: np.ndarray, config: Config, processed: Path, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray]:
    """(which documents are in train.bin, which are held out), bool [n], as the token files have
    them. What is in neither, because it was forgotten, counts as held out where its hash says so:
    an earlier run had it on that side.
    """
    train, val = (
        np.isin(ids, open_bin(processed / f"{split}.bin", tokenizer.sha256).document_ids)
        for split in ("train", "val")
    )
    plain = is_validation(ids, config.prepare.val_fraction, config.seed)
    return train, val | (plain & ~train)


def _models(
    config: Config, files: MemorisationFiles, tokenizer: Tokenizer, device: str
) -> Iterator[Checked]:
    """The earlier model, where there is one, and the run's own."""
    if config.memorisation.before:
        path = home(config.memorisation.before)
        own = tokenizer_of_base(path).tokenizer
        model = from_huggingface(path) if path.is_dir() else load_model(path)[0]
        yield Checked("before", model.to(device).eval(), own)
    for file in files.models:
        model, _ = open_model(file, tokenizer, device)
        yield Checked(NAMES.get(file.stem, file.stem), model.eval(), tokenizer)


def _controls(config: Config, processed: Path, tokenizer: Tokenizer) -> list[str]:
    """Held-out texts, chosen by hash; those that hardly repeat training text, if there are any."""
    val = open_bin(processed / "val.bin", tokenizer.sha256)
    shares = read_shares(processed / "val_overlap.npy", val)
    clean = np.flatnonzero(shares < config.evaluate.clean_share)
    candidates = clean if clean.size else np.arange(val.meta.documents)

    order = np.argsort(mixed(val.document_ids[candidates], config.seed, "controls"), kind="stable")
    chosen = candidates[order[: config.memorisation.controls]].tolist()
    return [text for i in chosen if (text := tokenizer.decode(val.document(i)[1:]))]
