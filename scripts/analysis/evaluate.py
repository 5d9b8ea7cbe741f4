"""Puts the configured tasks to a run's models and writes evaluation.json, with 95% intervals.

Beside it, as JSON lines, every item with what the models made of it. Without a tuned model the base
model stands alone, and tasks that need conversations say so.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.training.launch import restart_with_environment
from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("tasks", "train.device", "seed"),
    reads={
        "base": File("final_model.pt"),
        "tuned": File("sft_model.pt, where there is one", optional=True),
        "processed": Folder("folder with val.bin and the packs", files=("val.bin", "val.idx")),
        "tokenizer": TOKENIZER,
        "loss": File("loss.json, for bits per byte"),
    },
    writes={"output": File("evaluation.json"), "items": File("JSON lines with every item")},
    threads="at most this many",
    default_threads=None,
)


@STEP
def main(run: Run) -> None:
    run.log.say("loading torch")
    from snakelm.evaluation.tasks import (
        EvaluationFiles,
        evaluate_tasks,
        read_tasks,
        summary,
        write_items,
    )
    from snakelm.files import write_json

    f = run.files
    packs = [f.processed / "val_sft_packed.bin"] if f.tuned else []
    run.check(packs)
    tasks = read_tasks(run.config, run.log)
    files = EvaluationFiles(f.base, f.tuned, f.processed, f.tokenizer, f.loss)
    evaluation = evaluate_tasks(run.config, files, tasks, run.most_threads, run.log)
    write_items(f.items, evaluation.items)
    write_json(f.output, evaluation.record.as_json())

    run.users = [file for task in tasks for file in task.files]
    for artefact in (f.items, f.output):
        run.vouch(artefact, inputs=[*run.inputs(), *packs])
    for line in summary(evaluation.record):
        run.log.say(line)


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
