"""Draws loss.json and evaluation.json: figures (SVG), tables (HTML), and the scatter over seeds
(JSON).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import load_config
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings; `compare` names other runs"
    )
    arguments.add_argument(
        "--results", required=True, type=Path, help="this run's results folder, for its manifests"
    )
    arguments.add_argument("--loss", required=True, type=Path, help="loss.json")
    arguments.add_argument("--evaluation", required=True, type=Path, help="evaluation.json")
    arguments.add_argument("--figures", required=True, type=Path, help="folder for the figures")
    arguments.add_argument("--tables", required=True, type=Path, help="folder for the tables")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("plot_loss", args.log) as log:
        from snakelm.analysis.figures.evaluation import (
            evaluation,  # matplotlib takes a second to load
        )
        from snakelm.analysis.figures.loss import FIGURES
        from snakelm.analysis.tables.evaluation import write_evaluation
        from snakelm.analysis.tables.loss import write_loss
        from snakelm.evaluation.loss_record import read_loss
        from snakelm.evaluation.records import read_evaluation
        from snakelm.evaluation.seeds import scatter

        loss, tasks = read_loss(args.loss), read_evaluation(args.evaluation)
        over_seeds = scatter(args.results, config.compare)
        for name, draw in FIGURES.items():
            draw(loss, args.figures / f"{name}.svg")
        evaluation(tasks, args.figures / "tasks.svg")
        write_loss(loss, args.tables / "loss_documents.html")
        write_evaluation(tasks, over_seeds, args.tables / "evaluation.html")
        write_json(args.tables / "seeds.json", over_seeds.as_json())
        for one in over_seeds.left_out:
            log.say(f"{one.results}: not counted among the seeds, {one.why}")
        log.say(f"{len(FIGURES) + 1} figures in {args.figures}, 2 tables in {args.tables}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
