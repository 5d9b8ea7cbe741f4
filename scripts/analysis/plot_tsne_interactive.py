"""Writes the map of documents as a page to move about in, offline, and as a smaller one that a
report can hold.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.files import human_bytes
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--map", required=True, type=Path, help="map.parquet of visualize_embeddings"
    )
    arguments.add_argument("--output", required=True, type=Path, help="HTML file to write")
    arguments.add_argument(
        "--report", required=True, type=Path, help="HTML file to write for the report"
    )
    arguments.add_argument("--log", type=Path, help="log file")
    args = arguments.parse_args(argv)
    with Log("plot_tsne_interactive", args.log) as log:
        from snakelm.analysis.map_page import write_map_page, write_report_page
        from snakelm.evaluation.embeddings.map import read_map

        documents = read_map(args.map)
        for write, path in ((write_map_page, args.output), (write_report_page, args.report)):
            shown = write(documents, path)
            log.say(
                f"{path}: {shown:,} of {len(documents):,} documents, {human_bytes(path.stat().st_size)}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
