"""Counts or masks personal data in documents, or drops those that hold any."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("personal_data", "seed", "deduplicate.exact"),
    reads={"documents": File("documents to look through")},
    writes={
        "output": File("parquet file to write"),
        "places": File("JSON with where a few of each kind are; not with what they are"),
    },
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.documents.personal_data import personal_data
    from snakelm.files import write_json

    config, files = run.config, run.files
    if config.personal_data.action == "off":
        raise UserError("personal_data.action: found off; say count, mask or drop")

    counts, places = personal_data(
        files.documents,
        files.output,
        config.personal_data,
        config.seed,
        run.log,
        config.deduplicate.exact,
    )
    write_json(files.places, places)
    return counts


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
