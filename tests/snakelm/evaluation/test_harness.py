"""lm-evaluation-harness on the exported folder and our own tasks: the same numbers, item by item.

The harness runs as a user runs it, in a process of its own; it is given add_bos_token=True,
because every text that our models were trained on begins with the end-of-text token.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snakelm.evaluation.items import Item
from snakelm.evaluation.questions import Question
from snakelm.evaluation.scoring import score
from snakelm.log import Log
from snakelm.model import load_model
from snakelm.model.export import export
from tests.snakelm.evaluation.made import sentence

HARNESS = Path(
    sys.prefix, "harness"
)  # apart from the other packages: requirements-harness.txt says why
pytestmark = pytest.mark.skipif(
    not (HARNESS / "lm_eval").is_dir() or importlib.util.find_spec("transformers") is None,
    reason="lm_eval or transformers not installed: make test does it (requirements-harness.txt)",
)
CHOICE = """
task: choice
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
GREEDY = """
task: greedy
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: UNTIL, do_sample: false, max_gen_toks: 16}
metric_list: [{metric: exact_match}]
"""
ENDINGS = ["", " ", "  \n ", ":", "\n", " 中", "é", " a list ("]
ITEMS = [
    {
        "question": sentence(i, 3 + 9 * (i % 8)) + ENDINGS[i % 8],
        "choices": [sentence(1000 * i + j, 1 + 2 * j) for j in range(2 + i % 3)],
        "answer": i % 2,
    }
    for i in range(24)
]


def harness(folder, *tasks, more=()):
    """The harness's records of each task's items, in order."""
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    model_args = f"pretrained={folder / 'final'},add_bos_token=True,dtype=float32"
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        model_args,
        "--tasks",
        ",".join(tasks),
    ]
    command += [
        "--device",
        "cpu",
        "--batch_size",
        "5",
        "--output_path",
        str(folder / "out"),
        "--log_samples",
        *more,
    ]
    own = {"HF_HOME": str(folder / "cache"), "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(HARNESS)}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **offline, **own}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [_records(folder, Path(task).stem) for task in tasks]


def _records(folder, task):
    (file,) = folder.glob(f"out/**/samples_{task}_*.jsonl")
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(records, key=lambda record: record["doc_id"])


def write_task(folder, name, text, rows, **more):
    """The task's file with its items beside it; gives its path."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for key, value in {"FILE": str(folder / f"{name}.jsonl"), **more}.items():
        text = text.replace(key, value)
    (folder / f"{name}.yaml").write_text(text)
    return str(folder / f"{name}.yaml")


def ask_ours(model, tokenizer, questions, kind, chat=False):
    return score(model, tokenizer, questions, kind, chat, Log("evaluate", quiet=True), "t")[1]


def questions_and_answers(model, tokenizer, chat):
    """Items of which one is answered rightly, and what the model says to each."""
    rows = [{"question": sentence(i, 3 + i % 9), "answer": "none"} for i in range(24)]
    for _ in range(2):
        questions = [Question(Item(row["question"], (row["answer"],), 0)) for row in rows]
        ours = ask_ours(model, tokenizer, questions, "greedy", chat)
        rows[3]["answer"] = ours[3].answer.strip() or "none"
    assert len({own.answer for own in ours}) > 5, "the model says different things"
    return rows, ours


def said(records):
    return [record["filtered_resps"][0].strip() for record in records]


def test_choices_and_answers_of_a_base_model_item_by_item(results, tokenizer):
    model, _ = load_model(results / "final_model.pt")
    export(results / "final_model.pt", tokenizer, results / "final", "a card")
    questions = [Question(Item(i["question"], tuple(i["choices"]), i["answer"])) for i in ITEMS]
    chosen = ask_ours(model, tokenizer, questions, "choice")
    assert any(record.cut for record in chosen), "one is longer than the context"
    rows, answered = questions_and_answers(model, tokenizer, False)
    tasks = [
        write_task(results, "choice", CHOICE, ITEMS),
        write_task(results, "greedy", GREEDY, rows, UNTIL='["\\n"]'),
    ]
    their_choices, their_answers = harness(results, *tasks)
    for own, their in zip(chosen, their_choices, strict=True):
        assert own.loglikelihood == pytest.approx(
            [float(found[0]) for found in their["filtered_resps"]], abs=2e-3
        )
        assert (own.acc, own.acc_norm) == (their["acc"], their["acc_norm"])
    assert [own.answer.strip() for own in answered] == said(their_answers)


def test_a_tuned_models_answers_in_conversation_item_by_item(results, tokenizer):
    model, _ = load_model(results / "sft_model.pt")
    export(results / "sft_model.pt", tokenizer, results / "final", "a card")
    rows, ours = questions_and_answers(model, tokenizer, True)
    task = write_task(results, "greedy", GREEDY, rows, UNTIL='["<|end|>"]')
    (theirs,) = harness(results, task, more=["--apply_chat_template"])
    assert [own.answer.strip() for own in ours] == said(theirs)
