"""Tells each document's language, and drops those in languages that aren't wanted."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("languages", "seed"),
    reads={"documents": File("documents to tell the language of")},
    writes={
        "output": File("parquet file to write, with a column `language`"),
        "examples": File("JSON with a few dropped documents a reason"),
    },
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.documents.languages import languages
    from snakelm.files import write_json

    config, files = run.config, run.files
    if config.languages.keep is None:
        raise UserError("languages.keep: found null; say all, or the languages to keep")

    counts, examples = languages(
        files.documents, files.output, config.languages, config.seed, run.log
    )
    write_json(files.examples, examples)
    return counts


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
