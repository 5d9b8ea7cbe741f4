"""Measures what the tokenizer makes of the run's documents: tokens.json, with a manifest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import load_config
from snakelm.evaluation.tokenizer_statistics import measure, summary
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
        "--documents", required=True, type=Path, help="documents that the tokens were made from"
    )
    arguments.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer")
    arguments.add_argument(
        "--processed", required=True, type=Path, help="folder with train.bin and val.bin"
    )
    arguments.add_argument("--threads", type=int, default=1, help="threads of the tokenizer")
    arguments.add_argument("--output", required=True, help="tokens.json")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    seed = load_config(args.config).seed
    with Log("measure_tokenizer", args.log) as log:
        record = measure(args.documents, args.tokenizer, args.processed, seed, args.threads)
        write_json(args.output, record.as_json())
        inputs = [
            args.documents,
            args.tokenizer / "meta.json",
            *(args.processed / n for n in ("train.bin", "val.bin")),
        ]
        write_manifest(args.output, inputs=inputs, config={}, script=__file__, seed=seed)
        log.say(summary(record))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
