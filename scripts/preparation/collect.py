"""Makes one parquet file of a source that is builtin or a url: docstrings, generated or fetched
text.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.data.corpora.collect import collect
from snakelm.data.reading.readers import source_named
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
        "--files", nargs="*", default=[], help="the fetched files of a url source, in order"
    )
    arguments.add_argument("--output", required=True, type=Path, help="parquet file to write")
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    source = source_named(config, given.source)
    with Log("collect", given.log) as log:
        extra = collect(
            source, given.files, given.output, seed=config.seed, on_bad=config.on_bad_file, log=log
        )
    sections = as_mapping(config, ("sources", "on_bad_file"), cosmetic=False)
    write_manifest(
        given.output,
        inputs=given.files,
        config=sections,
        script=__file__,
        seed=config.seed,
        extra={"collected": extra},
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
