"""Draws the filter's threshold (SVG) and writes what it kept, how good it is, and doubtful texts
(HTML).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    reads={
        "measured": File("setfit_train.json"),
        "documents": File("the filtered documents; their manifest is read"),
        "near": File("near_threshold.json"),
    },
    writes={"figure": File("SVG file to write"), "table": File("HTML file to write")},
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.figures.filter import filter_threshold
    from snakelm.analysis.manifests import FilterManifest, as_kind, read_manifests
    from snakelm.analysis.tables.filter import write_filter
    from snakelm.filter.records import read_filter, read_near_threshold

    files = run.files
    measured, near = read_filter(files.measured), read_near_threshold(files.near)
    manifest = read_manifests([files.documents])[str(files.documents)]
    filtered = as_kind(manifest, FilterManifest)
    filter_threshold(measured, files.figure)
    write_filter(measured, filtered, near, files.table)
    run.log.say(f"{files.figure}, {files.table}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
