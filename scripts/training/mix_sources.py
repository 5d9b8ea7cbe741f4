"""Mixes the sources of train.bin anew for the proxies of a source ablation: a token file for each
mixture.

Nothing is tokenised again. What can't be studied (a source without documents, too few tokens) is
said here, before anything is trained.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        "source_ablation",
        "sources[].name",
        "sources[].weight",
        "train.steps",
        "train.batch_tokens",
        "train.regime",
        "seed",
    ),
    reads={
        "train_bin": File("training tokens"),
        "val_bin": File("held-out tokens"),
        "documents": File("documents that the token files were made of"),
        "tokenizer": TOKENIZER,
    },
    writes={
        "output": File("mixtures.json: their shares and sizes"),
        "mixtures": File("train.bin of each, in a folder of its name", many=True),
    },
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.bins import idx_path
    from snakelm.data.tokens.mixtures import mix_sources
    from snakelm.files import write_json
    from snakelm.tokenizer import Tokenizer

    f = run.files
    tokenizer = Tokenizer.load(f.tokenizer)
    plan = mix_sources(
        run.config, f.train_bin, f.val_bin, f.documents, tokenizer, f.mixtures, run.log
    )
    write_json(f.output, plan.as_json())

    counts = {"mixtures": len(plan.mixtures)}
    for path in f.mixtures:
        run.vouch(path, files=[idx_path(path)], counts=plan.mixture(path.parent.name).as_json())
    run.vouch(f.output, counts=counts)
    return counts


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
