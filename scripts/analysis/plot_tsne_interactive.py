"""Writes the map of documents as a page to move about in, offline, and a smaller one for the
report.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    reads={"map": File("map.parquet of visualize_embeddings")},
    writes={
        "output": File("HTML file to write"),
        "report": File("HTML file to write for the report"),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.map_page import write_map_page, write_report_page
    from snakelm.evaluation.embeddings.map import read_map
    from snakelm.files import human_bytes

    files, documents = run.files, read_map(run.files.map)
    for write, path in ((write_map_page, files.output), (write_report_page, files.report)):
        shown = write(documents, path)
        size = human_bytes(path.stat().st_size)
        run.log.say(f"{path}: {shown:,} of {len(documents):,} documents, {size}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
