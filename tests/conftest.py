"""Order over the cores: what takes longest begins first, so that no core waits at the end.

And a sentence model small enough to make in a second, for all tests of the filter's plumbing. The
browser's fixtures are in tests/browser.py.
"""

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from snakelm.data.documents.table import SCHEMA, DocumentWriter
from snakelm.data.split import document_id

pytest_plugins = ["tests.browser"]

# Programs that tests start inherit what is ignored, and under nohup that would be SIGHUP.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]

FIRST = ("tests/workflow/", "tests/scripts/training/")
ACADEMIC = re.findall(
    r"\w+",
    "theorem proof cohort estimate regression protein spectroscopy hypothesis lemma sample kernel "
    "asymptotic",
)
OTHER = re.findall(
    r"\w+",
    "recipe butter football horoscope discount camper puppy weekend soup cheap lovely neighbour",
)
PLAIN = re.findall(r"\S+", "the a of and in we is with for new our on it at . ,")


def pytest_collection_modifyitems(items):
    """The whole-workflow tests, then the trainer's, then all others as they were."""
    items.sort(
        key=lambda item: next(
            (i for i, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)
        )
    )


def _sentences(words, count):
    """Different sentences of ``words`` among plain ones, the same each time."""
    some = []
    for i in range(count):
        some.append(
            " ".join(
                words[(i * 7 + j * j) % 12] if j % 2 else PLAIN[(i + j * 3) % 14]
                for j in range(9 + i % 5)
            )
        )
    return [
        f"{text} {words[i % 12]} {words[(i // 12 + 1) % 12]} {i}" for i, text in enumerate(some)
    ]


@pytest.fixture(scope="session")
def sentences_of():
    """`sentences_of("academic" | "other", count)`: texts that one word decides."""
    return lambda kind, count: _sentences(ACADEMIC if kind == "academic" else OTHER, count)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """The folder of a random sentence-transformers model: 2 layers of width 32, a vocabulary of
    whole words.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        pytest.importorskip(
            "sentence_transformers", reason="requirements-filter.txt is not installed"
        )
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer
        from transformers import BertConfig, BertModel, BertTokenizerFast

        folder = tmp_path_factory.mktemp("base")
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        pieces = [
            *special,
            *ACADEMIC,
            *OTHER,
            *PLAIN,
            *"0123456789",
            *(f"##{d}" for d in "0123456789"),
        ]
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
        torch.manual_seed(0)
        shape = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        }
        config = BertConfig(vocab_size=len(pieces), max_position_embeddings=64, **shape)
        BertModel(config).save_pretrained(folder / "network")
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "network")
        network = Transformer(str(folder / "network"), max_seq_length=48)
        model = SentenceTransformer(modules=[network, Pooling(32), Normalize()], device="cpu")
        model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="session")
def labels_file(tmp_path_factory, sentences_of):
    """A file of 16 labelled texts a class."""
    rows = [
        {"text": t, "label": kind} for kind in ("academic", "other") for t in sentences_of(kind, 16)
    ]
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass(frozen=True)
class TinyFilter:
    """A filter trained on the tiny base, and what it was trained with."""

    config: Path
    documents: Path
    model: Path
    table: Path
    said: str


@pytest.fixture(scope="session")
def documents_file(tmp_path_factory, sentences_of):
    """2,400 documents in several row groups; the source `journal` is academic, `market` isn't."""
    path = tmp_path_factory.mktemp("documents") / "documents.parquet"
    found = {kind: sentences_of(kind, 1300) for kind in ("academic", "other")}
    with DocumentWriter(path) as writer:
        for first in range(0, 1200, 100):
            rows = []
            for i in range(first, first + 100):
                for kind, source in (("academic", "journal"), ("other", "market")):
                    text = (
                        " ".join(found[kind][(i * 13 + j * 29) % 1300] for j in range(24)) + f" {i}"
                    )
                    rows.append(
                        (text, source, int(document_id(text.encode())), f"{source}.parquet", i)
                    )
            writer.append(
                pa.record_batch([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)
            )
    return path


@pytest.fixture(scope="session")
def tiny_filter(tmp_path_factory, tiny_base, labels_file, documents_file):
    """`setfit_train` as a user runs it, once for all tests."""
    folder = tmp_path_factory.mktemp("filter")
    rules = {
        "labels": str(labels_file),
        "base": str(tiny_base),
        "steps": 12,
        "batch": 8,
        "lr": 0.003,
        "max_tokens": 48,
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"filter": "cascade", "classifier": rules}))
    model, table = folder / "academic_filter", folder / "setfit_train.json"
    command = [
        sys.executable,
        "scripts/training/setfit_train.py",
        "--config",
        config,
        "--documents",
        documents_file,
    ]
    done = subprocess.run(
        [*map(str, command), "--output", str(model), "--table", str(table)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return TinyFilter(config, documents_file, model, table, done.stderr)
