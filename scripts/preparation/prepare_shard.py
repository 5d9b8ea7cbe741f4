"""Tokenizes one share of the documents: train-<shard>.bin and val-<shard>.bin, each with its
.idx.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step, Value

STEP = Step(
    __file__,
    __doc__,
    config=(
        "sources[].name",
        "sources[].weight",
        "prepare.val_fraction",
        "prepare.token_bits",
        "seed",
    ),
    values={
        "shard": Value("which share, from 0", int),
        "of": Value("how many shares there are", int, wildcard="shards"),
    },
    reads={
        "documents": File("documents.parquet, as the last check before it wrote it"),
        "tokenizer": TOKENIZER,
    },
    writes={"output_dir": Folder("folder for the shard's files")},
    threads="threads that tokenize",
)


@STEP
def main(run: Run) -> None:
    from snakelm.data.bins import idx_path
    from snakelm.data.tokens.shards import prepare_shard
    from snakelm.tokenizer import Tokenizer

    files, values = run.files, run.values
    paths = prepare_shard(
        files.documents,
        Tokenizer.load(files.tokenizer),
        run.config,
        shard=values.shard,
        of=values.of,
        output=files.output_dir,
        threads=run.threads,
        log=run.log,
    )
    for path in paths.values():
        run.vouch(path, files=[idx_path(path)])


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
