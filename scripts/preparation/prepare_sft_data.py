"""Packs conversations for instruction tuning: train_sft_packed.bin and val_sft_packed.bin, each
with its .idx.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import PACKS, TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        *("sft_data", "on_bad_file", "max_document_mb", "seed"),
        *(f"forget.{key}" for key in ("conversations", "text", "origin", "missing")),
    ),
    reads={"tokenizer": TOKENIZER},
    writes={"output_dir": Folder("folder for the packed files", files=PACKS.files)},
    threads="threads that tokenize",
)


@STEP
def main(run: Run) -> None:
    from snakelm.data.bins import idx_path
    from snakelm.data.conversations.prepare import prepare_sft, source_paths
    from snakelm.tokenizer import Tokenizer
    from snakelm.user_paths import expand

    config, files = run.config, run.files
    tokenizer = Tokenizer.load(files.tokenizer)
    paths, counts = prepare_sft(
        config, tokenizer, files.output_dir, threads=run.threads, log=run.log
    )

    run.users = [path for source in config.sft_data.sources for path in source_paths(source)]
    if config.forget.conversations:
        run.users += expand(config.forget.conversations, "forget.conversations")
    for path in paths.values():
        run.vouch(path, files=[idx_path(path)], counts=counts)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
