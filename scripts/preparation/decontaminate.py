"""Drops training documents that hold text of the evaluation sets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("decontaminate", "seed"),
    reads={
        "documents": File("documents to clean"),
        "evaluation": File(
            "files of the evaluation sets; decontaminate.files when left out",
            many=True,
            optional=True,
            users=True,
        ),
    },
    writes={
        "output": File("parquet file to write"),
        "examples": File("JSON with a few dropped documents an evaluation file"),
    },
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.documents.decontaminate import decontaminate
    from snakelm.files import write_json
    from snakelm.user_paths import expand

    config, files = run.config, run.files
    run.users = files.evaluation or expand(config.decontaminate.files, "decontaminate.files")
    counts, examples = decontaminate(
        files.documents, files.output, run.users, config.decontaminate, config.seed, run.log
    )
    write_json(files.examples, examples)
    return counts


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
