"""Trains the academic filter: SetFit on labelled texts, and its fast student on the run's own
documents.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import FILTER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("classifier", "seed"),
    reads={"documents": File("parquet file whose documents teach the student")},
    writes={
        "output": Folder("folder to write the filter into", files=FILTER.files),
        "table": File("JSON file for what was measured"),
    },
    threads="threads of the sentence model",
)


@STEP
def main(run: Run) -> None:
    from snakelm.filter.base import base_folder, check_filter, offline
    from snakelm.filter.folder import vouched_files
    from snakelm.filter.labels import label_files

    check_filter(run.config.classifier)
    offline()
    import torch

    from snakelm.device import choose_threads
    from snakelm.files import write_json
    from snakelm.filter.train import train_filter

    config, files = run.config, run.files
    torch.set_num_threads(choose_threads(run.threads, None, 1, run.log.warn))
    measured = train_filter(files.documents, config.classifier, config.seed, files.output, run.log)
    table = measured.as_json()
    write_json(files.table, table)

    base = base_folder(config.classifier) / "model.safetensors"
    run.users = [*map(Path, label_files(config.classifier.labels)), base]
    run.vouch(
        files.output / "filter.json",
        files=[*vouched_files(files.output), files.table],
        counts={name: table[name] for name in ("labels", "band", "held_out", "agreement", "asked")},
    )
    run.vouch(files.table)  # it lies where nobody would look for the filter's manifest


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
