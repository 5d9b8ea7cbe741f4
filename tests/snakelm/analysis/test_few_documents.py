"""Every reader of an interval or of a number that may be missing, with 0, 1 and 2 documents: it
says what there is, in words, and claims nothing of so little.
"""

import re

import numpy as np
import pytest

from snakelm.analysis.figures.evaluation import evaluation as draw_tasks
from snakelm.analysis.figures.loss import FIGURES
from snakelm.analysis.figures.training import bits_per_byte
from snakelm.analysis.model_card import model_card
from snakelm.analysis.tables.compare import write_comparison
from snakelm.analysis.tables.evaluation import write_evaluation
from snakelm.analysis.tables.loss import write_loss
from snakelm.analysis.tables.summary import write_summary
from snakelm.analysis.trainings import ComparedRun, pretraining
from snakelm.analysis.verdict import sentences, verdict_scores
from snakelm.evaluation import baselines, heldout_loss, tasks
from snakelm.evaluation.intervals import rate
from snakelm.evaluation.loss_record import LossRecord
from snakelm.evaluation.records import NO_INTERVAL, EvaluationRecord
from snakelm.files import write_json
from snakelm.training.progress import done_line
from tests.snakelm.analysis.conftest import BASELINE
from tests.snakelm.analysis.test_loss import LAW, MODEL, NO_SEEDS, bins, document
from tests.snakelm.analysis.test_loss import tasks as task_results
from tests.snakelm.analysis.test_model_card import about

COUNTS = [0, 1, 2]


def measured(count, value=1.0):
    """The interval of ``count`` documents, as the evaluation gets it; None for none."""
    amounts = value * 100 + np.arange(count)
    interval = rate(amounts, np.full(count, 100.0), seed=0)
    return vars(interval) if interval else None


def loss_of(clean, everything, read):
    """loss.json of a run with so many held-out documents, clean ones among them, and training
    documents that were read.
    """
    of_all = measured(everything)
    stage = {**MODEL, "all": of_all, "clean": measured(clean), "answers": measured(everything, 4)}
    quantiles = {**of_all, "quantiles": [1.0] * 5}
    gap = {**of_all, "value": 0.1} if read else None
    text = {"documents": everything, "clean_documents": clean, "tokens": 9, "bytes": 100}
    letters = {"characters": 60, "clean_bytes": 50 * clean, "clean_characters": 30 * clean}
    reading = {"epochs": 0.1, "read": read, "of": 9, "documents": read, "bpb": measured(read)}
    source = {"documents": everything, "bytes": 100, "characters": 60}
    return LossRecord(
        held_out={**text, **letters},
        stages={"base": stage, "tuned": stage},
        change={"all": of_all, "answers": of_all},
        sources={"ru": {**source, "base": quantiles, "tuned": quantiles}},
        by_visible=bins(2),
        by_frequency=bins(2, frequency_alone=[9.0] * 2),
        reading={**reading, "gap": gap},
        law={"held_out": LAW, "training": {"points": 0, "none": "0 points"}},
        hardest=[document("a", characters=4)],
        easiest=[],
    )


def evaluation_of(loss):
    held_out = {
        stage: {"all": one.all, "clean": one.clean, "answers": one.answers}
        for stage, one in loss.stages.items()
    }
    return EvaluationRecord(text=loss.held_out, held_out=held_out, tasks=task_results()["tasks"])


@pytest.fixture
def run_of(make_record, whole_run, tmp_path):
    """`run_of(loss)`: the RunRecord of a run that measured this."""

    def make(loss, config=None, artefacts=()):
        text, rows = loss.held_out, whole_run
        docs = {"whole": text.documents, "clean": text.clean_documents, "val": text.documents}
        compressed = {"docs": docs}
        if not text.clean_documents:
            rates = ("ppmd", "xz", "unigram")
            compressed |= {name: {**BASELINE[name], "bpb_clean": None} for name in rates}
            rows = [{k: v for k, v in row.items() if k != "val_bpb_clean"} for row in rows]

        write_json(tmp_path / "evaluation.json", evaluation_of(loss).as_json())
        evaluated = tmp_path / "evaluation.json"
        more = {"evaluation": evaluated, "artefacts": artefacts}
        return make_record(rows, config, compressed=compressed, **more)

    return make


def file(write):
    """What ``write`` writes."""

    def read(loss, record, path):
        write(loss, record, path)
        return path.read_text(encoding="utf-8")

    return read


