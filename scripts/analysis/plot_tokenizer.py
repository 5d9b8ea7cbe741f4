"""Draws what measure_tokenizer found: fertility and frequencies (SVG), examples and lists of tokens
(HTML).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--measured", required=True, type=Path, help="tokens.json")
    arguments.add_argument("--fertility", required=True, help="SVG file to write")
    arguments.add_argument("--frequencies", required=True, help="SVG file to write")
    arguments.add_argument("--table", required=True, help="HTML file to write")
    arguments.add_argument("--log", help="log file")
    args = arguments.parse_args(argv)
    with Log("plot_tokenizer", args.log) as log:
        from snakelm.analysis.figures.tokens import (  # matplotlib takes a second to load
            fertility,
            token_frequencies,
        )
        from snakelm.analysis.tables.tokens import write_tokenizer
        from snakelm.evaluation.records import read_tokenizer_statistics

        record = read_tokenizer_statistics(args.measured)
        fertility(record, args.fertility)
        token_frequencies(record, args.frequencies)
        write_tokenizer(record, args.table)
        log.say(f"{args.fertility}, {args.frequencies}, {args.table}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
