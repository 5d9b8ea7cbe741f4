"""A small model with weights that matter, and a results folder with all that loss and evaluate
read.

The same content each time.
"""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from snakelm.config import Model
from snakelm.data.bins import BinWriter, Meta
from snakelm.data.conversations.chat_template import render_batch
from snakelm.data.documents.table import SCHEMA, DocumentWriter
from snakelm.data.packs import PackWriter, best_fit
from snakelm.data.split import document_id
from snakelm.files import sha256_file
from snakelm.model import Decoder, save_model
from snakelm.tokenizer import CHAT, EOT, Tokenizer, train_bpe
from snakelm.tokenizer.special import END
from snakelm.workflow.manifest import manifest_path

CONTEXT = 64
SHAPE = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=CONTEXT)
WORDS = re.findall(
    r"\w+",
    "the function returns a list of naïve values or raises 中文 an error when there is none of "
    "them",
)


def sentence(i: int, words: int) -> str:
    """Text ``i``, the same each time."""
    chance = np.random.default_rng([7, i])
    return " ".join(chance.choice(WORDS, words)) + f" {i}."


def make_tokenizer() -> Tokenizer:
    """Bytes, a few merges, the special tokens."""
    return train_bpe(
        [sentence(i, 12) for i in range(300)], 300, "cl100k", special_tokens=(EOT, *CHAT)
    )


def build_model(tokenizer: Tokenizer, seed: int = 1) -> Decoder:
    """Random, but sure of itself, so that nothing is decided by the last digit."""
    model = Decoder(SHAPE, tokenizer.vocab_size).initialize(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            if p.ndim == 2:
                p.normal_(0, 0.4, generator=torch.Generator().manual_seed(100 * seed + i))
        model.head[[tokenizer.special_tokens[name] for name in CHAT if name != END]] = (
            0.0  # as trained: never said
        )
    return model.eval()


def write_bin(path: Path, texts, tokenizer: Tokenizer) -> Path:
    """A token file of documents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256)
    with BinWriter(path, meta) as writer:
        for text in texts:
            ids = np.array([tokenizer.eot, *tokenizer.encode_ordinary(text)])
            size = len(text.encode())
            writer.append(ids, np.array([ids.size]), np.array([document_id(text.encode())]), size)
    return path


def write_packs(path: Path, said, tokenizer: Tokenizer) -> None:
    """Questions and answers, packed."""
    talks = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in said]
    ids, mask, starts = render_batch(talks, tokenizer)
    order, bounds = best_fit(np.diff(starts), CONTEXT)
    with PackWriter(
        path, Meta("uint16", tokenizer.vocab_size, tokenizer.eot, tokenizer.sha256), CONTEXT, bounds
    ) as writer:
        for i in order:
            own = slice(starts[i], starts[i + 1])
            writer.append_masked(
                ids[own], mask[own], np.diff(starts[i : i + 2]), np.array([i], np.uint64), 1
            )


def make_results(folder: Path, tokenizer: Tokenizer) -> Path:
    """A results folder: base and tuned model, token files, packs, documents of two sources,
    metrics.
    """
    tokenizer.save(folder / "tokenizer")
    val = [sentence(i, 6 + 5 * (i % 17)) for i in range(40)]
    write_bin(folder / "data/processed/val.bin", val, tokenizer)
    train = [sentence(i, 10 + i % 30) for i in range(100, 300)]
    write_bin(folder / "data/processed/train.bin", train, tokenizer)
    np.save(
        folder / "data/processed/val_overlap.npy", np.linspace(0, 0.5, len(val)).astype(np.float32)
    )
    said = [(f"What is {i}?", f"It is {i}.") for i in range(30)]
    write_packs(folder / "data/processed/val_sft_packed.bin", said, tokenizer)
    rows = [
        (text, "odd" if i % 2 else "even", document_id(text.encode()), f"{i % 3}.txt", i)
        for i, text in enumerate(val)
    ]
    with DocumentWriter(folder / "data/deduplicated/documents.parquet") as writer:
        writer.append(
            pa.record_batch([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)
        )
    for name, seed, chat in (("final_model", 1, False), ("sft_model", 2, True)):
        made = build_model(tokenizer, seed)
        identity = {
            "tokenizer_sha256": tokenizer.sha256,
            "step": 30,
            "fingerprint": "0" * 16,
            "chat": chat,
        }
        save_model(folder / f"{name}.pt", made, **identity)
    trained = {"train": {"batch_tokens": 128, "warmup": 2, "eval_tokens": None}}
    artefact = {"sha256": sha256_file(folder / "final_model.pt"), "bytes": -1}
    record = {"manifest": 1, "seed": 3, "config": trained, "artefact": artefact}
    manifest_path(folder / "final_model.pt").write_text(json.dumps(record))
    lines = [
        f"{s},{128 * s},{s / 100},{3 + 9 * s**-0.5},{2 + 5 * s**-0.5 if s % 2 == 0 else ''}"
        for s in range(1, 31)
    ]
    (folder / "logs").mkdir()
    (folder / "logs/training_metrics.csv").write_text(
        "step,tokens,epoch,loss,val_bpb\n" + "\n".join(lines) + "\n"
    )
    (folder / "config.yaml").write_text("seed: 3\n")
    return folder
