"""Writes what can only be said of a whole run: the verdict, what it cost, its settings and hashes
(HTML, SVG).
"""

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
    arguments.add_argument("--tuned", help="sft_metrics.csv, of a run with instruction tuning")
    arguments.add_argument("--training-log", help="training.log; says where a run was resumed")
    arguments.add_argument("--baseline", help="baseline.json")
    arguments.add_argument("--evaluation", help="evaluation.json")
    arguments.add_argument(
        "--artefacts", nargs="*", default=[], help="files whose manifests are read"
    )
    arguments.add_argument("--timings", nargs="*", default=[], help="Snakemake's benchmark files")
    arguments.add_argument("--rerun", help="the command that made this run, to be shown")
    arguments.add_argument("--figures", required=True, help="folder for the figures")
    arguments.add_argument("--tables", required=True, help="folder for the tables")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("summarise", args.log) as log:
        from snakelm.analysis.plot import (
            summarise,  # matplotlib takes a second to load; --help needn't wait
        )
        from snakelm.analysis.run_record import read_record

        record = read_record(
            config,
            metrics=args.metrics,
            tuned=args.tuned,
            baseline=args.baseline,
            evaluation=args.evaluation,
            artefacts=args.artefacts,
            timings=args.timings,
            training_log=args.training_log,
            rerun=args.rerun,
        )
        written = summarise(record, args.figures, args.tables)
        read = f"{len(record.manifests)} manifests, {len(record.timings)} timed steps"
        log.say(f"{read} → {', '.join(map(str, written))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
