"""Lays the vectors of documents out on a plane by t-SNE and draws the map, once for each
colouring.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("tsne", "seed"),
    reads={"embeddings": File("documents.parquet of generate_embeddings")},
    writes={
        "map": File("map.parquet to write"),
        "figures": File("map_source.svg, map_loss.svg, …: coloured as the name says", many=True),
    },
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.figures.map import draw_map
    from snakelm.evaluation.embeddings.layout import lay_out
    from snakelm.evaluation.embeddings.map import read_map, write_map
    from snakelm.evaluation.embeddings.table import read_vectors

    tsne, files = run.config.tsne, run.files
    vectors, columns = read_vectors(files.embeddings)
    run.log.say(f"{len(vectors):,} documents, vectors of {vectors.shape[1]} dimensions")
    layout = lay_out(vectors, tsne.perplexity, tsne.method, run.config.seed)
    run.log.say(layout.in_words())

    write_map(files.map, layout.positions, columns)
    about = {"documents": len(vectors), "distinct": layout.distinct, "method": layout.method}
    run.vouch(files.map, counts={"map": {**about, "perplexity": layout.perplexity}})

    documents = read_map(files.map)
    for path in files.figures:
        draw_map(documents, path)
    run.log.say(f"{files.map}, {', '.join(path.name for path in files.figures)}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
