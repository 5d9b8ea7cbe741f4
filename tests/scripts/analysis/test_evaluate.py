"""loss, evaluate and plot_loss as the rules run them: with and without tuning, and with what
doesn't fit together.
"""

import dataclasses
import json
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from scripts.analysis.evaluate import main as evaluate
from scripts.analysis.loss import main as loss
from scripts.analysis.plot_loss import main as plot_loss
from snakelm.data.bins import open_bin
from snakelm.data.packs import open_packs
from snakelm.evaluation import heldout_loss as library
from snakelm.evaluation.heldout_documents import characters_begun
from snakelm.files import sha256_file
from snakelm.model import Decoder, load_model, save_model
from snakelm.tokenizer import CHAT, EOT, train_bpe
from snakelm.training.chat_rows import as_tuning_begins
from snakelm.training.packed_batches import answer_loss
from snakelm.training.validation import document_losses
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.manifest import manifest_path, read_manifest
from tests.snakelm.evaluation import made


@pytest.fixture
def results(tmp_path):
    return made.make_results(tmp_path / "results", made.make_tokenizer())


def common(folder, tuned):
    models = [
        "--base",
        folder / "final_model.pt",
        *(["--tuned", folder / ("sft_model.pt" if tuned is True else tuned)] if tuned else []),
    ]
    shared = [
        "--processed",
        folder / "data/processed",
        "--tokenizer",
        folder / "tokenizer",
        "--threads",
        "1",
    ]
    return [str(a) for a in ["--config", folder / "config.yaml", *models, *shared]]


def measure(folder, tuned=True):
    more = [
        "--documents",
        folder / "data/deduplicated/documents.parquet",
        "--metrics",
        folder / "logs/training_metrics.csv",
    ]
    out = [
        "--output",
        folder / "tables/loss.json",
        "--per-document",
        folder / "tables/loss_documents.parquet",
    ]
    assert loss([*common(folder, tuned), *map(str, more + out)]) == 0
    return json.loads((folder / "tables/loss.json").read_text())


def evaluate_run(folder, tuned=True, **config):
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 3, **config}))
    out = ["--loss", folder / "tables/loss.json", "--output", folder / "tables/evaluation.json"]
    out += ["--items", folder / "tables/evaluation_items.jsonl"]
    assert evaluate([*common(folder, tuned), *map(str, out)]) == 0
    return json.loads((folder / "tables/evaluation.json").read_text())


def draw(folder, **config):
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 3, **config}))
    tables, figures = folder / "tables", folder / "figures"
    given = [
        "--results",
        folder,
        "--loss",
        tables / "loss.json",
        "--evaluation",
        tables / "evaluation.json",
    ]
    given += ["--figures", figures, "--tables", tables]
    assert plot_loss(["--config", str(folder / "config.yaml"), *map(str, given)]) == 0
    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in (*figures.iterdir(), *tables.glob("*.html"))
    }


def test_loss_tells_documents_sources_and_both_stages(results):
    table = measure(results)
    val = open_bin(results / "data/processed/val.bin")
    model, _ = load_model(results / "final_model.pt")
    nll = document_losses(model, val, np.arange(40))
    rows = pq.read_table(results / "tables/loss_documents.parquet").to_pylist()
    assert [row["id"] for row in rows] == val.document_ids.tolist()
    assert [row["bpb_base"] for row in rows] == pytest.approx(
        (nll / np.log(2) / [r["bytes"] for r in rows]).tolist()
    )
    assert [row["source"] for row in rows] == ["odd" if i % 2 else "even" for i in range(40)]
    assert [row["origin_row"] for row in rows] == list(range(40))
    total_bytes = sum(row["bytes"] for row in rows)
    assert table["stages"]["base"]["all"]["value"] == pytest.approx(
        nll.sum() / np.log(2) / total_bytes, abs=1e-5
    )
    by_source = sum(s["base"]["value"] * s["bytes"] for s in table["sources"].values())
    assert by_source / total_bytes == pytest.approx(
        table["stages"]["base"]["all"]["value"], abs=1e-5
    )
    assert table["change"]["all"]["value"] == pytest.approx(
        table["stages"]["tuned"]["all"]["value"] - table["stages"]["base"]["all"]["value"], abs=2e-6
    )
    rates = [row["bpb_base"] for row in rows if row["bytes"] >= 200]
    assert table["hardest"][0]["bpb_base"] == pytest.approx(max(rates))
    assert table["easiest"][0]["bpb_base"] == pytest.approx(min(rates))
    assert table["reading"]["read"] > 0
    assert table["law"]["held_out"]["power"]["value"] == pytest.approx(0.5, abs=0.01)
    assert {"sha256", "bytes", "path"} <= read_manifest(results / "tables/loss.json")[
        "artefact"
    ].keys()


