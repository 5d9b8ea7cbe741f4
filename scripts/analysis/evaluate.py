"""Puts the configuration's tasks to a run's models and writes evaluation.json, with a 95% interval
for every number.

Beside it, as JSON lines, every item with what the models made of it. Without a tuned model the base
model stands alone, and tasks that need conversations say so.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.training.launch import restart_with_environment
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument("--base", required=True, type=Path, help="final_model.pt")
    arguments.add_argument("--tuned", type=Path, help="sft_model.pt, where there is one")
    arguments.add_argument(
        "--processed", required=True, type=Path, help="folder with val.bin and the packs"
    )
    arguments.add_argument("--tokenizer", required=True, help="folder of the tokenizer")
    arguments.add_argument("--loss", required=True, type=Path, help="loss.json, for bits per byte")
    arguments.add_argument("--output", required=True, type=Path, help="evaluation.json")
    arguments.add_argument("--items", required=True, type=Path, help="JSON lines with every item")
    arguments.add_argument(
        "--threads", type=int, help="at most so many; all that are free when left out"
    )
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("evaluate", args.log) as log:
        from snakelm.evaluation.tasks import (
            EvaluationFiles,
            evaluate_tasks,
            read_tasks,
            summary,
            write_items,
        )

        tasks = read_tasks(config, log)
        log.say("loading torch")
        files = EvaluationFiles(
            base=args.base,
            tuned=args.tuned,
            processed=args.processed,
            tokenizer=Path(args.tokenizer),
            loss=args.loss,
        )
        evaluation = evaluate_tasks(config, files, tasks, args.threads, log)
        write_items(args.items, evaluation.items)
        write_json(args.output, evaluation.record.as_json())
        names = ["val.bin", *(["val_sft_packed.bin"] if args.tuned else [])]
        inputs = [
            args.base,
            *([args.tuned] if args.tuned else []),
            *(args.processed / name for name in names),
            args.loss,
        ]
        inputs += [file for task in tasks for file in task.files]
        settings = as_mapping(config, ["tasks"])
        for artefact in (args.items, args.output):
            write_manifest(
                artefact, inputs=inputs, config=settings, script=__file__, seed=config.seed
            )
        for line in summary(evaluation.record):
            log.say(line)
    return 0


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(run(main))
