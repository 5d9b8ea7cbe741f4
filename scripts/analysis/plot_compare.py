"""Draws other runs (`compare:`) over this one, pretraining and fine-tuning (SVG), and what differs
(HTML).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("compare", "export"),
    beside={"results": File("results folder of this run")},
    writes={
        "figures": Folder(
            "folder for the figures", files=("compare_pretraining.svg", "compare_tuning.svg")
        ),
        "table": File("HTML file to write"),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.plot import plot_comparison
    from snakelm.analysis.tables.compare import write_comparison
    from snakelm.analysis.trainings import read_files, read_runs, tunings

    config, files = run.config, run.files
    run.check(read_files(files.results, config.compare))
    runs = read_runs(files.results, config.compare)
    trainings = {"compare_pretraining": [one.training for one in runs]}
    if config.export == "sft":
        trainings["compare_tuning"] = tunings(files.results, config.compare)

    written = plot_comparison(trainings, files.figures)
    write_comparison(runs, files.table)
    for one in runs:
        if why := one.training.apart.get("val_bpb"):
            run.log.say(f"{one.training.name}: not compared in bits per byte, {why}")
    run.log.say(f"{len(runs)} runs → {', '.join(map(str, written))}, {files.table}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
