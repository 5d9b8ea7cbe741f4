"""Drops documents, and lines of them, by rules on the text alone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("quality", "seed", "deduplicate.exact"),
    reads={"documents": File("documents to judge")},
    writes={
        "output": File("parquet file to write"),
        "examples": File("JSON with a few dropped documents a rule"),
    },
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.documents.quality import quality
    from snakelm.files import write_json

    config, files = run.config, run.files
    counts, examples = quality(
        files.documents,
        files.output,
        config.quality,
        config.seed,
        run.log,
        config.deduplicate.exact,
    )
    write_json(files.examples, examples)
    return counts


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
