"""Packs preferences, pairs of answers or answers with a label: train_preferences.bin and
val_preferences.bin, each with its .idx.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import PREFERENCE_PACKS, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        "preferences.sources",
        "preferences.loss",
        "preferences.context",
        "preferences.val_fraction",
        "sft_data.val_fraction",
        "on_bad_file",
        "max_document_mb",
        "seed",
        *(f"forget.{key}" for key in ("preferences", "text", "origin", "missing")),
    ),
    reads={"tokenizer": TOKENIZER},
    writes={"output_dir": Folder("folder for the packed files", files=PREFERENCE_PACKS.files)},
    threads="threads that tokenize",
)


@STEP
def main(run: Run) -> None:
    from snakelm.data.bins import idx_path
    from snakelm.data.conversations.prepare_preferences import preference_paths, prepare_preferences
    from snakelm.tokenizer import Tokenizer
    from snakelm.user_paths import expand

    config, files = run.config, run.files
    tokenizer = Tokenizer.load(files.tokenizer)
    paths, counts = prepare_preferences(
        config, tokenizer, files.output_dir, threads=run.threads, log=run.log
    )

    run.users = [path for source in config.preferences.sources for path in preference_paths(source)]
    if config.forget.preferences:
        run.users += expand(config.forget.preferences, "forget.preferences")
    for path in paths.values():
        run.vouch(path, files=[idx_path(path)], counts=counts)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
