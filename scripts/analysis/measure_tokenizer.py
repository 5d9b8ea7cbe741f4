"""Measures what the tokenizer makes of the run's documents."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("seed",),
    reads={
        "documents": File("documents that the tokens were made from"),
        "tokenizer": TOKENIZER,
        "processed": Folder(
            "folder with train.bin and val.bin",
            files=("train.bin", "train.idx", "val.bin", "val.idx"),
            vouched=("train.bin", "val.bin"),
        ),
    },
    writes={"output": File("tokens.json")},
    threads="threads of the tokenizer",
)


@STEP
def main(run: Run) -> None:
    from snakelm.evaluation.tokenizer_statistics import measure, summary
    from snakelm.files import write_json

    files = run.files
    record = measure(
        files.documents, files.tokenizer, files.processed, run.config.seed, run.threads
    )
    write_json(files.output, record.as_json())
    run.log.say(summary(record))


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
