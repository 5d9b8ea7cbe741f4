"""Draws the data and the pretraining: figures (SVG), and tables (HTML) of samples and sources."""

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
    arguments.add_argument("--metrics", required=True, help="training_metrics.csv")
    arguments.add_argument("--samples", help="samples.jsonl")
    arguments.add_argument("--training-log", help="training.log; says where a run was resumed")
    arguments.add_argument("--baseline", help="baseline.json")
    arguments.add_argument(
        "--train-bin", required=True, help="train.bin, for the lengths of documents"
    )
    arguments.add_argument(
        "--artefacts", nargs="*", default=[], help="files whose manifests are read"
    )
    arguments.add_argument("--figures", required=True, help="folder for the figures")
    arguments.add_argument("--tables", required=True, help="folder for the tables")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("plot_metrics", args.log) as log:
        from snakelm.analysis.plot import (
            plot,  # matplotlib takes a second to load; --help needn't wait
        )
        from snakelm.analysis.run_record import read_record

        record = read_record(
            config,
            metrics=args.metrics,
            samples=args.samples,
            baseline=args.baseline,
            artefacts=[args.train_bin, *args.artefacts],
            training_log=args.training_log,
        )
        written = plot(record, args.train_bin, args.figures, args.tables)
        log.say(
            f"{len(record.metrics):,} rows → {len(written)} figures and tables in {args.figures}, {args.tables}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
