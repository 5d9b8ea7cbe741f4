"""Draws the instruction tuning: figures (SVG) of its course and packs, tables (HTML) of answers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import load_config
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument("--metrics", required=True, help="sft_metrics.csv")
    arguments.add_argument("--samples", help="sft_samples.jsonl")
    arguments.add_argument("--training-log", help="sft_training.log; says where it was resumed")
    arguments.add_argument(
        "--packs", required=True, help="train_sft_packed.bin; some of it is shown"
    )
    arguments.add_argument("--tokenizer", required=True, help="folder of the tokenizer")
    arguments.add_argument(
        "--artefacts", nargs="*", default=[], help="files whose manifests are read"
    )
    arguments.add_argument("--figures", required=True, help="folder for the figures")
    arguments.add_argument("--tables", required=True, help="folder for the tables")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("plot_sft", args.log) as log:
        from snakelm.analysis.plot import (
            plot_tuning,  # matplotlib takes a second to load; --help needn't wait
        )
        from snakelm.analysis.tuning_record import conversations, read_tuning
        from snakelm.data.packs import open_packs
        from snakelm.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(args.tokenizer)
        examples = conversations(open_packs(args.packs, tokenizer.sha256, verify=False), tokenizer)
        tuned = read_tuning(
            config, args.metrics, args.samples, args.training_log, [args.packs, *args.artefacts]
        )
        written = plot_tuning(tuned, examples, args.figures, args.tables)
        rows = len(tuned.training.metrics)
        log.say(
            f"{rows:,} rows → {len(written)} figures and tables in {args.figures}, {args.tables}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
