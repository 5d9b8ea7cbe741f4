"""Looks at every input file's footer, column, rows and nulls, at the free disk and the filter,
before any is read.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import load_config
from snakelm.data.reading.preflight import preflight
from snakelm.files import write_json
from snakelm.filter.base import check_filter
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--output", required=True, type=Path, help="JSON file for what was found"
    )
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    with Log("preflight", given.log) as log:
        found = preflight(config, given.output.absolute().parent, log)
        if config.filter != "none":
            found["filter"] = check_filter(config)
    write_json(given.output, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
