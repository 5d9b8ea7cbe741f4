"""Takes a source's documents, or the share of them that the config asks for, into one parquet file
with ids.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.data.documents.sample import sample
from snakelm.data.reading.readers import expand, source_named
from snakelm.errors import UserError
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument("--source", required=True, help="name of the source")
    arguments.add_argument(
        "--files", nargs="*", default=[], help="its files; those of sources[].path when left out"
    )
    arguments.add_argument("--output", required=True, type=Path, help="parquet file to write")
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    source = source_named(config, given.source)
    if not given.files and not source.path:
        raise UserError(
            f"--files: missing; source {source.name} is not local: give what collect wrote"
        )
    files = given.files or expand(source.path)
    with Log("sample_data", given.log) as log:
        extra = sample(
            source, files, given.output, seed=config.seed, on_bad=config.on_bad_file, log=log
        )
    sections = as_mapping(config, ("sources", "on_bad_file"), cosmetic=False)
    write_manifest(
        given.output, inputs=files, config=sections, script=__file__, seed=config.seed, extra=extra
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
