"""Draws what measure_tokenizer found: fertility and frequencies (SVG), examples and lists of tokens
(HTML).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    reads={"measured": File("tokens.json")},
    writes={
        "fertility": File("SVG file to write"),
        "frequencies": File("SVG file to write"),
        "table": File("HTML file to write"),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.figures.tokens import fertility, token_frequencies
    from snakelm.analysis.tables.tokens import write_tokenizer
    from snakelm.evaluation.records import read_tokenizer_statistics

    files = run.files
    record = read_tokenizer_statistics(files.measured)
    fertility(record, files.fertility)
    token_frequencies(record, files.frequencies)
    write_tokenizer(record, files.table)
    run.log.say(f"{files.fertility}, {files.frequencies}, {files.table}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
