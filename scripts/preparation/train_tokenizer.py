"""Trains the tokenizer on the run's documents, or brings a published encoding into the same form.

    python scripts/preparation/train_tokenizer.py --config config.yaml \\
        --documents results/data/deduplicated/documents.parquet --output results/tokenizer

Writes ranks.tiktoken, tokenizer.json and meta.json. With `tokenizer.kind: tiktoken`,
`tokenizer.file` is read; of OpenAI's own files the pattern and the end-of-text id are known, of any
other the pattern is `tokenizer.pattern` and the end-of-text token follows the last rank.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import Config, as_mapping, load_config
from snakelm.log import Log
from snakelm.tokenizer import CHAT, EOT, Tokenizer, train_bpe
from snakelm.tokenizer.published import published
from snakelm.tokenizer.storage import RANKS, TOKENIZER_JSON
from snakelm.tokenizer.training_sample import training_documents
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, type=Path, metavar="FILE", help="YAML, later ones win"
    )
    arguments.add_argument(
        "--documents", required=True, type=Path, help="parquet with columns text and id"
    )
    arguments.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER", help="where the tokenizer goes"
    )
    arguments.add_argument(
        "--threads", type=int, default=1, help="threads that count words; changes no result"
    )
    arguments.add_argument("--log", type=Path, help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("train_tokenizer", args.log) as log:
        if config.tokenizer.kind == "tiktoken":
            source = Path(config.tokenizer.file)
            tokenizer = published(source, config.tokenizer.pattern)
        else:
            source = args.documents
            tokenizer = train(config, source, args.threads, log)
        tokenizer.save(args.output)
        write_manifest(
            args.output / "meta.json",
            inputs=[source],
            files=[args.output / RANKS, args.output / TOKENIZER_JSON],
            config=as_mapping(config, ["tokenizer", "prepare"], cosmetic=False),
            script=__file__,
            seed=config.seed,
            extra={"tokenizer_sha256": tokenizer.sha256, "training": tokenizer.facts},
        )
        log.say(
            f"{args.output}: {tokenizer.vocab_size} tokens, {tokenizer.pattern} pattern, {tokenizer.sha256[:12]}"
        )
    return 0


def train(config: Config, documents: Path, threads: int, log: Log) -> Tokenizer:
    """Learns the merges from at most `tokenizer.train_mb` of the documents that aren't held out."""
    settings = config.tokenizer
    started = time.process_time()
    texts = training_documents(
        documents,
        int(settings.train_mb * 1e6),
        val_fraction=config.prepare.val_fraction,
        seed=config.seed,
    )
    tokenizer = train_bpe(
        texts, settings.vocab_size, settings.pattern, max(1, threads), (EOT, *CHAT)
    )
    facts = tokenizer.facts
    log.say(
        f"{facts['bytes'] / 1e6:.1f} MB of text, {facts['words']:,} words, {facts['distinct_words']:,} different, "
        f"{time.process_time() - started:.1f} CPU-seconds"
    )
    return tokenizer


if __name__ == "__main__":
    raise SystemExit(run(main))
