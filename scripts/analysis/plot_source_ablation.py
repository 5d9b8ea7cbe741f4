"""Draws what each source did for held-out text: figure (SVG) and table (HTML)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    reads={"measured": File("source_ablation.json")},
    writes={"figure": File("SVG file to write"), "table": File("HTML file to write")},
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.figures.source_ablation import draw_source_ablation
    from snakelm.analysis.tables.source_ablation import write_source_ablation
    from snakelm.evaluation.source_ablation_record import read_source_ablation

    files = run.files
    record = read_source_ablation(files.measured)
    draw_source_ablation(record, files.figure)
    write_source_ablation(record, files.table)
    run.log.say(f"{len(record.sources)} sources → {files.table}, {files.figure}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
