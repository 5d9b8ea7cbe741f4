"""Takes out documents that are to be forgotten: those named by their hashes, their near copies, and
those that a rule is found in.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        *(f"forget.{key}" for key in ("documents", "text", "origin", "near", "missing")),
        *(f"deduplicate.{key}" for key in ("threshold", "permutations", "shingle")),
    ),
    reads={
        "documents": File("documents without duplicates"),
        "sampled": File(
            "the documents before that, where a list names any", many=True, optional=True
        ),
        "lists": File(
            "lists of hashes; forget.documents when left out",
            many=True,
            optional=True,
            users=True,
        ),
    },
    writes={
        "output": File("parquet file to write"),
        "places": File("JSON with where the forgotten documents are from; not what they say"),
    },
    threads="threads that compute signatures",
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.documents.forget import forget
    from snakelm.files import write_json
    from snakelm.user_paths import expand

    rules, files = run.config.forget, run.files
    if not (rules.documents or rules.text or rules.origin or files.lists):
        raise UserError("forget: found nothing; say forget.documents, text or origin")

    named = expand(rules.documents, "forget.documents") if rules.documents else []
    run.users = files.lists or named
    counts, places = forget(
        files.documents,
        files.sampled,
        run.users,
        files.output,
        rules,
        run.config.deduplicate,
        run.log,
        run.threads,
    )
    write_json(files.places, places)
    return counts


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
