"""Checks what the run's models, and an earlier one beside them, have by heart of some documents:
exact and near reproduction, exposure.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.training.launch import restart_with_environment
from snakelm.workflow.artefacts import TOKEN_FILES, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        *("memorisation", "forget.documents", "forget.missing", "prepare.val_fraction"),
        *("evaluate.clean_share", "train.device", "seed"),
    ),
    reads={
        "models": File(
            "final_model.pt, and sft_model.pt and preference_model.pt where they are there",
            many=True,
        ),
        "processed": TOKEN_FILES,
        "tokenizer": TOKENIZER,
        "sampled": File("sampled documents, where those of the list are looked up", many=True),
    },
    writes={
        "record": File("memorisation.json"),
        "by_document": File("CSV with a line for each document and model"),
        "table": File("HTML file to write"),
    },
    threads="at most this many",
    default_threads=None,
)


@STEP
def main(run: Run) -> Counts:
    run.log.say("loading torch")
    from snakelm.analysis.tables.memorisation import verdict, write_by_document, write_memorisation
    from snakelm.config.base import pretraining_files
    from snakelm.evaluation.memorisation_files import MemorisationFiles, check_memorisation
    from snakelm.files import write_json
    from snakelm.user_paths import expand, home

    config, f = run.config, run.files
    lists = config.memorisation.documents or config.forget.documents
    if not lists:
        raise UserError(
            "memorisation.documents: missing; name files with hashes of documents "
            "(scripts/analysis/find_documents.py prints them), or forget.documents"
        )
    key = "memorisation" if config.memorisation.documents else "forget"
    named = expand(lists, f"{key}.documents")
    run.users = list(named)
    if config.memorisation.before:
        run.users += pretraining_files(home(config.memorisation.before))

    files = MemorisationFiles(f.models, f.tokenizer, f.processed, f.sampled, named)
    record = check_memorisation(config, files, run.most_threads, run.log)
    write_json(f.record, record.as_json())
    write_by_document(record, f.by_document)
    write_memorisation(record, f.table)
    for sentence in verdict(record):
        run.log.say(sentence)
    return {"documents": len(record.documents), "models": [one.name for one in record.models]}


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
