"""Sets the trainings of a sweep side by side: figure (SVG), table (HTML), numbers (JSON)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import MANIFESTS
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("sweep",),
    reads={"models": MANIFESTS, "metrics": File("metrics of each", many=True)},
    writes={
        "figure": File("SVG file to write"),
        "table": File("HTML file to write"),
        "record": File("JSON file to write"),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.figures.sweep import draw_sweep
    from snakelm.analysis.tables.sweep import verdict, write_sweep
    from snakelm.evaluation.sweep import measure_sweep
    from snakelm.files import write_json
    from snakelm.workflow.sweep import sweep_keys

    files = run.files
    record = measure_sweep(list(sweep_keys(run.config)), files.models)
    write_json(files.record, record.as_json())
    draw_sweep(record, files.figure)
    write_sweep(record, files.table)

    run.log.say(f"{len(record.points)} trainings → {files.table}, {files.figure}")
    for sentence in verdict(record):
        run.log.say(sentence)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
