"""The tokenizer of a run with train.base: the base's, or that with more merges, learned on the
run's own training documents.
"""

from pathlib import Path

from ...config import TokenizerConfig
from ...errors import UserError
from ...log import Log
from ...model_folders import weight_heads
from ...tokenizer import Tokenizer, extend_vocabulary
from ...tokenizer.of_base import BaseTokenizer, tokenizer_of_base
from ...user_paths import home
from .tokenizer_sample import training_documents

__all__ = ["check_base", "kept_or_extended"]

TABLE = "model.embed_tokens.weight"


def check_base(name: str, log: Log) -> dict[str, object]:
    """What can be known of the base before anything runs: UserError for a tokenizer that we can't
    take over, weights with fewer rows than it has ids, and biases.
    """
    path = home(name)
    base = tokenizer_of_base(path)

    if path.is_dir():
        heads = weight_heads(path)
        if biases := sorted(name for name in heads if name.endswith(".bias")):
            raise UserError(f"train.base: {path}: {biases[0]}: a bias, which our shape has none of")
        rows = heads[TABLE].size[0] if TABLE in heads else 0
        if rows < base.trained:
            raise UserError(
                f"train.base: {path}: {TABLE} has {rows:,} rows, its tokenizer {base.trained:,} "
                "ids; one of them is another model's"
            )
    if base.renamed:
        log.say(f"train.base: documents begin with its {base.renamed}, called <|endoftext|> here")
    return {"tokens": base.trained}


def kept_or_extended(
    documents: Path,
    base: BaseTokenizer,
    settings: TokenizerConfig,
    *,
    val_fraction: float,
    seed: int,
    threads: int,
    log: Log,
) -> Tokenizer:
    """``base``'s tokenizer with merges up to ``settings.vocab_size``, or fewer where the text has
    no more; as it is where that is no larger.
    """
    kept = base.tokenizer
    if "normalizer_left_out" in kept.facts:
        log.warn(
            "train.base: its tokenizer puts text into Unicode's form NFC first, ours leaves it as "
            "it is: other ids for text that isn't in that form already, as little is"
        )
    new = settings.vocab_size - kept.vocab_size
    if new < 1:
        log.say(f"tokenizer of train.base kept: {kept.vocab_size:,} tokens")
        if settings.vocab_size > base.trained:
            log.warn(
                f"tokenizer.vocab_size: {settings.vocab_size:,} adds no merge, for with the "
                f"special tokens that train.base lacks there are {kept.vocab_size:,}; give more, "
                "or leave it out"
            )
        return kept

    texts = training_documents(
        documents, int(settings.train_mb * 1e6), val_fraction=val_fraction, seed=seed
    )
    tokenizer = extend_vocabulary(kept, texts, new, threads=max(1, threads), or_fewer=True)
    if tokenizer.vocab_size < settings.vocab_size:
        log.warn(
            f"tokenizer.vocab_size: {settings.vocab_size:,} asked for, {tokenizer.vocab_size:,} "
            "taken: the text has no more pairs to merge; bring more text"
        )
    log.say(
        f"tokenizer of train.base extended: {kept.vocab_size:,} tokens and "
        f"{tokenizer.vocab_size - kept.vocab_size:,} learned on this text"
    )
    return tokenizer
