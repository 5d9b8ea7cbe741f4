"""Trains the academic filter: SetFit on labelled texts, and its fast student on the run's own
documents.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.files import write_json
from snakelm.filter.base import base_folder, check_filter, offline
from snakelm.filter.folder import vouched_files
from snakelm.filter.labels import label_files
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--documents",
        required=True,
        type=Path,
        help="parquet file whose documents teach the student",
    )
    arguments.add_argument(
        "--output", required=True, type=Path, help="folder to write the filter into"
    )
    arguments.add_argument(
        "--table", required=True, type=Path, help="JSON file for what was measured"
    )
    arguments.add_argument("--threads", type=int, default=1, help="threads of the sentence model")
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    with Log("setfit_train", given.log) as log:
        check_filter(config)
        offline()
        import torch  # not at the top: --help and a missing package needn't wait for it

        from snakelm.filter.train import train_filter
        from snakelm.training.device import choose_threads

        torch.set_num_threads(choose_threads(given.threads, None, 1, log.warn))
        found = train_filter(given.documents, config.classifier, config.seed, given.output, log)
    write_json(given.table, found)
    base = base_folder(config.classifier) / "model.safetensors"
    inputs = [given.documents, *label_files(config.classifier.labels), base]
    sections = as_mapping(config, ("classifier",), cosmetic=False)
    counts = {name: found[name] for name in ("labels", "band", "held_out", "agreement", "asked")}
    write_manifest(
        given.output / "filter.json",
        inputs=inputs,
        files=[*vouched_files(given.output), given.table],
        config=sections,
        script=__file__,
        seed=config.seed,
        extra=counts,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