def test_a_tuned_model_of_another_context_stands_in_no_bins_of_the_base(results):
    """Tuned from one of the user's own (sft.base), it sees more of a document."""
    shape = made.SHAPE.model_copy(update={"context": 2 * made.CONTEXT})
    tuned, record = load_model(results / "sft_model.pt")
    longer = Decoder(shape, tuned.vocab_size)
    longer.load_state_dict(tuned.state_dict())
    identity = {"tokenizer_sha256": record["tokenizer"]["sha256"], "step": 1}
    save_model(results / "sft_model.pt", longer, **identity, fingerprint="0" * 16, chat=True)

    table = measure(results)
    assert "tuned" not in table["by_visible"]
    assert len(table["by_frequency"]["tuned"]) == len(table["by_frequency"]["base"])
    evaluate_run(results)
    assert "tokens before" in draw(results)["tuning_change"]


def test_text_that_a_weight_repeats_is_measured_once(results):
    """Ten documents, eight times each: of copies the interval would be too narrow."""
    texts = [made.sentence(i, 10 + i) for i in range(100, 110)]
    tokenizer = made.make_tokenizer()
    train = results / "data/processed/train.bin"
    made.write_bin(train, texts * 8, tokenizer)
    read = measure(results)["reading"]
    assert read["of"] == 10
    assert 0 < read["documents"] <= read["read"] <= 10


def made_from(folder, model, *inputs):
    """A manifest of ``model`` that says so."""
    read = [{"path": f"x/{one}", "sha256": sha256_file(folder / one)} for one in inputs]
    artefact = {"path": model, "sha256": sha256_file(folder / model), "bytes": 1}
    record = {"manifest": 1, "seed": 3, "config": {}, "artefact": artefact, "inputs": read}
    manifest_path(folder / model).write_text(json.dumps(record))


@pytest.mark.parametrize("preferring", [False, True], ids=["tuned", "preferences"])
@pytest.mark.parametrize("base", ["final_model.pt", "other.pt"], ids=["own", "another"])
def test_tuning_is_held_against_the_model_that_it_began_with_alone(results, base, preferring):
    """With another one (sft.base) the two models differ by more."""
    (results / "other.pt").write_bytes(b"another model")
    last = "preference_model.pt" if preferring else "sft_model.pt"
    if preferring:
        shutil.copy(results / "sft_model.pt", results / last)
        made_from(results, last, "sft_model.pt")
    made_from(results, "sft_model.pt", base)
    own = base == "final_model.pt"
    table = measure(results, tuned=last)
    assert table["stages"].keys() == {"base", "tuned"}
    assert (table["change"] is not None) is own

    evaluate_run(results, tuned=last)
    pages = draw(results)
    for name in ("tuning_change", "loss_documents"):
        assert ("Tuning began with another model" in pages[name]) is not own
        what = "uning and preferences" if preferring else "uning"
        verbs = ("cost", "gain") if preferring else ("costs", "gains")
        claims = (*(f"T{what} {verb}" for verb in verbs), f"After t{what} plain text takes")
        assert any(claim in pages[name] for claim in claims) is own
        assert "Nothing was tuned" not in pages[name]


def test_answers_before_tuning_are_those_that_tuning_begins_with(results):
    measure(results)
    table = json.loads((results / "tables/loss.json").read_text())
    tokenizer = made.make_tokenizer()
    model, _ = load_model(results / "final_model.pt")
    packs = open_packs(results / "data/processed/val_sft_packed.bin", tokenizer.sha256)
    untouched = model.head_weight.detach().clone()

    with as_tuning_begins(model, tokenizer):
        nll, tokens = answer_loss(model, packs, np.arange(len(packs)))
    assert table["stages"]["base"]["answers"]["value"] == pytest.approx(nll / tokens, abs=1e-5)
    assert bool((model.head_weight == untouched).all()), "it is put back"


