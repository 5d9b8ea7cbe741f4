"""Plans: steps that fit the budget, the best of the sizes, and what is said where none fits."""

import dataclasses
import functools
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import from_mapping
from snakelm.data.corpora import synthetic
from snakelm.device import set_up_device
from snakelm.errors import UserError
from snakelm.evaluation import plan_machine, planner
from snakelm.evaluation.plan_machine import StepTime
from snakelm.evaluation.plan_record import planned_for
from snakelm.evaluation.plan_text import read_text, shortened
from snakelm.evaluation.size_law import SizeLaw, recorded_runs
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.tokenizer import CHAT, EOT, train_bpe
from snakelm.workflow.step import load_steps

WEIGHTS = {"synthetic": 1.0}


@functools.cache
def _read_once(weights, *given):
    return read_text(*given, dict(weights))


def read_once(*given):
    return _read_once(tuple(given[-1].items()), *given[:-1])


LAW = functools.cache(lambda: SizeLaw(recorded_runs()))
QUIET = Log("plan", quiet=True)


def write_documents(path, texts, sources=None):
    ids = np.arange(len(texts), dtype=np.uint64) * np.uint64(2**64 // 10_007)
    columns = {
        "text": pa.array(texts, pa.string()),
        "source": pa.array(sources or ["synthetic"] * len(texts), pa.string()),
        "id": ids,
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Fifteen hundred short documents, 0.7 MB."""
    path = tmp_path_factory.mktemp("planned") / "documents.parquet"
    return write_documents(path, list(synthetic.documents(1500)))


def known_time(candidate, tokens, device, before):
    """A machine on which a step takes a microsecond for a thousand parameters of matrices."""
    step = 1e-3 * candidate.model.matrices / 1e6
    return StepTime(step, 1.0, 1e9, 1e-9, 5e8, True)


@pytest.fixture
def known_machine(monkeypatch):
    monkeypatch.setattr(planner, "time_steps", known_time)
    monkeypatch.setattr(planner, "read_text", read_once)
    monkeypatch.setattr(planner, "SizeLaw", lambda record: LAW())


def plan_for(hours, documents, **more):
    plan = {"hours": hours, "sizes": [1, 2, 3], **more}
    config = from_mapping({"sources": [{"builtin": "synthetic"}], "plan": plan})
    return planner.make_size_plan(config, documents, QUIET, 1)


def test_every_size_gets_the_steps_that_the_budget_has_room_for(documents, known_machine):
    plan = plan_for(0.001, documents)
    assert [size.size for size in plan.sizes] == [1, 2, 3]
    for size in plan.sizes:
        assert size.training_seconds <= 3.6
        # One step more is too many, or the text has been read often enough.
        more = size.training_seconds + size.step_seconds
        assert more > 3.6 or size.epochs > 0.9 * planner.MOST_EPOCHS
        assert size.bpb.low < size.bpb.value < size.bpb.high
    assert plan.choice.bpb.value == min(size.bpb.value for size in plan.sizes)
    assert planner.chosen_lines(plan)[0] == f"size: {plan.choice.size}"
    assert sum("chosen" in line for line in planner.table(plan)) == 1


def test_an_epoch_has_each_source_as_often_as_its_weight_says(tmp_path, known_machine):
    """As in train.bin: of two sources of the same size one is left out for the most part, or read
    twice.
    """
    texts = list(synthetic.documents(1500))
    names = ["even", "odd"] * 750
    path = write_documents(tmp_path / "documents.parquet", texts, names)

    def planned(weight):
        sources = [
            {"builtin": "synthetic", "name": "even"},
            {"builtin": "everyday", "name": "odd", "weight": weight},
        ]
        plan = {"hours": 0.00029, "sizes": [1]}
        config = from_mapping({"sources": sources, "plan": plan})
        return planner.make_size_plan(config, path, QUIET, 1).choice

    whole, half, twice = planned(1.0), planned(0.02), planned(2.0)
    assert whole.steps == half.steps == twice.steps
    assert half.epochs == pytest.approx(whole.epochs / 0.51, rel=0.02)
    assert twice.epochs == pytest.approx(whole.epochs / 1.5, rel=0.02)
    # Copies are no other text; less text is worth less.
    assert twice.bpb.value == pytest.approx(whole.bpb.value, abs=1e-9)
    assert half.bpb.value > whole.bpb.value


def test_evaluations_take_the_time_that_their_number_takes(documents, known_machine, monkeypatch):
    """As many as `size` has in a run of any length; with an eval_every of one's own one for each so
    many steps.
    """
    look = 0.01  # seconds

    def slow(candidate, tokens, device, before):
        time = known_time(candidate, tokens, device, before)
        return dataclasses.replace(time, forward=look / 100)

    def planned(**train):
        keys = {"sources": [{"builtin": "synthetic"}], "plan": {"hours": 0.001, "sizes": [1]}}
        config = from_mapping({**keys, "train": {"eval_tokens": 100, **train}})
        size = planner.make_size_plan(config, documents, QUIET, 1).choice
        return size.steps, size.training_seconds

    monkeypatch.setattr(planner, "time_steps", slow)
    monkeypatch.setattr(planner, "MOST_EPOCHS", 1e9)
    many, seconds = planned()
    few, also = planned(eval_every=1)
    assert seconds == pytest.approx(3.6, rel=0.01)
    assert also == pytest.approx(3.6, rel=0.01)
    step = known_time(from_mapping({"size": 1}), None, None, None).step
    assert (many - few) * step == pytest.approx((few - 8) * look, rel=0.01)


def test_more_hours_never_end_worse(documents, known_machine):
    plans = [plan_for(hours, documents) for hours in (0.0005, 0.001, 0.01)]
    found = [plan.choice.bpb.value for plan in plans]
    assert found == sorted(found, reverse=True)


def test_a_budget_too_small_names_the_least_that_is_enough(documents, known_machine):
    with pytest.raises(
        UserError, match=r"is too little for any of plan\.sizes: 46 steps of size 1"
    ) as caught:
        plan_for(1e-5, documents)
    least = float(re.search(r"set plan.hours to ([\d.e-]+) or more", str(caught.value))[1])
    assert plan_for(least, documents).choice.bpb
    with pytest.raises(UserError):
        plan_for(0.8 * least, documents)


def test_a_size_that_needs_more_memory_is_not_offered(documents, known_machine, monkeypatch):
    def hungry(candidate, *others):
        memory = 1e18 if candidate.size > 1 else 1e8
        return dataclasses.replace(known_time(candidate, *others), memory=memory)

    monkeypatch.setattr(planner, "time_steps", hungry)
    plan = plan_for(0.01, documents)
    assert plan.choice.size == 1
    assert [size.note[:11] for size in plan.sizes] == ["", "more memory", "more memory"]

    monkeypatch.setattr(planner, "machine_memory", lambda device, processes: 1.0)
    with pytest.raises(UserError, match=r"plan\.sizes: the smallest takes .* of memory"):
        plan_for(0.01, documents)


@pytest.mark.parametrize("texts", [[], [""], [None, ""]], ids=["none", "empty", "null"])
def test_no_text_is_no_plan(tmp_path, known_machine, texts):
    path = write_documents(tmp_path / "documents.parquet", texts)
    with pytest.raises(UserError, match="no text in them; look at `sources`"):
        plan_for(1.0, path)


def test_less_text_than_a_batch_is_said(tmp_path, known_machine):
    path = write_documents(tmp_path / "documents.parquet", ["a few words", "some others", "more"])
    with pytest.raises(UserError, match=r"takes 1,024 tokens a step, and there are about \d+;"):
        plan_for(1.0, path)


def test_a_plan_without_hours_says_what_to_set(documents):
    with pytest.raises(UserError, match=r"plan\.hours: missing"):
        planner.make_size_plan(from_mapping({}), documents, QUIET, 1)


def test_tokens_are_counted_as_the_real_vocabulary_would(documents):
    """The first merges of a large vocabulary are those of a small one."""
    text = read_text(documents, "cl100k", 1000, 1024, 0.02, 1337, 1, WEIGHTS)
    special = (EOT, *CHAT)
    small = train_bpe(text.sample, 500, "cl100k", 1, special_tokens=special)
    assert shortened(text.tokenizer, 500).mergeable_ranks == small.mergeable_ranks
    assert text.bytes_per_token(500, 1) < text.bytes_per_token(1000, 1)


def test_a_token_file_of_the_sample_is_what_training_reads(documents, tmp_path):
    text = read_text(documents, "cl100k", 600, 1024, 0.02, 1337, 1, WEIGHTS)
    tokens = text.token_file(tmp_path / "sample.bin", 600, 1)
    assert tokens.meta.vocab_size == 600
    assert tokens.meta.text_bytes / tokens.meta.tokens == pytest.approx(
        text.bytes_per_token(600, 1)
    )


def test_steps_are_timed_and_large_ones_estimated(documents, tmp_path, monkeypatch):
    keys = {"plan": {"hours": 1.0, "sizes": [1, 2]}, "tokenizer": {"vocab_size": 600}}
    first, second = from_mapping(keys).plan.candidates
    text = read_text(documents, "cl100k", 600, 1024, 0.02, 1337, 1, WEIGHTS)
    tokens = text.token_file(tmp_path / "sample.bin", 600, 1)
    device = set_up_device("cpu", "fp32", 1)

    small = plan_machine.time_steps(first, tokens, device, None)
    assert small.measured
    assert min(small.step, small.start, small.forward) > 0
    monkeypatch.setattr(plan_machine, "LONGEST_S", 0.0)
    large = plan_machine.time_steps(second, tokens, device, small)
    assert not large.measured
    assert large.step == pytest.approx(small.step * large.flops / small.flops)


def test_of_several_processes_one_is_timed_with_its_share(documents, tmp_path, monkeypatch):
    keys = {"plan": {"hours": 1.0, "sizes": [1]}, "tokenizer": {"vocab_size": 600}}
    text = read_text(documents, "cl100k", 600, 4096, 0.02, 1337, 1, WEIGHTS)
    tokens = text.token_file(tmp_path / "sample.bin", 600, 1)
    device = set_up_device("cpu", "fp32", 1)
    rows = []
    step = plan_machine.training_step
    monkeypatch.setattr(
        plan_machine, "training_step", lambda *given: (rows.append(len(given[3])), step(*given))
    )

    times = {}
    for processes, nodes in ((1, 1), (2, 1), (2, 2)):
        train = {"batch_tokens": 4096, "processes": processes, "nodes": nodes}
        (one,) = from_mapping({**keys, "train": train}).plan.candidates
        rows.clear()
        times[processes * nodes] = plan_machine.time_steps(one, tokens, device, None)
        assert set(rows) == {4096 // one.model.context // (processes * nodes)}
    assert times[1].flops == times[2].flops, "of a whole step"
    flat = times[2].memory + 4 * 300_000 / 2  # its gradients as one tensor; and fewer rows
    assert times[4].memory < times[2].memory < times[1].memory + flat


def test_a_plan_for_several_processes_says_what_it_leaves_out(documents, known_machine):
    several = from_mapping(
        {
            "sources": [{"builtin": "synthetic"}],
            "plan": {"hours": 0.001, "sizes": [1]},
            "train": {"batch_tokens": 6144, "processes": 2, "nodes": 3},
        }
    )
    plan = planner.make_size_plan(several, documents, QUIET, 2)
    assert (plan.processes, plan.nodes) == (2, 3)
    said = "For 2 processes on each of 3 hosts: one process was timed with its share"
    assert planner.table(plan)[-1].startswith(said)
    assert not plan_for(0.001, documents).shared


def test_the_step_is_told_what_only_takes_time():
    """Keys that change no model, and so are in no fingerprint, are in the plan's settings."""
    config = from_mapping({"plan": {"hours": 1.0}, "train": {"processes": 2, "eval_tokens": 99}})
    settings = load_steps()["plan"].settings_of(config)
    train = settings["plan"]["candidates"][0]["train"]
    assert (train["processes"], train["eval_tokens"]) == (2, 99)


def test_the_report_has_a_plan_where_the_run_follows_it(documents, tmp_path, known_machine):
    plan = plan_for(0.001, documents)
    path = tmp_path / "plan.json"
    size, steps = plan.choice.size, plan.choice.steps
    follows = from_mapping({"size": size, "train": {"steps": steps}})
    assert not planned_for(path, follows), "there is none yet"

    write_json(path, plan.as_json())
    assert planned_for(path, follows)
    assert not planned_for(path, from_mapping({"size": size, "train": {"steps": steps + 1}}))
    assert not planned_for(path, from_mapping({}))
    path.write_text("{")
    with pytest.raises(UserError, match="run snakemake plan again"):
        planned_for(path, follows)
