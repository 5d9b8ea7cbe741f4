"""Puts the sampled sources into one parquet file without exact and near duplicates."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("deduplicate", "sources[].name"),  # the order of the sources decides which copy stays
    reads={"inputs": File("sampled sources, in their order", many=True)},
    writes={"output": File("parquet file to write")},
    threads="threads that compute signatures",
)


@STEP
def main(run: Run) -> Counts:
    from snakelm.data.documents.deduplicate import deduplicate

    files = run.files
    return deduplicate(files.inputs, files.output, run.config.deduplicate, run.log, run.threads)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
