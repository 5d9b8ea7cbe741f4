"""Writes a vector of each of some documents, by our own model or by the sentence model, with the
model's surprise.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.filter.base import offline
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--documents", required=True, type=Path, help="parquet file of the run's documents"
    )
    arguments.add_argument("--model", required=True, type=Path, help="final_model.pt")
    arguments.add_argument("--tokenizer", required=True, type=Path, help="folder of its tokenizer")
    arguments.add_argument(
        "--val", required=True, type=Path, help="val.bin: which documents are held out"
    )
    arguments.add_argument(
        "--scores", type=Path, help="scores.parquet of the filter, where there was one"
    )
    arguments.add_argument("--output", required=True, type=Path, help="parquet file to write")
    arguments.add_argument("--threads", type=int, default=1, help="at most so many")
    arguments.add_argument("--log", type=Path, help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("generate_embeddings", args.log) as log:
        log.say("loading torch")
        offline()
        from snakelm.evaluation.embeddings.generate import EmbeddingFiles, generate

        files = EmbeddingFiles(
            args.documents, args.model, args.tokenizer, args.val, args.scores, args.output
        )
        facts = generate(config, files, args.threads, log)
    given = (args.documents, args.model, args.tokenizer / "meta.json", args.val, args.scores)
    sections = ("embeddings", *(("classifier",) if config.embeddings.by == "sentence" else ()))
    write_manifest(
        args.output, inputs=[path for path in given if path], config=as_mapping(config, sections, cosmetic=False),
        script=__file__, seed=config.seed, extra={"embeddings": facts},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
