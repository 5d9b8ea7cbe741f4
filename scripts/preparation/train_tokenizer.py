"""Trains the tokenizer on the run's documents, or brings a published encoding into the same form.

    python scripts/preparation/train_tokenizer.py --config config.yaml \\
        --documents results/data/deduplicated/documents.parquet --output results/tokenizer

Writes ranks.tiktoken, tokenizer.json and meta.json. With `tokenizer.kind: tiktoken`,
`tokenizer.file` is read; of OpenAI's own files the pattern and the end-of-text id are known, of any
other the pattern is `tokenizer.pattern` and the end-of-text token follows the last rank. With
`train.base` the tokenizer is that of the base, extended where `tokenizer.vocab_size` is larger.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import Config
from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step


def _keys(config: Config) -> tuple[str, ...]:
    kind = config.tokenizer.kind
    trained = ("prepare.val_fraction", "seed") if kind != "tiktoken" else ()
    return ("tokenizer", *trained, *(("train.base",) if kind == "base" else ()))


STEP = Step(
    __file__,
    __doc__,
    config=_keys,
    reads={"documents": File("parquet with columns text and id")},
    writes={"output": Folder("where the tokenizer goes", files=TOKENIZER.files)},
    threads="threads that count words; changes no result",
)


@STEP
def main(run: Run) -> None:
    from snakelm.config.base import tokenizer_file
    from snakelm.data.tokens.base_tokenizer import kept_or_extended
    from snakelm.data.tokens.tokenizer_sample import train_on_documents
    from snakelm.tokenizer.of_base import tokenizer_of_base
    from snakelm.tokenizer.patterns import slow_pattern
    from snakelm.tokenizer.published import published
    from snakelm.user_paths import home

    config, output = run.config, run.files.output
    if config.tokenizer.kind == "tiktoken":
        file = home(str(config.tokenizer.file))  # checked when the configuration was read
        tokenizer = published(file, config.tokenizer.pattern)
        if warning := slow_pattern(tokenizer.pattern):
            run.log.warn(warning)
        run.users, inputs = [file], []
    elif config.tokenizer.kind == "base":
        base = home(str(config.train.base))
        inputs = [*run.inputs(), tokenizer_file(base)]
        run.check(inputs[-1:])
        tokenizer = kept_or_extended(
            run.files.documents,
            tokenizer_of_base(base),
            config.tokenizer,
            val_fraction=config.prepare.val_fraction,
            seed=config.seed,
            threads=run.threads,
            log=run.log,
        )
    else:
        inputs = run.inputs()
        tokenizer = train_on_documents(
            run.files.documents,
            config.tokenizer,
            val_fraction=config.prepare.val_fraction,
            seed=config.seed,
            threads=run.threads,
            log=run.log,
        )

    tokenizer.save(output)
    meta, *others = TOKENIZER.files
    run.vouch(
        output / meta,
        inputs=inputs,
        files=[output / name for name in others],
        counts={"tokenizer_sha256": tokenizer.sha256, "training": tokenizer.facts},
    )
    run.log.say(
        f"{output}: {tokenizer.vocab_size} tokens, {tokenizer.pattern} pattern, "
        f"{tokenizer.sha256[:12]}"
    )


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
