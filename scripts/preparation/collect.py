"""Makes one parquet file of a source that is built in or fetched: docstrings, generated text,
downloads.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step, Value

OF_A_SOURCE = ("name", "path", "url", "sha256", "builtin", "limit")
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
            "the fetched files of a url source, in order", many=True, optional=True, verified=False
        )
    },
    writes={"output": File("parquet file to write")},
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.corpora.collect import collect
    from snakelm.data.reading.readers import source_named

    config, files = run.config, run.files
    source = source_named(config, run.values.source)
    collected = collect(
        source,
        files.files,
        files.output,
        seed=config.seed,
        on_bad=config.on_bad_file,
        largest=config.max_document_bytes,
        log=run.log,
    )
    return {"collected": collected}


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
