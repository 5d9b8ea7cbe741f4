"""Takes a source's documents, or the share of them that the config says, into one parquet file with
ids.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step, Value

OF_A_SOURCE = ("name", "path", "builtin", "fraction", "limit")
OF_ITS_FILES = ("text", "format", "split", "split_kb")

STEP = Step(
    __file__,
    __doc__,
    config=(
        *(f"sources[source].{key}" for key in (*OF_A_SOURCE, *OF_ITS_FILES)),
        "on_bad_file",
        "max_document_mb",
        "seed",
    ),
    values={"source": Value("name of the source")},
    reads={
        "files": File(
            "its files; sources[].path when left out", many=True, optional=True, verified=False
        )
    },
    writes={"output": File("parquet file to write")},
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.documents.sample import sample
    from snakelm.data.reading.readers import expand, source_named

    config, source, files = run.config, source_named(run.config, run.values.source), run.files
    if source.path:
        run.users, files.files = files.files or expand(source.path), []
    elif not files.files:
        raise UserError(
            f"--files: missing; source {source.name} is not local: give what collect wrote"
        )
    run.check(files.files)

    sampled = sample(
        source,
        run.users or files.files,
        files.output,
        seed=config.seed,
        on_bad=config.on_bad_file,
        largest=config.max_document_bytes,
        log=run.log,
    )
    return {**sampled["counts"], "text_bytes": sampled["text_bytes"]}


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
