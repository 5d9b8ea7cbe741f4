"""Draws the instruction tuning: figures (SVG) of its course and packs, tables (HTML) of answers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import MANIFESTS, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("sft.clip", "sft_data"),
    shows=("sft_data",),  # their licences
    reads={
        "metrics": File("sft_metrics.csv"),
        "packs": File("train_sft_packed.bin; some of it is shown"),
        "tokenizer": TOKENIZER,
    },
    beside={
        "samples": File("sft_samples.jsonl", optional=True),
        "training_log": File("sft_training.log; says where it was resumed", optional=True),
        "artefacts": MANIFESTS,
    },
    writes={
        "figures": Folder(
            "folder for the figures",
            files=(
                "sft_loss.svg",
                "sft_packing.svg",
                "sft_learning_rate.svg",
                "sft_gradient_norm.svg",
                "sft_throughput.svg",
            ),
        ),
        "tables": Folder(
            "folder for the tables",
            files=("answers.html", "conversations.html", "sft_samples.html"),
        ),
    },
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.plot import plot_tuning
    from snakelm.analysis.tuning_record import conversations, read_tuning
    from snakelm.data.packs import open_packs
    from snakelm.tokenizer import Tokenizer

    f = run.files
    tokenizer = Tokenizer.load(f.tokenizer)
    examples = conversations(open_packs(f.packs, tokenizer.sha256, verify=False), tokenizer)
    artefacts = [f.packs, *f.artefacts]
    tuned = read_tuning(run.config, f.metrics, f.samples, f.training_log, artefacts)

    written = plot_tuning(tuned, examples, f.figures, f.tables)
    rows = len(tuned.training.metrics)
    run.log.say(f"{rows:,} rows → {len(written)} figures and tables in {f.figures}, {f.tables}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
