"""Keeps the documents that the trained filter takes for academic text, and records the score of
every one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.workflow.artefacts import FILTER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("filter",),
    reads={"documents": File("parquet file to filter"), "model": FILTER},
    writes={
        "output": File(
            "parquet file to write; scores go beside it",
            leaves=("scores.parquet", "near_threshold.json"),
        )
    },
    threads="threads of the sentence model",
)


@STEP
def main(run: Run) -> Counts:
    if run.config.filter == "none":
        raise UserError("filter: found none; say setfit, static or cascade to filter")

    from snakelm.filter.base import offline

    offline()
    import torch

    from snakelm.device import choose_threads
    from snakelm.filter.cascade import Filter
    from snakelm.filter.dataset import filter_documents

    torch.set_num_threads(choose_threads(run.threads, None, 1, run.log.warn))
    files = run.files
    model, model_file = Filter.load(files.model, run.config.filter), files.model / "filter.json"
    return filter_documents(files.documents, model, model_file, files.output, run.log)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
