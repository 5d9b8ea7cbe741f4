"""Draws other runs (`compare:`) over this one, pretraining and tuning (SVG), and writes what
differs (HTML).
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
        "--config", nargs="+", required=True, help="settings; `compare` names the other runs"
    )
    arguments.add_argument("--results", required=True, type=Path, help="results folder of this run")
    arguments.add_argument("--figures", required=True, type=Path, help="folder for the figures")
    arguments.add_argument("--table", required=True, help="HTML file to write")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("plot_compare", args.log) as log:
        from snakelm.analysis.plot import (
            plot_comparison,  # matplotlib takes a second to load; --help needn't wait
        )
        from snakelm.analysis.trainings import read_runs, tunings
        from snakelm.analysis.tables.compare import write_comparison

        runs = read_runs(args.results, config.compare)
        trainings = {"compare_pretraining": [run.training for run in runs]}
        trainings |= (
            {"compare_tuning": tunings(args.results, config.compare)}
            if config.export == "sft"
            else {}
        )
        written = plot_comparison(trainings, args.figures)
        write_comparison(runs, args.table)
        log.say(f"{len(runs)} runs → {', '.join(map(str, written))}, {args.table}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
