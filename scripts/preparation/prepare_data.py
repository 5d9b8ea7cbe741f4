"""Puts the shards together into train.bin and val.bin, and measures how much held-out text training
has seen.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.data.bins import idx_path
from snakelm.data.tokens.prepare import prepare_data, shard_bins
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
        "--shards", nargs="+", required=True, help="folders of shards, or their .bin files"
    )
    arguments.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer")
    arguments.add_argument(
        "--output-dir", required=True, type=Path, help="folder for train.bin and val.bin"
    )
    arguments.add_argument("--log", help="log file")
    given = arguments.parse_args(argv)
    config = load_config(given.config)
    with Log("prepare_data", given.log) as log:
        extra = prepare_data(
            given.shards, Tokenizer.load(given.tokenizer), config, given.output_dir, log
        )
    sections = as_mapping(config, ("prepare", "evaluate"), cosmetic=False)
    for split in ("train", "val"):
        output = given.output_dir / f"{split}.bin"
        write_manifest(
            output,
            inputs=[given.tokenizer / "meta.json"],
            through=shard_bins(
                given.shards, split
            ),  # Snakemake deletes them; the documents they were made from stay
            files=[idx_path(output)],
            config=sections,
            script=__file__,
            seed=config.seed,
            extra=extra,
        )
    bins = [given.output_dir / "train.bin", given.output_dir / "val.bin"]
    overlap = given.output_dir / "val_overlap.npy"
    write_manifest(
        overlap, inputs=bins, config=sections, script=__file__, seed=config.seed, extra=extra
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
