"""Writes what a model's bits per byte are held against: primed PPMd, xz and unigram on the held-out
documents.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import TOKEN_FILES, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("evaluate.compressor_mb", "evaluate.clean_share"),
    reads={"processed": TOKEN_FILES, "tokenizer": TOKENIZER},
    writes={"output": File("baseline.json")},
)


@STEP
def main(run: Run) -> None:
    from snakelm.evaluation.baselines import baselines, summary
    from snakelm.files import write_json

    files, evaluate = run.files, run.config.evaluate
    record = baselines(
        files.processed, files.tokenizer, evaluate.compressor_mb, evaluate.clean_share
    )
    write_json(files.output, record.as_json())
    run.log.say(summary(record))


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
