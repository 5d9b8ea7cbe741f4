"""Lays the documents' vectors out as a map by t-SNE and draws it (SVG), once for each thing it is
coloured by.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--embeddings", required=True, type=Path, help="documents.parquet of generate_embeddings"
    )
    arguments.add_argument(
        "--map", required=True, type=Path, help="parquet file of places to write"
    )
    arguments.add_argument(
        "--figures",
        nargs="+",
        required=True,
        type=Path,
        help="map_source.svg, map_loss.svg, …, each coloured as its name says",
    )
    arguments.add_argument("--log", type=Path, help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("visualize_embeddings", args.log) as log:
        from snakelm.analysis.figures.map import draw_map
        from snakelm.evaluation.embeddings.layout import lay_out, library
        from snakelm.evaluation.embeddings.map import read_map, write_map
        from snakelm.evaluation.embeddings.table import read_vectors

        vectors, columns = read_vectors(args.embeddings)
        method = library(config.tsne.method, len(vectors))
        log.say(f"t-SNE of {len(vectors):,} documents by {method}, {vectors.shape[1]} numbers each")
        places = lay_out(vectors, config.tsne.perplexity, config.tsne.method, config.seed)
        write_map(args.map, places, columns)
        write_manifest(
            args.map, inputs=[args.embeddings], config=as_mapping(config, ["tsne"], cosmetic=False), script=__file__,
            seed=config.seed, extra={"map": {"documents": len(vectors), "method": method}},
        )  # fmt: skip
        documents = read_map(args.map)
        for path in args.figures:
            draw_map(documents, path)
        log.say(f"{args.map}, {', '.join(path.name for path in args.figures)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
