"""The loss of each proxy of a source ablation on each held-out document: what is compared is always
the same document under two models, so that what both find hard falls out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Config
from ..errors import UserError
from ..log import Log
from ..tokenizer import Tokenizer
from ..training.validation import document_losses
from .heldout_documents import HeldOutCorpus, open_held_out
from .trained_model import device_for, open_model

__all__ = ["ProxyLosses", "measure_proxies"]


@dataclass(frozen=True)
class ProxyLosses:
    """``runs``: (mixture, seed) of each proxy; ``nll``: float64 [proxies, documents], nats.

    ``bytes``, ``clean`` and ``source``: of the documents, [documents].
    """

    runs: list[tuple[str, int]]
    nll: np.ndarray
    bytes: np.ndarray
    clean: np.ndarray
    source: list[str]
    parameters: int

    def of(self, mixture: str, seeds: Sequence[int]) -> np.ndarray:
        """The losses of a mixture's proxies, float64 [seeds, documents]."""
        return self.nll[[self.runs.index((mixture, seed)) for seed in seeds]]


def measure_proxies(
    config: Config,
    models: Sequence[Path],
    processed: Path,
    documents: Path,
    tokenizer_folder: Path,
    threads: int | None,
    log: Log,
) -> ProxyLosses:
    """Measures each of ``models``, `…/<mixture>/train.seed~<seed>/final_model.pt`."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    device = device_for(config.train.device, threads, log)
    held_out: HeldOutCorpus = open_held_out(
        processed, documents, tokenizer, config.evaluate.clean_share
    )

    val, parameters = held_out.val, 0
    every = np.arange(val.meta.documents)
    nll = np.zeros((len(models), every.size))
    with log.progress(len(models), "proxies") as bar:
        for number, path in enumerate(models):
            model, _ = open_model(path, tokenizer, device)
            losses = document_losses(model, val, every)
            assert losses is not None, "nothing stops it early"
            nll[number] = losses
            parameters = sum(p.numel() for p in model.parameters())
            bar.update(number + 1, path.parents[1].name)

    return ProxyLosses(
        [_run(path) for path in models],
        nll,
        held_out.bytes,
        held_out.clean,
        held_out.origins.source,
        parameters,
    )


def _run(model: Path) -> tuple[str, int]:
    """(mixture, seed), by the folders that a model is in."""
    _, _, seed = model.parent.name.partition("~")
    if not seed.isdecimal():
        raise UserError(f"{model}: expected …/<mixture>/train.seed~<seed>/{model.name}")
    return model.parents[1].name, int(seed)
