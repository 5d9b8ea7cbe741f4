"""What `size` sets: one number for shape, vocabulary, batch, steps and rates, transferred from the
run that was measured (the defaults, which are size 4).

- Shape: heads of 64, as many as the number says; a layer for every two of them, so that the
  network grows in width and depth together and its matrices with the cube. Two heads have two
  layers, which copying takes (training/induction_init.py).
- Vocabulary: in proportion, so that embedding and head keep about their share (Tao et al. 2024,
  Scaling Laws with Vocabulary, have them grow a little slower than the rest). One from a ranks file
  is as large as it is, and the rest is worked out from that.
- Tokens: as many for each parameter that is multiplied (matrices and head) as in the default run:
  data and model in proportion (Hoffmann et al. 2022). Few beside the 20 that they call optimal;
  whoever has the time sets train.steps, or asks `snakemake plan` what to set.
- Batch: tokens to the power of 0.38 (as nanochat measured; Zhang et al. 2024, How Does Critical
  Batch Size Scale, find about a half), in rows of the context, a power of two of them.
- Rates: Muon's update has the spectral norm that the rate says, whatever the width (Yang, Simon &
  Bernstein 2023, A Spectral Condition for Feature Learning), so its rate follows the length of the
  run alone, and falls with the cube root of the steps. Bjorck et al. (2024, Scaling Optimal LR
  Across Token Horizons) find a power of 0.32 of the tokens; in steps, a larger batch has a higher
  rate at as many tokens. AdamW's of the embedding and of the gains, where one input meets each
  number, stay; the head's, where a width of them adds up, falls with the width (Yang et al. 2022,
  Tensor Programs V, table 8). That a deeper network wants lower ones is left out.

docs/EXPERIMENTS.md has what other rates come to at four sizes. Keys by hand win, and the rest is
worked out from them: with a layer more there are more steps.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..errors import UserError
from ..user_paths import home
from .data_sections import TokenizerConfig
from .messages import read_section
from .schema import Config
from .section import Section
from .training_sections import Model, Train

__all__ = ["LOOKS", "dialled", "looks_every", "multiplied", "size_line"]

HEAD_DIM = 64
TOKENS_OF_A_HEAD = 2048  # in the vocabulary
ADDED = 5  # end-of-text and chat tokens, beside those of a ranks file
LARGEST_VOCABULARY = 49_152  # ids of 16 bits, and no table larger than that of preset 1b
BATCH_POWER = 0.383
RATE_POWER = 1 / 3
RANDOM_RATES = {"embedding_lr": 0.4, "head_lr": 0.01}  # of a random start, at the measured width
WARMUP, LOOKS = 90, 9  # a 90th of the steps is warm-up; it is measured and saved every 9th of them

MEASURED, MEASURED_TRAIN, MEASURED_VOCABULARY = Model(), Train(), 8192
TABLES = ("model", "tokenizer", "train")  # sections that the dial sets keys of


def multiplied(model: Model, vocab_size: int) -> int:
    """Parameters that a step multiplies with: those in matrices, and the head."""
    return model.matrices + vocab_size * model.width


def dialled(values: Mapping[str, Any]) -> dict[str, Any]:
    """The user's keys with those that `size` sets below them; as they are without a size.

    UserError for a size beside a preset or a base, which say the same in another way.
    """
    if values.get("size") is None:
        return dict(values)

    given = read_section(Config, values)
    assert given.size is not None
    if given.preset != "default":
        raise UserError(
            f"size: {given.size} beside preset {given.preset}, and both set shape, steps and "
            "rates; leave one out"
        )
    if given.train.base:
        raise UserError(
            f"size: {given.size} beside train.base {given.train.base}, whose shape and vocabulary "
            "the run takes; leave size out"
        )

    below = _keys_of(given.size, given)
    sections = {name: {**below[name], **(values.get(name) or {})} for name in TABLES}
    return {**values, **sections}


def looks_every(steps: int) -> int:
    """Steps between evaluations, and checkpoints, of a run of so many."""
    return max(1, round(steps / LOOKS))


def size_line(values: Mapping[str, Any], config: Config) -> str:
    """What `size` came to in ``config``, and which of its keys the user's ``values`` have by
    hand.
    """
    assert config.size is not None
    model, train = config.model, config.train
    below = _keys_of(config.size, read_section(Config, values))
    by_hand = [
        f"{name}.{key}" for name in TABLES for key in below[name] if key in (values.get(name) or {})
    ]
    layers = "a layer" if model.layers == 1 else f"{model.layers} layers"
    words = [
        f"size {config.size}: {layers} of width {model.width:,}",
        f"{_vocabulary(config.tokenizer, config.tokenizer.vocab_size):,} tokens",
        f"{train.steps:,} steps of {train.batch_tokens:,} tokens",
        f"rates {train.lr:g}, {train.embedding_lr:g}, {train.head_lr:g}",
    ]
    return ", ".join(words) + (f"; by hand: {', '.join(by_hand)}" if by_hand else "")


def _keys_of(size: int, given: Config) -> dict[str, dict[str, Any]]:
    """All that a size sets, by section, worked out from what is ``given`` by hand."""
    shape: dict[str, Any] = {
        "layers": max(-(-size // 2), min(size, 2)),
        "width": HEAD_DIM * size,
        "heads": size,
        "head_dim": HEAD_DIM,
    }

    # What goes with a key goes with the user's, where it is by hand.
    shape["kv_heads"] = _by_hand(given.model, "heads", size)
    shape["hidden"] = 2 * _by_hand(given.model, "width", shape["width"])
    model = given.model.model_copy(
        update={key: value for key, value in shape.items() if not _has(given.model, key)}
    )

    trained = given.tokenizer.kind == "bpe"
    vocabulary = min(TOKENS_OF_A_HEAD * size, LARGEST_VOCABULARY)
    run = _run(model, _vocabulary(given.tokenizer, vocabulary), given.train)
    steps = _by_hand(given.train, "steps", run["steps"])
    return {
        "model": shape,
        "tokenizer": {"vocab_size": vocabulary} if trained else {},
        "train": {**run, **_rates(model, steps, given.train)},
    }


def _vocabulary(tokenizer: TokenizerConfig, otherwise: int) -> int:
    """Tokens: the user's number, as many as a ranks file has with end-of-text and chat, or
    ``otherwise``.
    """
    if tokenizer.kind == "tiktoken" and tokenizer.file:
        with suppress(OSError), open(home(tokenizer.file), "rb") as ranks:  # else missed later
            return sum(not line.isspace() for line in ranks) + ADDED
    return _by_hand(tokenizer, "vocab_size", otherwise)


def _run(model: Model, vocabulary: int, given: Train) -> dict[str, int]:
    """Batch and steps, and what goes with their number."""
    share = multiplied(model, vocabulary) / multiplied(MEASURED, MEASURED_VOCABULARY)
    tokens = share * MEASURED_TRAIN.steps * MEASURED_TRAIN.batch_tokens

    fewest = max(given.nodes * given.processes, given.reproducible, 1)
    rows = MEASURED_TRAIN.batch_tokens * share**BATCH_POWER / model.context
    batch = model.context * max(2 ** max(0, round(math.log2(rows))), fewest)

    steps = max(1, round(tokens / _by_hand(given, "batch_tokens", batch)))
    taken = _by_hand(given, "steps", steps)
    looks = looks_every(taken)
    warmup = max(1, round(taken / WARMUP))
    return {
        "steps": steps,
        "batch_tokens": batch,
        "warmup": warmup,
        "eval_every": looks,
        "save_every": looks,
    }


def _rates(model: Model, steps: int, given: Train) -> dict[str, float]:
    """Learning rates, by the steps, the width and how the run starts."""
    counted = given.start != "random" and model.embedding_norm and not model.tie_embeddings

    start = {} if counted else RANDOM_RATES
    head = start.get("head_lr", MEASURED_TRAIN.head_lr)
    lr = MEASURED_TRAIN.lr * (MEASURED_TRAIN.steps / max(steps, 1)) ** RATE_POWER
    return {
        "lr": min(1.0, float(f"{lr:.3g}")),
        "embedding_lr": start.get("embedding_lr", MEASURED_TRAIN.embedding_lr),
        "head_lr": min(1.0, head * MEASURED.width / model.width),
        "scalar_lr": MEASURED_TRAIN.scalar_lr,
    }


def _has(section: Section, key: str) -> bool:
    return key in section.model_fields_set


def _by_hand(section: Section, key: str, otherwise: int) -> int:
    """The user's own value of a key, or the other."""
    value: int = getattr(section, key) if _has(section, key) else otherwise
    return value
