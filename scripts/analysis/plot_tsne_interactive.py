"""Writes the map of documents as one page to move about in: offline, coloured by source, surprise, length or score."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.cli import parser, run
from snakelm.files import human_bytes
from snakelm.log import Log


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--map", required=True, type=Path, help="map.parquet of visualize_embeddings")
    arguments.add_argument("--output", required=True, type=Path, help="HTML file to write")
    arguments.add_argument("--log", type=Path, help="log file")
    args = arguments.parse_args(argv)
    with Log("plot_tsne_interactive", args.log) as log:
        from snakelm.analysis.embeddings.map import read_map
        from snakelm.analysis.interactive.map import write_map_page

        documents = read_map(args.map)
        shown = write_map_page(documents, args.output)
        size = human_bytes(args.output.stat().st_size)
        log.say(f"{args.output}: {shown:,} of {len(documents):,} documents, {size}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
