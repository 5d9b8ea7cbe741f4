"""Pretrains the model on train.bin, or goes on with it, and writes final_model.pt.

Ctrl-C or SIGTERM saves and ends with exit code 3; the same command goes on, and ends with the same
bytes as a run that was never stopped. Runs under torchrun; with train.processes above 1 it starts
that many processes by itself.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.errors import EXIT_INTERRUPTED, EXIT_USER, Interrupted, UserError
from snakelm.log import Log
from snakelm.training.launch import launch, restart_with_environment, under_torchrun
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest

INPUTS = {
    "train_bin": "data/processed/train.bin",
    "val_bin": "data/processed/val.bin",
    "val_overlap": "data/processed/val_overlap.npy",
    "tokenizer": "tokenizer",
}
OUTPUTS = {"run_root": "checkpoints", "output": "final_model.pt", "logs": "logs"}


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--results", default="results", help="folder that the paths below are in when left out"
    )
    for name, place in {**INPUTS, **OUTPUTS, "baseline": "tables/baseline.json"}.items():
        arguments.add_argument(f"--{name.replace('_', '-')}", type=Path, help=f"<results>/{place}")
    arguments.add_argument(
        "--threads", type=int, help="at most so many; all that are free when left out"
    )
    arguments.add_argument("--log", type=Path, help="log file besides <logs>/training.log")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    if config.train.processes > 1 and not under_torchrun():
        return launch([__file__, *(sys.argv[1:] if argv is None else argv)], config.train.processes)
    places = {
        name: getattr(args, name) or Path(args.results, place)
        for name, place in {**INPUTS, **OUTPUTS}.items()
    }
    baseline = args.baseline or Path(args.results, "tables/baseline.json")
    writes = int(os.environ.get("RANK", 0)) == 0
    logs = [places["logs"] / "training.log", args.log] if writes else []
    with Log("train", [path for path in logs if path], append=True, quiet=not writes) as log:
        try:
            result = _train(config, places, log, args.threads)
        except (UserError, Interrupted) as error:
            if writes:
                raise
            return (
                EXIT_USER if isinstance(error, UserError) else EXIT_INTERRUPTED
            )  # the first process says why
        if writes:
            _finish(config, places, baseline, result, log)
    return 0


def _train(config, places: dict[str, Path], log: Log, threads: int | None) -> dict:
    log.say("loading torch")
    from snakelm.training.pretraining import PretrainingFiles, train

    return train(config, PretrainingFiles(**places), log, threads)


def _finish(config, places: dict[str, Path], baseline: Path, result: dict, log: Log) -> None:
    from snakelm.training.metrics import PRETRAINING
    from snakelm.training.progress import done_line

    held_against = json.loads(baseline.read_text(encoding="utf-8")) if baseline.is_file() else None
    inputs = [
        places["train_bin"],
        places["val_bin"],
        places["val_overlap"],
        places["tokenizer"] / "meta.json",
    ]
    write_manifest(
        places["output"],
        inputs=inputs,
        files=[places["logs"] / PRETRAINING.csv, places["logs"] / PRETRAINING.samples],
        config=as_mapping(config, ["model", "train", "evaluate"]),
        script=__file__,
        seed=config.seed,
        extra={"result": result},
    )
    log.say(done_line(result, held_against, str(places["output"])))


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(run(main))
