"""What a model has by heart is found, what it doesn't isn't; an earlier model stands beside it; no
text of a document is written.
"""

import csv
import functools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snakelm.analysis.tables.memorisation import verdict, write_by_document, write_memorisation
from snakelm.config import Memorisation, from_mapping
from snakelm.data.bins import BinWriter, open_bin
from snakelm.data.documents.forget_list import text_hash
from snakelm.data.documents.table import SCHEMA, DocumentWriter
from snakelm.data.split import document_id, is_validation
from snakelm.errors import UserError
from snakelm.evaluation.memorisation import Checked, measure_memory
from snakelm.evaluation.memorisation_files import MemorisationFiles, check_memorisation
from snakelm.evaluation.memorisation_record import read_memorisation
from snakelm.evaluation.similarity import edit_distance, similarity
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.model import save_model
from snakelm.model.export import export
from tests.snakelm.evaluation import made

RULES = {"prefix": 12, "continuation": 12, "places": 2}
DOCUMENTS = [made.sentence(i, 16) for i in range(1000, 1006)]
CONTROLS = [made.sentence(i, 16) for i in range(2000, 2031)]
TRAINED_ON = np.ones(len(DOCUMENTS), bool)


@functools.cache
def drilled():
    """A model that has seen DOCUMENTS and nothing else, again and again."""
    tokenizer = made.make_tokenizer()
    model = made.build_model(tokenizer, 3)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.1 if p.ndim == 2 else 1.0)
    ids = [tokenizer.encode_ordinary(text) for text in DOCUMENTS]
    asked = RULES["prefix"] + RULES["continuation"]
    rows = [[tokenizer.eot, *one][: made.CONTEXT] for one in ids] + [one[-asked:] for one in ids]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.eot] * (longest - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    for _ in range(80):
        logits = model.hidden(ids[:, :-1]) @ model.head_weight.T
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


def measure(model, tokenizer, folder, documents=DOCUMENTS, **rules):
    with Log("memorisation", folder / "log", quiet=True) as log:
        checked = Checked("pretrained", model, tokenizer)
        wanted = Memorisation(**RULES | rules)
        trained = np.ones(len(documents), bool)
        return measure_memory(checked, documents, trained, CONTROLS, wanted, 1, log)


def test_what_was_drilled_is_said_and_exposed_and_what_was_not_is_not(tmp_path):
    found = measure(*drilled(), tmp_path)
    assert [one.exact for one in found.documents] == [one.places for one in found.documents]
    assert found.exact.value == found.similarity.value == 1.0
    assert found.reproduced == len(DOCUMENTS)
    assert found.control_exact.value == 0.0
    assert found.bits_per_byte.value < 0.5 < found.control_bits_per_byte
    # All six are likelier than each of 31 controls.
    assert [one.exposure for one in found.documents] == [5.0] * len(DOCUMENTS)


def test_a_model_that_never_saw_them_has_nothing(model, tokenizer, tmp_path):
    found = measure(model, tokenizer, tmp_path)
    assert found.exact.value == found.near.value == 0.0
    assert found.exposure.value < 4


def test_a_changed_ending_is_near_and_not_exact(tmp_path):
    """The model goes on with the word that it knows."""
    changed = [text.rsplit(" ", 1)[0] + " 9." for text in DOCUMENTS]
    found = measure(*drilled(), tmp_path, documents=changed, near=0.5)
    assert found.exact.value < 1.0
    assert found.near.value > found.exact.value
    assert found.near.value == 1.0


def test_a_document_that_is_too_short_has_an_exposure_and_nothing_else(tmp_path):
    found = measure(*drilled(), tmp_path, documents=["the list", *DOCUMENTS])
    assert found.documents[0].exact is None
    assert found.documents[0].places == 0
    assert found.exact.value == 1.0


def test_more_tokens_than_a_model_looks_back_on_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"prefix 60 and continuation 12 are 72 tokens, .* on 64"):
        measure(*drilled(), tmp_path, prefix=60)


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_edit_distance_is_levenshteins(a, b):
    @functools.cache
    def slow(i, j):
        if not (i and j):
            return i + j
        replaced = slow(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(slow(i - 1, j) + 1, slow(i, j - 1) + 1, replaced)

    assert edit_distance(a, b) == slow(len(a), len(b))
    assert 0 <= similarity(a, b) <= 1
    assert (similarity(a, b) == 1) == (a == b)


@pytest.fixture
def run(results, tmp_path):
    """A results folder whose final model was drilled, an exported model that was not, and lists."""
    model, tokenizer = drilled()
    identity = {"tokenizer_sha256": tokenizer.sha256, "step": 1, "fingerprint": "0" * 16}
    export(results / "final_model.pt", tokenizer, tmp_path / "before", "")
    save_model(results / "final_model.pt", model, **identity, chat=False)
    rows = [
        (text, "own", document_id(text.encode()), "a.txt", i) for i, text in enumerate(DOCUMENTS)
    ]
    with DocumentWriter(results / "data/sampled/own.parquet") as writer:
        writer.append(pa.record_batch([list(c) for c in zip(*rows, strict=True)], schema=SCHEMA))
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(text_hash(text.encode()) for text in DOCUMENTS))
    return results, listed


