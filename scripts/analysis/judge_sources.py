"""Measures the proxies of a source ablation on held-out text: what each source does for it, with
intervals, and the weights that follow.

Writes a record (JSON), a table (CSV), and the sources with their new weights as a configuration
(YAML).
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
    config=(
        "source_ablation",
        "sources",
        "train.steps",
        "train.batch_tokens",
        "train.device",
        "evaluate.clean_share",
        "seed",
    ),
    shows=("sources",),
    reads={
        "models": File("final_model.pt of each proxy", many=True),
        "mixtures": File("mixtures.json"),
        "processed": TOKEN_FILES,
        "documents": File("documents that the token files were made of"),
        "tokenizer": TOKENIZER,
    },
    writes={
        "output": File("JSON file to write"),
        "table": File("CSV file to write"),
        "weights": File("YAML file to write"),
    },
    threads="at most this many",
    default_threads=None,
)


@STEP
def main(run: Run) -> None:
    run.log.say("loading torch")
    from snakelm.evaluation.proxy_losses import measure_proxies
    from snakelm.evaluation.source_ablation import judge_sources, summary
    from snakelm.evaluation.source_weights import as_configuration, as_table
    from snakelm.files import write_json, write_text

    f = run.files
    losses = measure_proxies(
        run.config, f.models, f.processed, f.documents, f.tokenizer, run.most_threads, run.log
    )
    record = judge_sources(run.config, losses, f.mixtures)
    write_text(f.table, as_table(record))
    write_text(f.weights, as_configuration(record, run.config))
    write_json(f.output, record.as_json())
    for sentence in summary(record):
        run.log.say(sentence)


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
