"""Writes what a model's bits per byte are held against: primed PPMd, xz and unigram on the held-out
documents.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.evaluation.baselines import baselines, summary
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--processed", required=True, help="folder with train.bin, val.bin and val_overlap.npy"
    )
    arguments.add_argument(
        "--tokenizer", required=True, help="folder of the tokenizer they were made with"
    )
    arguments.add_argument("--output", required=True, help="baseline.json")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("baseline", args.log) as log:
        record = baselines(
            args.processed,
            args.tokenizer,
            config.evaluate.compressor_mb,
            config.evaluate.clean_share,
        )
        write_json(args.output, record.as_json())
        inputs = [
            Path(args.processed) / name for name in ("train.bin", "val.bin", "val_overlap.npy")
        ]
        inputs.append(Path(args.tokenizer) / "meta.json")
        evaluate = as_mapping(config, ["evaluate"])
        write_manifest(
            args.output, inputs=inputs, config=evaluate, script=__file__, seed=config.seed
        )
        log.say(summary(record))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