def test_characters_are_counted_with_the_bytes(results):
    measure(results)
    table = json.loads((results / "tables/loss.json").read_text())
    texts = [made.sentence(i, 6 + 5 * (i % 17)) for i in range(40)]
    assert table["held_out"]["characters"] == sum(map(len, texts))
    assert table["held_out"]["bytes"] == sum(len(text.encode()) for text in texts)
    assert sum(one["characters"] for one in table["sources"].values()) == sum(map(len, texts))


def test_characters_begin_in_tokens_wherever_these_are_cut():
    text = "день и ночь, 日本, 🙂 and day"
    tokenizer = train_bpe([text] * 3, 270)
    ids = tokenizer.encode_ordinary(text)
    assert characters_begun(tokenizer)[ids].sum() == len(text)


def test_tasks_from_files_and_built_in(results):
    measure(results)
    items = [
        {"question": f"the function {i}", "choices": ["a list", "an error"], "answer": i % 2}
        for i in range(9)
    ]
    file = results / "quiz.jsonl"
    file.write_text("".join(json.dumps(i) + "\n" for i in items))
    tasks = [
        {"path": str(file), "limit": 5, "shots": 1},
        {"builtin": "continuation"},
        {"builtin": "answers", "kind": "greedy"},
    ]
    table = evaluate_run(results, tasks=tasks)
    assert {name: task["items"] for name, task in table["tasks"].items()}["quiz"] == 5
    assert table["tasks"]["quiz"]["chance"] == 0.5
    assert table["tasks"]["continuation"]["chance"] == 0.25
    assert table["tasks"]["answers"]["tuned"]["as"] == "conversation"
    assert table["tasks"]["answers"]["base"]["as"] == "text"
    records = [
        json.loads(line)
        for line in (results / "tables/evaluation_items.jsonl").read_text().splitlines()
    ]
    for name, task in table["tasks"].items():
        for stage in ("base", "tuned"):
            mine = [r for r in records if (r["task"], r["model"]) == (name, stage)]
            assert len(mine) == task["items"]
            key = "acc" if task["kind"] == "choice" else "exact"
            assert task[stage][key]["value"] == pytest.approx(
                np.mean([r[key] for r in mine]), abs=1e-6
            )
    assert str(file) in [
        i["path"] for i in read_manifest(results / "tables/evaluation.json")["inputs"]
    ]


def test_a_run_that_tunes_nothing_says_so(results, capfd):
    table = measure(results, tuned=False)
    assert "tuned" not in table["stages"]
    assert table["change"] is None
    assert "nothing was tuned" in capfd.readouterr().err
    evaluation = evaluate_run(results, tuned=False)
    assert "export: base" in evaluation["tasks"]["answers"]["left_out"]
    assert "tuned" not in evaluation["tasks"]["continuation"]
    pages = draw(results)
    assert "Nothing was tuned" in pages["loss_documents"]
    assert "tuning_change" not in pages
    assert "export: base" in pages["evaluation"]


def test_figures_and_tables_stand_and_say_the_numbers(results):
    table, evaluation = measure(results), evaluate_run(results)
    pages = draw(results, compare=[str(results.parent / "elsewhere")])
    assert set(pages) >= {
        "tasks",
        "loss_by_source",
        "loss_by_position",
        "loss_by_frequency",
        "scaling_law",
    }
    for name in ("tasks", "loss_by_source", "loss_by_position", "loss_by_frequency", "scaling_law"):
        assert ET.fromstring(pages[name]).tag.endswith("}svg")
    assert f"{table['stages']['base']['all']['value']:.3f}" in pages["loss_documents"]
    assert f"{table['stages']['tuned']['answers']['value']:.3f}" in pages["tuning_change"]
    assert (
        f"{evaluation['tasks']['continuation']['base']['acc']['value']:.1%}" in pages["evaluation"]
    )
    assert "not counted, it has no tables/evaluation.json" in pages["evaluation"]


