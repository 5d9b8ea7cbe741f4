"""Puts the shards together into train.bin and val.bin, and measures how much held-out text stands
in training.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import TOKEN_FILES, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        "sources[].name",
        "sources[].weight",
        "prepare.val_fraction",
        "prepare.token_bits",
        "evaluate.span",
        "seed",
    ),
    reads={
        "shards": File("folders of shards, or their .bin files", many=True),
        "tokenizer": TOKENIZER,
    },
    writes={"output_dir": Folder("folder for train.bin and val.bin", files=TOKEN_FILES.files)},
)


@STEP
def main(run: Run) -> None:
    from snakelm.data.bins import idx_path
    from snakelm.data.tokens.prepare import prepare_data, shard_bins
    from snakelm.tokenizer import Tokenizer

    files, output = run.files, run.files.output_dir
    tokenizer = Tokenizer.load(files.tokenizer)
    counts = prepare_data(files.shards, tokenizer, run.config, output, run.log)

    # The shards will not stay; the documents that they were made from do.
    bins = [output / "train.bin", output / "val.bin"]
    for path in bins:
        run.vouch(
            path,
            inputs=[files.tokenizer / "meta.json"],
            files=[idx_path(path)],
            through=shard_bins(files.shards, path.stem),
            counts=counts,
        )
    run.vouch(output / "val_overlap.npy", inputs=bins, counts=counts)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
