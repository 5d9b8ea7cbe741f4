"""All that the step `loss` measures of a run, put together, and what it says of it in a line."""

from pathlib import Path
from typing import Any, Protocol

from ..config import Config
from ..data.bins import open_bin
from ..log import Log
from ..tokenizer import Tokenizer
from .breakdown import token_counts
from .extremes import extremes
from .heldout_loss import HeldOut, Stage, answers, fact_sheet, held_out, measure, table
from .loading import device_for, open_model
from .scaling_law import laws
from .train_loss import how_it_was_trained, reading

__all__ = ["Places", "measure_run", "summary"]


class Places(Protocol):
    """Where a run's files are; ``tuned`` is None where nothing was tuned."""

    base: Path
    tuned: Path | None
    processed: Path
    documents: Path
    tokenizer: str
    metrics: Path
    threads: int | None


def measure_run(
    config: Config, at: Places, log: Log
) -> tuple[dict[str, Any], HeldOut, dict[str, Stage]]:
    """loss.json's content, the held-out documents, and each stage's results."""
    tokenizer = Tokenizer.load(at.tokenizer)
    device = device_for(config.train, at.threads, log)
    held = held_out(at.processed, at.documents, tokenizer, config.evaluate.clean_share)
    counts = token_counts(open_bin(at.processed / "train.bin", tokenizer.sha256))
    packs, train_bin = at.processed / "val_sft_packed.bin", at.processed / "train.bin"
    stages, read, trained = {}, {}, {}
    for name, file in (("base", at.base), ("tuned", at.tuned)):
        if file is None:
            continue
        model, record = open_model(file, tokenizer, device)
        if name == "base":
            trained, seed = how_it_was_trained(file, record, train_bin)
            most = int(held.tokens.sum())
            read = reading(
                model, record["step"], trained["batch_tokens"], seed, train_bin, tokenizer, most
            )
        stages[name] = measure(model, held, counts, tokenizer, log, name)
        stages[name].facts = fact_sheet(model, record, file)
        if at.tuned is not None:
            stages[name].answers = answers(model, packs, tokenizer)
        del model
    some = trained.get("eval_tokens")
    apart = some is not None and held.val.meta.tokens > some
    found = table(held, stages, counts, read, config.seed)
    found["law"] = laws(at.metrics, trained["warmup"] * trained["batch_tokens"], apart, config.seed)
    found |= extremes(held, stages, tokenizer)
    return found, held, stages


def summary(found: dict[str, Any]) -> str:
    """`held-out text 1.518 bits per byte (1.49 to 1.55), after tuning 1.6 …`."""
    base, tuned = found["stages"]["base"], found["stages"].get("tuned")
    said = f"held-out text {_range(base['all'])} bits per byte"
    if gap := found["reading"]["gap"]:
        said += f", {gap['value']:+.3f} against text that training has read"
    if tuned is None:
        return f"{said}; nothing was tuned, so there is no second stage"
    said += f"; after tuning {_range(tuned['all'])}"
    return f"{said}; held-out answers {base['answers']['value']:.3f} → {tuned['answers']['value']:.3f} nats a token"


def _range(interval: dict[str, float | None]) -> str:
    if interval["low"] is None:
        return f"{interval['value']:.3f}"
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
