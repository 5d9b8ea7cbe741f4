"""Draws learning from preferences: figures (SVG) of its loss and rewards, a table (HTML) of its
data and answers.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import MANIFESTS
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("preferences.clip",),
    reads={"metrics": File("preference_metrics.csv")},
    beside={
        "samples": File("preference_samples.jsonl", optional=True),
        "training_log": File("preference_training.log; says where it was resumed", optional=True),
        "artefacts": MANIFESTS,
    },
    writes={
        "figures": Folder(
            "folder for the figures", files=("preference_loss.svg", "preference_rewards.svg")
        ),
        "tables": Folder("folder for the tables", files=("preferences.html",)),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.plot import plot_preferences
    from snakelm.analysis.preference_record import read_preferences

    f = run.files
    record = read_preferences(run.config, f.metrics, f.samples, f.training_log, f.artefacts)
    written = plot_preferences(record, f.figures, f.tables)
    rows = len(record.training.metrics)
    run.log.say(f"{rows:,} rows → {len(written)} figures and tables in {f.figures}, {f.tables}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
