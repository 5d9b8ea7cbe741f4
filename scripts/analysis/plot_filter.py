"""Draws the filter's threshold figure (SVG) and writes its table (HTML): kept by source, quality,
doubtful texts.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import read_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--measured", required=True, type=Path, help="setfit_train.json")
    arguments.add_argument(
        "--documents",
        required=True,
        type=Path,
        help="the filtered documents; their manifest is read",
    )
    arguments.add_argument("--near", required=True, type=Path, help="near_threshold.json")
    arguments.add_argument("--figure", required=True, help="SVG file to write")
    arguments.add_argument("--table", required=True, help="HTML file to write")
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    with Log("plot_filter", given.log) as log:
        from snakelm.analysis.figures.filter import (
            filter_threshold,  # matplotlib takes a second to load
        )
        from snakelm.analysis.manifests import FilterManifest
        from snakelm.analysis.tables.filter import write_filter
        from snakelm.filter.records import read_filter, read_near_threshold

        measured, near = read_filter(given.measured), read_near_threshold(given.near)
        filtered = FilterManifest.model_validate(read_manifest(given.documents))
        filter_threshold(measured, given.figure)
        write_filter(measured, filtered, near, given.table)
        log.say(f"{given.figure}, {given.table}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
