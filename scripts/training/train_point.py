"""Pretrains one point of a sweep as train does, on the token files of the run that it belongs to.

Stopped, it goes on as train does.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.training.launch import restart_with_environment, run_trainer
from snakelm.workflow.artefacts import LOGS, PRETRAINING_KEYS, RUN_ROOT, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=PRETRAINING_KEYS,
    seed="train.seed",
    reads={
        "train_bin": File("training tokens"),
        "val_bin": File("held-out tokens"),
        "val_overlap": File("what training text they hold"),
        "tokenizer": TOKENIZER,
    },
    writes={
        "output": File("the model", at="final_model.pt"),
        "run_root": RUN_ROOT,
        "logs": LOGS,
    },
    threads="at most this many",
    default_threads=None,
    code_triggers=False,
)


def main(argv: list[str] | None = None) -> int:
    run = STEP.parse(argv)
    return run_trainer(run, run.files.logs / "training.log", _train)


def _train(run: Run, writes: bool) -> None:
    run.log.say("loading torch")

    from snakelm.training.pretraining_job import pretrain
    from snakelm.training.progress import done_line

    result = pretrain(run, writes)
    if writes:
        run.log.say(done_line(result, None, run.files.output))


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