def test_the_same_run_gives_the_same_bytes(results):
    said = []
    for _ in range(2):
        measure(results)
        evaluate_run(results)
        names = ("loss.json", "loss_documents.parquet", "evaluation.json", "evaluation_items.jsonl")
        said.append([(results / "tables" / name).read_bytes() for name in names])
    assert said[0] == said[1]


def fails(capfd, step, *given):
    capfd.readouterr()
    assert exit_code(lambda: step(*given)) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def test_a_model_of_another_tokenizer_is_one_line(results, capfd):
    texts = [f"quite another text number {i}, of other words" for i in range(99)]
    train_bpe(texts, 290, "gpt2", special_tokens=(EOT, *CHAT)).save(results / "tokenizer")
    assert "made with tokenizer" in fails(capfd, measure, results)
    assert not (results / "tables/loss.json").exists()


def test_a_model_of_another_run_is_one_line(results, capfd):
    other = train_bpe(
        [f"other words, number {i}" for i in range(99)], 290, "gpt2", special_tokens=(EOT, *CHAT)
    )
    identity = {"tokenizer_sha256": other.sha256, "step": 1, "fingerprint": "0" * 16}
    save_model(results / "sft_model.pt", made.build_model(other), **identity)
    assert "sft_model.pt: trained with tokenizer" in fails(capfd, measure, results)
    assert not (results / "tables/loss.json").exists()


def test_tasks_that_cannot_be_asked_are_one_line(results, capfd):
    measure(results)
    (results / "bad.jsonl").write_text('{"question": "a", "choices": ["b", "c"], "answer": 5}\n')
    for path, said in (
        ("nowhere.jsonl", "no such file"),
        (str(results / "bad.jsonl"), "bad.jsonl:1: "),
    ):
        assert said in fails(
            capfd, lambda folder, path=path: evaluate_run(folder, tasks=[{"path": path}]), results
        )
    assert not (results / "tables/evaluation.json").exists()


def test_a_damaged_loss_json_is_one_line(results, capfd):
    measure(results)
    (results / "tables/loss.json.manifest.json").unlink()  # which would refuse it (tests/faults)
    for content in ("{}", "{", "[]", '{"held_out": 3}', "\udcff"):
        (results / "tables/loss.json").write_text(content, errors="surrogateescape")
        said = fails(capfd, evaluate_run, results)
        assert "loss.json: " in said
        assert "; delete it and run loss again" in said
        assert "loss.json: " in fails(capfd, draw, results)
    assert not (results / "tables/evaluation.json").exists()


def test_conversations_without_an_answer_leave_their_task_out(results):
    measure(results)
    said = [(f"What is {i}?", " ") for i in range(9)]
    path = results / "data/processed/val_sft_packed.bin"
    made.write_packs(path, said, made.make_tokenizer())
    table = evaluate_run(results)
    assert "no held-out conversation" in table["tasks"]["answers"]["left_out"]
    assert "left out, it has no held-out conversation" in draw(results)["evaluation"]


def test_a_manifest_that_says_nothing_of_training_is_one_line(results, capfd):
    path = results / "final_model.pt.manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "config": {}}))
    assert "train it again" in fails(capfd, measure, results)
    path.unlink()
    assert "missing" in fails(capfd, measure, results)


def test_a_model_whose_manifest_or_training_text_is_anothers_is_one_line(results, capfd):
    path = results / "final_model.pt.manifest.json"
    made_of = json.loads(path.read_text())
    path.write_text(json.dumps({**made_of, "counts": {"result": {"fingerprint": "f" * 16}}}))
    assert "its manifest of run ffff" in fails(capfd, measure, results)
    path.write_text(
        json.dumps(
            {
                **made_of,
                "inputs": [{"path": "results/data/processed/train.bin", "sha256": "0" * 64}],
            }
        )
    )
    assert "trained on another train.bin" in fails(capfd, measure, results)
    assert not (results / "tables/loss.json").exists()


def test_packs_longer_than_the_context_are_one_line(results, capfd, monkeypatch):
    open_packs = library.open_packs
    monkeypatch.setattr(
        library, "open_packs", lambda *given: dataclasses.replace(open_packs(*given), context=128)
    )
    assert "looks back over 64" in fails(capfd, measure, results)
