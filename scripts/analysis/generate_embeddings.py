"""Gives each of some documents a vector: the model's own states, or those of the sentence model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import Config
from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step


def _keys(config: Config) -> tuple[str, ...]:
    sentence = ("classifier.base", "classifier.base_sha256", "classifier.max_tokens")
    by_sentence = config.embeddings.by == "sentence"
    return (
        "embeddings",
        "train.device",
        "train.precision",
        "seed",
        *(sentence if by_sentence else ()),
    )


STEP = Step(
    __file__,
    __doc__,
    config=_keys,
    reads={
        "documents": File("parquet file of the run's documents"),
        "model": File("final_model.pt"),
        "tokenizer": TOKENIZER,
        "val": File("val.bin: which documents are held out"),
        "scores": File("scores.parquet of the filter, where there was one", optional=True),
    },
    writes={"output": File("parquet file to write")},
    threads="at most this many",
)


@STEP
def main(run: Run) -> Counts:
    run.log.say("loading torch")
    from snakelm.filter.base import offline

    offline()
    from snakelm.evaluation.embeddings.generate import EmbeddingFiles, generate

    f = run.files
    files = EmbeddingFiles(f.documents, f.model, f.tokenizer, f.val, f.scores, f.output)
    return {"embeddings": generate(run.config, files, run.threads, run.log)}


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
