"""Measures where a run's loss comes from, on held-out text and answers, before and after tuning,
and writes loss.json.

Beside it a parquet with every held-out document. Without a tuned model the base model's half stands
alone.
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
        "--processed", required=True, type=Path, help="folder with train.bin, val.bin and the packs"
    )
    arguments.add_argument(
        "--documents", required=True, type=Path, help="documents that the token files were made of"
    )
    arguments.add_argument("--tokenizer", required=True, help="folder of the tokenizer")
    arguments.add_argument("--metrics", required=True, type=Path, help="training_metrics.csv")
    arguments.add_argument("--output", required=True, type=Path, help="loss.json")
    arguments.add_argument(
        "--per-document", required=True, type=Path, help="parquet with every held-out document"
    )
    arguments.add_argument(
        "--threads", type=int, help="at most so many; all that are free when left out"
    )
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("loss", args.log) as log:
        log.say("loading torch")
        from snakelm.evaluation.heldout_loss import HeldOutLossFiles, measure_loss, summary

        files = HeldOutLossFiles(
            base=args.base,
            tuned=args.tuned,
            processed=args.processed,
            documents=args.documents,
            tokenizer=Path(args.tokenizer),
            metrics=args.metrics,
        )
        measured = measure_loss(config, files, args.threads, log)
        measured.write_documents(args.per_document)
        write_json(args.output, measured.record.as_json())
        names = [
            "train.bin",
            "val.bin",
            "val_overlap.npy",
            *(["val_sft_packed.bin"] if args.tuned else []),
        ]
        inputs = [
            args.base,
            *([args.tuned] if args.tuned else []),
            *(args.processed / name for name in names),
        ]
        inputs += [args.documents, args.metrics]
        settings = as_mapping(config, ["evaluate"])
        for artefact in (args.per_document, args.output):
            write_manifest(
                artefact, inputs=inputs, config=settings, script=__file__, seed=config.seed
            )
        log.say(summary(measured.record))
    return 0


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(run(main))
