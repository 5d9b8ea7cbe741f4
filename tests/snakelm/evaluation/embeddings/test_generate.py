"""documents.parquet: what is in it is what the model says, whatever the documents, and a kill
changes no byte.
"""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from snakelm.errors import UserError
from snakelm.evaluation.embeddings import generate as module
from snakelm.evaluation.embeddings import table
from snakelm.evaluation.embeddings.selection import select_documents
from snakelm.evaluation.embeddings.table import EXCERPT, read_vectors
from snakelm.model import load_model


def test_each_row_says_what_the_document_is(run):
    assert run.generate(documents=None) == {"by": "model", "documents": 206, "width": 32}
    rows = pq.read_table(run.files.output)
    assert rows.schema == table.documents_schema(32)
    assert rows["tokens"].to_pylist() == [len(run.tokenizer.encode_ordinary(t)) for t in run.texts]
    assert rows["bytes"].to_pylist() == [len(t.encode()) for t in run.texts]
    assert np.flatnonzero(rows["held_out"].to_numpy()).tolist() == list(range(20))
    assert rows["score"].null_count == 206
    assert max(map(len, rows["excerpt"].to_pylist())) == EXCERPT
    assert rows["excerpt"][3].as_py() == "x" * 119 + "…"
    assert rows["origin_row"].to_pylist() == list(range(206))


def test_vectors_and_losses_are_those_of_the_model_alone_with_the_document(run):
    run.generate(documents=None)
    vectors, columns = read_vectors(run.files.output)
    model, _ = load_model(run.files.model)
    lengths = run.tokenizer.token_lengths
    for i in (0, 1, 2, 3, 4, 5, 100):
        tokens = [run.tokenizer.eot, *run.tokenizer.encode_ordinary(run.texts[i])][
            : model.shape.context
        ]
        with torch.no_grad():
            hidden = model.hidden(torch.tensor([tokens]))[0]
            logits = model(torch.tensor([tokens]))[0]
        nll = torch.nn.functional.cross_entropy(
            logits[:-1], torch.tensor(tokens[1:]), reduction="sum"
        ).item()
        bits = nll / math.log(2) / lengths[tokens[1:]].sum()
        assert columns["loss"][i].as_py() == pytest.approx(bits, rel=1e-5), run.texts[i][:20]
        np.testing.assert_allclose(vectors[i].astype(np.float32), hidden[1:].mean(0), atol=2e-3)


def test_which_documents_depends_on_their_text_alone(run):
    chosen = select_documents(run.files.documents, 50, 1337)
    assert len(chosen) == 50 == len(set(chosen.ids.tolist()))
    assert set(select_documents(run.files.documents, 20, 1337).ids.tolist()) < set(
        chosen.ids.tolist()
    )
    assert set(select_documents(run.files.documents, 50, 7).ids.tolist()) != set(
        chosen.ids.tolist()
    )
    assert (
        len(select_documents(run.files.documents, 5000, 1337))
        == len(select_documents(run.files.documents, None, 1337))
        == 206
    )


def test_a_limit_is_kept_where_documents_are_equal(make_documents, tmp_path):
    make_documents(tmp_path / "d.parquet", ["the same"] * 120)
    chosen = select_documents(tmp_path / "d.parquet", 70, 1)
    assert [rows.size for _, rows in chosen.groups()] == [50, 20]


def test_a_killed_run_continues_and_ends_with_the_same_bytes(run, monkeypatch):
    run.generate(documents=150)
    uninterrupted = run.files.output.read_bytes()
    run.files.output.unlink()
    made, real = [], table._rows

    def dies(batch, *more):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(batch.num_rows)
        return real(batch, *more)

    monkeypatch.setattr(table, "_rows", dies)
    with pytest.raises(KeyboardInterrupt):
        run.generate(documents=150)
    assert not run.files.output.exists()
    monkeypatch.setattr(
        table, "_rows", lambda batch, *more: made.append(batch.num_rows) or real(batch, *more)
    )
    run.generate(documents=150)
    assert sum(made) == 150, "no group is read twice"
    assert run.files.output.read_bytes() == uninterrupted
    assert [p.name for p in run.files.output.parent.iterdir()] == ["documents.parquet"]


def test_parts_of_other_settings_are_not_used(run, monkeypatch):
    monkeypatch.setattr(table, "_join", lambda *more: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.generate(documents=150)
    (left,) = (run.files.output.parent / ".parts").iterdir()
    with pytest.raises(KeyboardInterrupt):
        run.generate(documents=100)
    (other,) = (run.files.output.parent / ".parts").iterdir()
    assert left.name != other.name


def test_a_run_that_continues_keeps_its_threads(run, monkeypatch):
    began_with = []
    monkeypatch.setattr(
        module, "choose_threads", lambda most, began, *more: began_with.append(began) or 1
    )
    monkeypatch.setattr(table, "_join", lambda *more: (_ for _ in ()).throw(KeyboardInterrupt))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run.generate(documents=10)
    assert began_with == [None, 1]


def test_scores_are_found_by_id(run):
    ids = select_documents(run.files.documents, None, 0).ids
    known = ids[::2]
    scores = run.folder / "scores.parquet"
    pq.write_table(
        pa.table({"id": known[::-1], "score": np.arange(known.size, dtype=np.float32)[::-1]}),
        scores,
    )
    run.files = dataclasses.replace(run.files, scores=scores)
    run.generate(documents=None)
    scores = pq.read_table(run.files.output)["score"].to_pylist()
    assert scores[::2] == list(range(known.size))
    assert set(scores[1::2]) == {None}


@pytest.mark.parametrize(
    ("held_out_too", "says"), [(False, "made with tokenizer"), (True, "trained with tokenizer")]
)
def test_another_tokenizer_is_refused(held_out_too, says, run):
    other = run.retokenized()
    if held_out_too:
        run.hold_out(other)
    with pytest.raises(UserError, match=says):
        run.generate()
    assert not run.files.output.exists()


def test_a_model_that_diverged_is_refused_in_a_sentence(run):
    record = torch.load(run.files.model, weights_only=True)
    record["weights"]["norm"][:] = math.nan
    torch.save(record, run.files.model)
    with pytest.raises(UserError, match="NaN or infinite"):
        run.generate(documents=10)
    assert not run.files.output.exists()


def test_the_sentence_model_makes_the_vectors_and_ours_the_losses(run, tiny_base):
    run.generate(documents=30)
    ours = pq.read_table(run.files.output)
    run.files = dataclasses.replace(run.files, output=run.folder / "sentence/documents.parquet")
    from snakelm.config import from_mapping
    from snakelm.log import Log

    values = {
        "embeddings": {"by": "sentence", "documents": 30},
        "classifier": {"base": str(tiny_base)},
    }
    config = from_mapping({**values, "train": {"device": "cpu", "precision": "fp32"}})
    with Log("test", quiet=True) as log:
        assert module.generate(config, run.files, 1, log)["by"] == "sentence"
    theirs = pq.read_table(run.files.output)
    assert theirs.drop_columns(["vector"]).equals(ours.drop_columns(["vector"]))
    lengths = np.linalg.norm(read_vectors(run.files.output)[0].astype(float), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-2)
