"""Tunes a trained model on packed conversations, or goes on tuning it, and writes sft_model.pt.

Starts from final_model.pt, or from the model that sft.base or --base names: a file of ours, or a
folder as export or transformers writes it. Text of train.bin is mixed in, as much as sft.mix says.
Ctrl-C, SIGTERM or SIGHUP saves and ends with exit code 3; the same command goes on, and ends with
the same bytes as a run that was never stopped. Runs under torchrun; with train.processes above 1 it
starts that many processes by itself.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.training.launch import restart_with_environment, run_trainer
from snakelm.workflow.artefacts import LOGS, RUN_ROOT, TOKENIZER, TUNING_KEYS
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("sft", *(f"train.{key}" for key in TUNING_KEYS)),
    seed="sft.seed",
    reads={
        "train_packs": File("training packs", at="data/processed/train_sft_packed.bin"),
        "val_packs": File("held-out packs", at="data/processed/val_sft_packed.bin"),
        "tokenizer": Folder("their tokenizer", files=TOKENIZER.files, at="tokenizer"),
        "train_bin": File(
            "pretraining text, for sft.mix", at="data/processed/train.bin", verified=False
        ),
        "base": File("the model to start from", optional=True, verified=False),
    },
    writes={
        "output": File("the model", at="sft_model.pt"),
        "run_root": RUN_ROOT,
        "logs": LOGS,
    },
    threads="at most this many",
    default_threads=None,
    code_triggers=False,
)


def main(argv: list[str] | None = None) -> int:
    run = STEP.parse(argv)
    return run_trainer(run, run.files.logs / "sft_training.log", _tune)


def _tune(run: Run, writes: bool) -> None:
    run.log.say("loading torch")
    from snakelm.training.finetuning import FinetuningFiles, finetune
    from snakelm.training.metrics import FINETUNING
    from snakelm.training.progress import tuned_line
    from snakelm.user_paths import base_files, home

    f = run.files
    given = run.config.sft.base
    base = f.base or (home(given) if given else run.results / "final_model.pt")
    files = FinetuningFiles(
        f.train_packs, f.val_packs, f.tokenizer, f.train_bin, base, f.run_root, f.output, f.logs
    )
    text = [f.train_bin] if run.config.sft.mix else []
    inputs = [*base_files(base), f.train_packs, f.val_packs, *text, f.tokenizer / "meta.json"]
    if writes:
        run.check([*base_files(base), *filter(Path.is_file, text)])
    result = finetune(run.config, files, run.log, run.most_threads)
    if not writes:
        return

    beside = [f.logs / FINETUNING.csv, f.logs / FINETUNING.samples]
    run.vouch(f.output, inputs=inputs, files=beside, counts={"result": result})
    run.log.say(tuned_line(result, f.output))


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
