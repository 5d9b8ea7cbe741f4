"""Puts the sampled sources into one parquet file without exact and near duplicates."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.data.documents.deduplicate import deduplicate
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--inputs", nargs="+", required=True, help="sampled sources, in their order"
    )
    arguments.add_argument("--output", required=True, type=Path, help="parquet file to write")
    arguments.add_argument("--threads", type=int, default=1, help="threads that make signatures")
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    with Log("deduplicate", given.log) as log:
        extra = deduplicate(given.inputs, given.output, config.deduplicate, log, given.threads)
    sections = as_mapping(config, ("deduplicate",), cosmetic=False)
    write_manifest(
        given.output,
        inputs=given.inputs,
        config=sections,
        script=__file__,
        seed=config.seed,
        extra=extra,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
