"""Drops documents, and lines of them, by rules on the text alone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.data.documents.quality import quality
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument("--documents", required=True, type=Path, help="documents to judge")
    arguments.add_argument("--output", required=True, type=Path, help="parquet file to write")
    arguments.add_argument(
        "--examples", required=True, type=Path, help="JSON with a few dropped documents a rule"
    )
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    with Log("quality", given.log) as log:
        extra, examples = quality(given.documents, given.output, config.quality, config.seed, log)
    write_json(given.examples, examples)
    sections = as_mapping(config, ("quality",), cosmetic=False)
    write_manifest(
        given.output,
        inputs=[given.documents],
        files=[given.examples],
        config=sections,
        script=__file__,
        seed=config.seed,
        extra=extra,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
