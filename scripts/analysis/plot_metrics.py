"""Draws the data and the pretraining: figures (SVG), and tables (HTML) of samples and sources."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import MANIFESTS, TRAINING_LOG
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("preset", "sources", "prepare", "model", "train", "evaluate", "seed"),
    shows=("sources",),  # their licences
    reads={
        "metrics": File("training_metrics.csv"),
        "baseline": File("baseline.json", optional=True),
        "train_bin": File("train.bin, for the lengths of documents"),
    },
    beside={
        "samples": File("samples.jsonl", optional=True),
        "training_log": TRAINING_LOG,
        "artefacts": MANIFESTS,
    },
    writes={
        "figures": Folder(
            "folder for the figures",
            files=(
                "bits_per_byte.svg",
                "funnel.svg",
                "document_lengths.svg",
                "loss.svg",
                "learning_rate.svg",
                "gradient_norm.svg",
                "throughput.svg",
            ),
        ),
        "tables": Folder("folder for the tables", files=("sources.html", "samples.html")),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.plot import plot
    from snakelm.analysis.run_record import read_record

    f = run.files
    record = read_record(
        run.config,
        metrics=f.metrics,
        samples=f.samples,
        baseline=f.baseline,
        artefacts=[f.train_bin, *f.artefacts],
        training_log=f.training_log,
    )
    written = plot(record, f.train_bin, f.figures, f.tables)
    rows = len(record.metrics)
    run.log.say(f"{rows:,} rows → {len(written)} figures and tables in {f.figures}, {f.tables}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
