"""Whether a run reads new text or the same again and again, and what follows for its settings.

Up to about four epochs, repeated tokens teach almost as much as new ones (Muennighoff et al., 2023,
arXiv:2305.16264). After that a model learns its text by heart, and what holds it back pays:
docs/EXPERIMENTS.md ("Small text") has what was measured: weight decay and keeping the best gain
nothing on top of these two, so they are the user's to set.

Settled before the fingerprint is made, from numbers that a run knows at its start: so a regime is
nothing but the keys that it stands for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Train
from ..data.bins import TokenBin
from ..errors import UserError

__all__ = ["REPEATED_FROM", "Regime", "settle", "times_read"]

REPEATED_FROM = 4.0  # epochs
# What a key that is null stands for.
FRESH: dict[str, float] = {"dropout": 0.0, "average": 0.0}
REPEATED: dict[str, float] = {"dropout": 0.1, "average": 0.25}


@dataclass(frozen=True)
class Regime:
    """``name``: fresh or repeated. ``epochs``: of the whole run. ``settings``: by key of the
    configuration, what holds a model back from learning its text by heart, where it is on.
    """

    name: str
    epochs: float
    settings: dict[str, Any]

    def said(self, asked: str) -> str:
        """The line at the start of a run; ``asked``: train.regime."""
        why = (
            f", more than {REPEATED_FROM:g}" if asked == "auto" and self.name == "repeated" else ""
        )
        on = ", ".join(f"{name} {_plain(value)}" for name, value in self.settings.items())
        return f"{self.name} text ({self.epochs:.1f} epochs{why}): {on or 'nothing held back'}"

    def record(self) -> dict[str, Any]:
        """As the manifest has it: plain types."""
        return {"name": self.name, "epochs": self.epochs, "settings": self.settings}


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on"
    return f"{value:g}" if isinstance(value, float) else str(value)


def settle(train: Train, epochs: float, held_out_tokens: int) -> tuple[Train, Regime]:
    """``train`` with numbers for all that is null, and what they are called; UserError for settings
    that this text can't have.

    ``epochs``: how often the run reads its training text.
    """
    repeated = epochs > REPEATED_FROM if train.regime == "auto" else train.regime == "repeated"
    defaults = dict(REPEATED if repeated else FRESH)
    if train.steps * defaults["average"] < 2:
        defaults["average"] = 0.0
    own = {name: getattr(train, name) for name in defaults if getattr(train, name) is not None}
    settled = train.model_copy(update=defaults | own)

    if train.keep_best and not held_out_tokens:
        raise UserError(
            "train.keep_best: there is no held-out text to tell which weights are best; raise "
            "prepare.val_fraction, or set keep_best: false"
        )
    names = ("dropout", "weight_decay", "weight_decay_schedule", "average", "keep_best")
    values = {name: getattr(settled, name) for name in names}
    on = {name: value for name, value in values.items() if value}
    return settled, Regime("repeated" if repeated else "fresh", epochs, on)


def times_read(train: TokenBin, epochs: float) -> float:
    """How often a run of so many ``epochs`` reads a text on average: more often than there are
    epochs where a source's weight repeats its documents in the file.
    """
    if all(weight <= 1 for weight in train.meta.weights.values()):
        return epochs
    _, first = np.unique(train.document_ids, return_index=True)
    different = int(np.diff(train.document_offsets)[first].sum())
    return epochs * int(train.meta.tokens) / max(1, different)
