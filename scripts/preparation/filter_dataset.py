"""Keeps the documents that the trained filter takes for academic text, and records the score of
every one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.errors import UserError
from snakelm.filter.base import offline
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument("--documents", required=True, type=Path, help="parquet file to filter")
    arguments.add_argument(
        "--model", required=True, type=Path, help="folder of the filter (setfit_train)"
    )
    arguments.add_argument(
        "--output", required=True, type=Path, help="parquet file to write; scores go beside it"
    )
    arguments.add_argument("--threads", type=int, default=1, help="threads of the sentence model")
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    if config.filter == "none":
        raise UserError("filter: found none; say setfit, static or cascade to filter")
    with Log("filter_dataset", given.log) as log:
        offline()
        import torch  # not at the top: --help needn't wait for it

        from snakelm.filter.cascade import Filter
        from snakelm.filter.dataset import filter_documents
        from snakelm.training.device import choose_threads

        torch.set_num_threads(choose_threads(given.threads, None, 1, log.warn))
        model, model_file = Filter.load(given.model, config.filter), given.model / "filter.json"
        extra = filter_documents(given.documents, model, model_file, given.output, log)
    sections = as_mapping(config, ("filter",), cosmetic=False)
    write_manifest(
        given.output,
        inputs=[given.documents, model_file],
        files=[given.output.with_name(name) for name in ("scores.parquet", "near_threshold.json")],
        config=sections,
        script=__file__,
        seed=config.seed,
        extra=extra,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
