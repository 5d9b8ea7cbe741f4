"""Tokenises one share of the documents: train-<shard>.bin and val-<shard>.bin, each with its
.idx.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.data.bins import idx_path
from snakelm.data.tokens.shards import prepare_shard
from snakelm.log import Log
from snakelm.tokenizer import Tokenizer
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--documents", required=True, type=Path, help="documents.parquet, as deduplicate wrote it"
    )
    arguments.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer")
    arguments.add_argument("--shard", required=True, type=int, help="which share, from 0")
    arguments.add_argument("--of", required=True, type=int, help="how many shares there are")
    arguments.add_argument(
        "--output-dir", required=True, type=Path, help="folder for the shard's files"
    )
    arguments.add_argument(
        "--threads", type=int, default=1, help="threads that tokenise (default: 1)"
    )
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    with Log("prepare_shard", given.log) as log:
        paths = prepare_shard(
            given.documents,
            Tokenizer.load(given.tokenizer),
            config,
            shard=given.shard,
            of=given.of,
            output=given.output_dir,
            threads=given.threads,
            log=log,
        )
    sections = as_mapping(config, ("sources", "prepare"), cosmetic=False)
    for path in paths.values():
        write_manifest(
            path,
            inputs=[given.documents, given.tokenizer / "meta.json"],
            files=[idx_path(path)],
            config=sections,
            script=__file__,
            seed=config.seed,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
