"""Draws loss.json and evaluation.json: figures (SVG), tables (HTML), and the scatter over seeds
(JSON).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("compare",),
    reads={"loss": File("loss.json"), "evaluation": File("evaluation.json")},
    beside={"results": File("this run's results folder, for its manifests")},
    writes={
        "figures": Folder(
            "folder for the figures",
            files=(
                "tasks.svg",
                "loss_by_source.svg",
                "loss_by_position.svg",
                "loss_by_frequency.svg",
                "scaling_law.svg",
            ),
        ),
        "tables": Folder(
            "folder for the tables",
            files=("evaluation.html", "loss_documents.html", "tuning_change.html", "seeds.json"),
        ),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.figures.evaluation import evaluation
    from snakelm.analysis.figures.loss import FIGURES
    from snakelm.analysis.tables.evaluation import write_evaluation
    from snakelm.analysis.tables.loss import write_loss, write_tuning_change
    from snakelm.evaluation.loss_record import read_loss
    from snakelm.evaluation.records import read_evaluation
    from snakelm.evaluation.seeds import TABLE, scatter
    from snakelm.files import write_json

    files = run.files
    loss, tasks = read_loss(files.loss), read_evaluation(files.evaluation)
    run.check(Path(folder, TABLE) for folder in run.config.compare)
    over_seeds = scatter(files.results, run.config.compare)

    for name, draw in FIGURES.items():
        draw(loss, files.figures / f"{name}.svg")
    evaluation(tasks, files.figures / "tasks.svg")
    write_loss(loss, files.tables / "loss_documents.html")
    if "tuned" in loss.stages:
        write_tuning_change(loss, files.tables / "tuning_change.html")
    write_evaluation(tasks, over_seeds, files.tables / "evaluation.html")
    write_json(files.tables / "seeds.json", over_seeds.as_json())

    for one in over_seeds.left_out:
        run.log.say(f"{one.results}: not counted among the seeds, {one.why}")
    pages = 3 if "tuned" in loss.stages else 2
    run.log.say(f"{len(FIGURES) + 1} figures in {files.figures}, {pages} tables in {files.tables}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