READERS = {
    "page of the loss": file(lambda loss, _, path: write_loss(loss, path)),
    "page of the tasks": file(
        lambda loss, _, path: write_evaluation(evaluation_of(loss), NO_SEEDS, path)
    ),
    "figure of the tasks": file(lambda loss, _, path: draw_tasks(evaluation_of(loss), path)),
    "summary": file(lambda _, record, path: write_summary(record, path)),
    "figure of the evaluations": file(
        lambda _, record, path: bits_per_byte(pretraining(record), record.baseline.ppmd, path)
    ),
    "page of several runs": file(
        lambda _, record, path: write_comparison([ComparedRun(pretraining(record))], path)
    ),
    "model card": lambda loss, _record, _path: model_card(about(), [], evaluation_of(loss)),
    "terminal, loss": lambda loss, _record, _path: heldout_loss.summary(loss),
    "terminal, tasks": lambda loss, _record, _path: "\n".join(tasks.summary(evaluation_of(loss))),
    "terminal, baselines": lambda _loss, record, _path: baselines.summary(record.baseline),
    "terminal, training": lambda _loss, record, _path: done_line(
        {"val_bpb": 1.0, "val_bpb_clean": record.metrics.last("val_bpb_clean"), "seconds": 9},
        record.baseline.ppmd,
        "m.pt",
    ),
    **{
        f"figure {name}": file(lambda loss, _, path, draw=draw: draw(loss, path))
        for name, draw in FIGURES.items()
    },
}
SHOW_CLEAN = {"page of the loss", "model card"}


@pytest.mark.parametrize("clean", COUNTS)
@pytest.mark.parametrize("reader", READERS)
def test_few_clean_documents(reader, clean, run_of, tmp_path):
    loss = loss_of(clean, 40, 40)
    said = READERS[reader](loss, run_of(loss), tmp_path / "a")
    assert not re.search(r"\bNone\b(?!, according)", said)
    assert "nan" not in said.lower().split()
    assert (NO_INTERVAL in said) == (clean == 1 and reader in SHOW_CLEAN)


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("reader", READERS)
def test_few_documents_at_all(reader, count, run_of, tmp_path):
    loss = loss_of(count, count, count)
    said = READERS[reader](loss, run_of(loss), tmp_path / "a")
    assert not re.search(r"\bNone\b(?!, according)", said)
    shows = SHOW_CLEAN | {"terminal, loss"}
    assert (NO_INTERVAL in said) == (count == 1 and reader in shows)


@pytest.mark.parametrize(
    ("count", "read", "said"),
    [
        (40, 0, "no gap to tell"),
        (40, 1, "One document can't say whether the two differ"),
        (40, 9, "9 documents can't say whether the two differ"),
        (1, 40, "One document can't say whether the two differ"),
        (40, 40, "how much of it was learned by heart was not measured"),
    ],
)
def test_a_gap_claims_what_was_measured(count, read, said, tmp_path):
    write_loss(loss_of(1, count, read), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert said.replace("'", "&#39;") in page
    assert f"{read:,} of 9 documents" in page or not read


@pytest.mark.parametrize("clean", COUNTS)
def test_the_verdict_goes_by_all_documents_where_few_are_clean(clean, run_of):
    scores = verdict_scores(run_of(loss_of(clean, 40, 40)))
    assert not scores.clean_decides()
    assert "on held-out text;" in sentences(scores)[0]


@pytest.mark.parametrize("count", COUNTS[1:])
def test_there_is_no_verdict_on_a_handful_of_documents(count, run_of):
    scores = verdict_scores(run_of(loss_of(0, count, 40)))
    assert scores.undecided()
    assert "this is no verdict" in sentences(scores)[0]


def test_answers_before_tuning_are_one_number_in_summary_and_evaluation(run_of, tmp_path):
    loss = loss_of(2, 40, 40)
    write_summary(run_of(loss), tmp_path / "a.html")
    before = loss.stages["base"].answers.value
    assert f"{before:.3f} nats per token before the first step" in (tmp_path / "a.html").read_text()


def test_what_tuning_did_is_not_told_by_a_model_that_preferences_have_changed(
    run_of, manifest, tmp_path
):
    """The evaluation is of that one."""
    result = {"val_loss_before": 4.321, "val_loss": 1.234}
    tuned = manifest("sft_model.pt", "train_sft", result=result)
    preferring = {"preferences": {"sources": [{"builtin": "docs"}]}}
    write_summary(run_of(loss_of(2, 40, 40), preferring, [tuned]), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert "4.321 nats per token before the first step and 1.234 after the last" in page
