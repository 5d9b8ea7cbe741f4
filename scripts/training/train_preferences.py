"""Teaches a tuned model which answers are wanted (DPO or KTO), or goes on with it, and writes
preference_model.pt.

Starts from sft_model.pt, or from the model that --base names: a file of ours, or a folder as export
writes it. Ctrl-C, SIGTERM or SIGHUP saves and ends with exit code 3; the same command goes on, and
ends with the same bytes as a run that was never stopped. Runs under torchrun; with train.processes
above 1 it starts that many processes by itself.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.training.launch import restart_with_environment, run_trainer
from snakelm.workflow.artefacts import LOGS, RUN_ROOT, TOKENIZER, TUNING_KEYS
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

# The keys that prepare_preferences reads are in its files.
OWN = (
    "loss",
    "beta",
    "label_smoothing",
    "desirable_weight",
    "undesirable_weight",
    "epochs",
    "batch_rows",
    "micro_batch",
    "lr",
    "embedding_lr",
    "head_lr",
    "scalar_lr",
    "weight_decay",
    "warmup",
    "clip",
    "lora_rank",
    "lora_alpha",
    "lora_lr",
    "seed",
    "eval_every",
    "save_every",
    "keep",
    "log_every",
)

STEP = Step(
    __file__,
    __doc__,
    config=(*(f"preferences.{key}" for key in OWN), *(f"train.{key}" for key in TUNING_KEYS)),
    seed="preferences.seed",
    reads={
        "train_packs": File("training preferences", at="data/processed/train_preferences.bin"),
        "val_packs": File("held-out preferences", at="data/processed/val_preferences.bin"),
        "tokenizer": Folder("their tokenizer", files=TOKENIZER.files, at="tokenizer"),
        "base": File("the tuned model to start from", at="sft_model.pt", verified=False),
    },
    writes={
        "output": File("the model", at="preference_model.pt"),
        "run_root": RUN_ROOT,
        "logs": LOGS,
    },
    threads="at most this many",
    default_threads=None,
    code_triggers=False,
)


def main(argv: list[str] | None = None) -> int:
    run = STEP.parse(argv)
    return run_trainer(run, run.files.logs / "preference_training.log", _learn)


def _learn(run: Run, writes: bool) -> None:
    run.log.say("loading torch")
    from snakelm.training.metrics import PREFERENCES
    from snakelm.training.preferences import PreferenceFiles, learn_preferences
    from snakelm.training.progress import preference_line
    from snakelm.user_paths import base_files

    f = run.files
    files = PreferenceFiles(
        f.train_packs, f.val_packs, f.tokenizer, f.base, f.run_root, f.output, f.logs
    )
    inputs = [*base_files(f.base), f.train_packs, f.val_packs, f.tokenizer / "meta.json"]
    if writes:
        run.check(base_files(f.base))
    result = learn_preferences(run.config, files, run.log, run.most_threads)
    if not writes:
        return

    beside = [f.logs / PREFERENCES.csv, f.logs / PREFERENCES.samples]
    run.vouch(f.output, inputs=inputs, files=beside, counts={"result": result})
    run.log.say(preference_line(result, f.output))


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
