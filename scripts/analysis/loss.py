"""Measures where a run's loss comes from, on held-out text and answers, before and after
fine-tuning.

Writes loss.json, and beside it a parquet with every held-out document. Without a tuned model the
base model's half stands alone.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.training.launch import restart_with_environment
from snakelm.workflow.artefacts import TOKEN_FILES, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("evaluate.clean_share", "train.device", "seed"),
    reads={
        "base": File("final_model.pt"),
        "tuned": File("sft_model.pt, where there is one", optional=True),
        "processed": TOKEN_FILES,
        "documents": File("documents that the token files were made of"),
        "tokenizer": TOKENIZER,
        "metrics": File("training_metrics.csv"),
    },
    writes={
        "output": File("loss.json"),
        "per_document": File("parquet with every held-out document"),
    },
    threads="at most this many",
    default_threads=None,
)


@STEP
def main(run: Run) -> None:
    run.log.say("loading torch")
    from snakelm.evaluation.heldout_loss import HeldOutLossFiles, measure_loss, summary
    from snakelm.files import write_json

    f = run.files
    packs = [f.processed / "val_sft_packed.bin"] if f.tuned else []
    run.check(packs)
    files = HeldOutLossFiles(f.base, f.tuned, f.processed, f.documents, f.tokenizer, f.metrics)
    measured = measure_loss(run.config, files, run.most_threads, run.log)
    measured.write_documents(f.per_document)
    write_json(f.output, measured.record.as_json())

    for artefact in (f.per_document, f.output):
        run.vouch(artefact, inputs=[*run.inputs(), *packs])
    run.log.say(summary(measured.record))


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