def check(run, tmp_path, **more):
    results, listed = run
    files = MemorisationFiles(
        [results / "final_model.pt"],
        results / "tokenizer",
        results / "data/processed",
        [results / "data/sampled/own.parquet"],
        [listed],
    )
    config = from_mapping(
        {"memorisation": RULES | {"before": str(tmp_path / "before")}, "prepare": {}} | more
    )
    with Log("memorisation", tmp_path / "log", quiet=True) as log:
        return check_memorisation(config, files, 1, log)


def test_an_earlier_model_stands_beside_the_runs_own(run, tmp_path):
    record = check(run, tmp_path)
    assert [one.name for one in record.models] == ["before", "pretrained"]
    before, after = record.models
    assert (before.exact.value, after.exact.value) == (0.0, 1.0)
    assert record.documents[2].row == 2

    write_json(tmp_path / "m.json", record.as_json())
    assert read_memorisation(tmp_path / "m.json") == record
    write_memorisation(record, tmp_path / "m.html")
    write_by_document(record, tmp_path / "m.csv")
    rows = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert [row["exact"] for row in rows] == ["0"] * 6 + ["2"] * 6
    written = "".join((tmp_path / f"m.{kind}").read_text() for kind in ("json", "html", "csv"))
    assert not any(text[:20] in written for text in DOCUMENTS)
    assert "pretrained: 100.0% of continuations word for word" in list(verdict(record))[1]


def test_held_out_documents_are_shown_and_left_out_of_the_sums(run, tmp_path):
    fraction = 0.5
    ids = np.array([document_id(text.encode()) for text in DOCUMENTS], np.uint64)
    held_out = is_validation(ids, fraction, 1337)
    assert 0 < held_out.sum() < ids.size
    record = check(run, tmp_path, prepare={"val_fraction": fraction})
    assert [one.held_out for one in record.documents] == held_out.tolist()
    assert record.models[1].reproduced == (~held_out).sum()


def test_what_the_token_files_hold_says_what_was_held_out(run, tmp_path):
    """Of a tiny corpus one document is held out, whatever the share says of its hash; masked
    documents have other hashes than those that were sampled.
    """
    results, _ = run
    ids = np.array([document_id(text.encode()) for text in DOCUMENTS], np.uint64)
    assert not is_validation(ids, 1e-6, 1337).any()
    for split, own in (("train", ids[:4]), ("val", ids[4:5])):
        rewrite(results / f"data/processed/{split}.bin", own)

    record = check(run, tmp_path, prepare={"val_fraction": 1e-6})
    assert [one.held_out for one in record.documents] == [False] * 4 + [True, False]
    assert [one.trained for one in record.documents] == [True] * 4 + [False] * 2
    assert record.models[1].reproduced == 5
    assert "1 of them are not in train.bin" in (tmp_path / "log").read_text()
    write_memorisation(record, tmp_path / "m.html")
    assert (tmp_path / "m.html").read_text().count("<td>not trained on</td>") == 1


def rewrite(path, ids):
    """The token file with ``ids`` for those of its first documents."""
    old = open_bin(path)
    with BinWriter(path, replace(old.meta, tokens=0, documents=0)) as writer:
        lengths = np.diff(old.document_offsets)
        names = np.concatenate([ids, old.document_ids[len(ids) :]])
        writer.append(old.tokens[:].copy(), lengths, names, 0)


def test_a_list_of_documents_that_are_not_there_is_refused(run, tmp_path):
    run[1].write_text("0" * 64)
    with pytest.raises(UserError, match=r"memorisation\.documents: 1 of 1 lines name no document"):
        check(run, tmp_path)
    with pytest.raises(UserError, match="none of them is there"):
        check(run, tmp_path, forget={"missing": "warn"})
