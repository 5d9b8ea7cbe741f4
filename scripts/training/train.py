"""Pretrains the model on train.bin, or goes on with it, and writes final_model.pt.

With train.base it starts from that model: a folder as export or transformers writes it, or another
run's final_model.pt. Where an earlier run in this results folder differs in no more than the length
of its flat part, it goes on from that one's last checkpoint before the decay.

Ctrl-C, SIGTERM or SIGHUP saves and ends with exit code 3; the same command goes on, and ends with
the same bytes as a run that was never stopped. Runs under torchrun; with train.processes above 1 it
starts that many processes by itself.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.training.launch import restart_with_environment, run_trainer
from snakelm.workflow.artefacts import LOGS, PRETRAINING_KEYS, RUN_ROOT, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

if TYPE_CHECKING:
    from snakelm.evaluation.records import CompressorRates

STEP = Step(
    __file__,
    __doc__,
    config=PRETRAINING_KEYS,
    seed="train.seed",
    reads={
        "train_bin": File("training tokens", at="data/processed/train.bin"),
        "val_bin": File("held-out tokens", at="data/processed/val.bin"),
        "val_overlap": File("what training text they hold", at="data/processed/val_overlap.npy"),
        "tokenizer": Folder("their tokenizer", files=TOKENIZER.files, at="tokenizer"),
    },
    beside={"baseline": File("what bits per byte are held against", at="tables/baseline.json")},
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
        run.log.say(done_line(result, _compressor(run), run.files.output))


def _compressor(run: Run) -> "CompressorRates | None":
    """What a compressor makes of the held-out text; a table that can't be read must not fail a run
    that is done.
    """
    from snakelm.evaluation.records import read_baseline

    path = run.files.baseline
    try:
        return read_baseline(path).ppmd if path.is_file() else None
    except UserError as error:
        run.log.warn(str(error))
        return None


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
