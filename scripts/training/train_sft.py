"""Tunes a trained model on packed conversations, or goes on tuning it, and writes sft_model.pt.

Starts from final_model.pt, or from the model that sft.base or --base names: a file of ours, or a
folder as export or transformers writes it. Ctrl-C or SIGTERM saves and ends with exit code 3; the
same command goes on, and ends with the same bytes as a run that was never stopped. Runs under
torchrun; with train.processes above 1 it starts that many processes by itself.
"""

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
    "train_packs": "data/processed/train_sft_packed.bin",
    "val_packs": "data/processed/val_sft_packed.bin",
    "tokenizer": "tokenizer",
    "base": "final_model.pt",
}
OUTPUTS = {"run_root": "checkpoints", "output": "sft_model.pt", "logs": "logs"}


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--results", default="results", help="folder that the paths below are in when left out"
    )
    for name, place in {**INPUTS, **OUTPUTS}.items():
        arguments.add_argument(f"--{name.replace('_', '-')}", type=Path, help=f"<results>/{place}")
    arguments.add_argument(
        "--threads", type=int, help="at most so many; all that are free when left out"
    )
    arguments.add_argument("--log", type=Path, help="log file besides <logs>/sft_training.log")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    if config.train.processes > 1 and not under_torchrun():
        return launch([__file__, *(sys.argv[1:] if argv is None else argv)], config.train.processes)
    places = {
        name: getattr(args, name) or Path(args.results, place)
        for name, place in {**INPUTS, **OUTPUTS}.items()
    }
    places["base"] = args.base or Path(config.sft.base or places["base"])
    writes = int(os.environ.get("RANK", 0)) == 0
    logs = [places["logs"] / "sft_training.log", args.log] if writes else []
    with Log("train_sft", [path for path in logs if path], append=True, quiet=not writes) as log:
        try:
            result = _tune(config, places, log, args.threads)
        except (UserError, Interrupted) as error:
            if writes:
                raise
            return (
                EXIT_USER if isinstance(error, UserError) else EXIT_INTERRUPTED
            )  # the first process says why
        if writes:
            _finish(config, places, result, log)
    return 0


def _tune(config, places: dict[str, Path], log: Log, threads: int | None) -> dict:
    log.say("loading torch")
    from snakelm.training.finetuning import FinetuningFiles, finetune

    return finetune(config, FinetuningFiles(**places), log, threads)


def _finish(config, places: dict[str, Path], result: dict, log: Log) -> None:
    from snakelm.model.pretrained import base_files
    from snakelm.training.metrics import FINETUNING
    from snakelm.training.progress import tuned_line

    inputs = [places["train_packs"], places["val_packs"], places["tokenizer"] / "meta.json"]
    write_manifest(
        places["output"],
        inputs=[*base_files(places["base"]), *inputs],
        files=[places["logs"] / FINETUNING.csv, places["logs"] / FINETUNING.samples],
        config=as_mapping(config, ["sft", "train"]),
        script=__file__,
        seed=config.seed,
        extra={"result": result},
    )
    log.say(tuned_line(result, str(places["output"])))


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(run(main))
