"""Writes what can only be said of a complete run: the verdict, its cost, its settings and hashes
(HTML, SVG).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import Config
from snakelm.workflow.artefacts import MANIFESTS, TRAINING_LOG
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step, Value

STEP = Step(
    __file__,
    __doc__,
    config=tuple(name for name in Config.model_fields if name != "results"),
    shows=("sources", "sft_data", "preferences.sources"),  # their licences
    values={"rerun": Value("the command that made this run, to be shown", param=True)},
    reads={
        "metrics": File("training_metrics.csv"),
        "tuned": File("sft_metrics.csv, of a run with instruction tuning", optional=True),
        "baseline": File("baseline.json", optional=True),
        "evaluation": File("evaluation.json", optional=True),
    },
    beside={
        "training_log": TRAINING_LOG,
        "artefacts": MANIFESTS,
        "timings": File("Snakemake's benchmark files", many=True, optional=True),
    },
    writes={
        "figures": Folder("folder for the figures", files=("time.svg",)),
        "tables": Folder(
            "folder for the tables", files=("summary.html", "cost.html", "configuration.html")
        ),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.plot import summarise
    from snakelm.analysis.run_record import read_record

    f = run.files
    record = read_record(
        run.config,
        metrics=f.metrics,
        tuned=f.tuned,
        baseline=f.baseline,
        evaluation=f.evaluation,
        artefacts=f.artefacts,
        timings=f.timings,
        training_log=f.training_log,
        rerun=run.values.rerun,
    )
    written = summarise(record, f.figures, f.tables)
    seen = f"{len(record.manifests)} manifests, {len(record.timings)} timed steps"
    run.log.say(f"{seen} → {', '.join(map(str, written))}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
