"""Packs conversations for instruction tuning: train_sft_packed.bin and val_sft_packed.bin, each
with its .idx.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.data.bins import idx_path
from snakelm.data.conversations.prepare import prepare_sft, source_paths
from snakelm.log import Log
from snakelm.tokenizer import Tokenizer
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer")
    arguments.add_argument(
        "--output-dir", required=True, type=Path, help="folder for the packed files"
    )
    arguments.add_argument(
        "--threads", type=int, default=1, help="threads that tokenise (default: 1)"
    )
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    with Log("prepare_sft_data", given.log) as log:
        tokenizer = Tokenizer.load(given.tokenizer)
        paths, counts = prepare_sft(
            config, tokenizer, given.output_dir, threads=given.threads, log=log
        )
    sections = as_mapping(config, ("sft_data", "on_bad_file"), cosmetic=False)
    inputs = [file for source in config.sft_data.sources for file in source_paths(source)]
    for path in paths.values():
        write_manifest(
            path,
            inputs=[*inputs, given.tokenizer / "meta.json"],
            files=[idx_path(path)],
            config=sections,
            script=__file__,
            seed=config.seed,
            extra=counts,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
