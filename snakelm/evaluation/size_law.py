"""What a run of some size and length comes to, by the law of recorded runs: L(N, T) = E + A · N^-a
+ B · T^-b, the form of Hoffmann et al. (2022), eq. 2, in bits per byte of held-out text.

N: parameters that a step multiplies with; T: bytes of text that it reads, since tokens stand for
more of them in a larger vocabulary. Text that comes again counts for less (Muennighoff et al. 2023,
Scaling Data-Constrained Language Models, eq. 5).

The runs are in recorded_runs.json, which benchmarks/size_dial.py wrote: no constant of the law is
written down, it is fitted to them each time. The law is of one text; runs on others, where there
are any, say how far it holds elsewhere. Bits per byte of another text are those of the law times
how much harder it is for xz, and the error of that, in proportion to how different it is, is part
of the interval. So is, beyond the largest of the runs or the longest for a size, how far the law is
off at sizes that it was not fitted to.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.optimize import least_squares

from ..json_files import read_json
from ..json_record import JsonRecord
from .records import Interval

__all__ = ["RecordedRun", "RecordedRuns", "SizeLaw", "effective_bytes", "recorded_runs"]

FILE = Path(__file__).with_name("recorded_runs.json")
REPEATS = 15.4  # R* of Muennighoff et al.: epochs after which a repeated text has little left
TINY = 1e-6  # of a scatter: no law is exact
UNIT = 1e6  # of parameters and of bytes, so that A and B are of the loss's size
STARTS = ((0.5, 0.3), (0.3, 0.5), (0.7, 0.2))  # powers that a fit begins with
LOWEST, HIGHEST = (0.0, 0.0, 0.05, 0.0, 0.05), (3.0, 50.0, 1.5, 50.0, 1.5)  # E, A, a, B, b
DOUBT = (1.0, 1.0, 0.3, 3.0, 0.3)  # how far each may be off before any run is seen


class RecordedRun(JsonRecord):
    """A run at a size with the dial's rates times ``factor`` and its steps times ``length``."""

    size: int
    factor: float
    length: float
    seed: int
    text: str
    parameters: int  # multiplied
    tokens: int
    unique_tokens: int
    bytes_per_token: float
    bpb: float
    clean: float | None
    cpu: float

    @property
    def effective(self) -> float:
        """Bytes that it read, less for those that came again."""
        return effective_bytes(
            self.tokens * self.bytes_per_token, self.unique_tokens * self.bytes_per_token
        )


class RecordedRuns(JsonRecord):
    """recorded_runs.json. ``difficulty``: of each text, for xz. ``law``: the text of the law."""

    law: str
    difficulty: dict[str, float]
    runs: list[RecordedRun]

    def of_the_law(self) -> list[RecordedRun]:
        """The runs that it is fitted to: those with the dial's own rates."""
        return [run for run in self.runs if run.factor == 1 and run.text == self.law]


def recorded_runs(path: Path = FILE) -> RecordedRuns:
    """The runs of the package; UserError for a file that doesn't hold them."""
    record: RecordedRuns = read_json(path, RecordedRuns, remedy="take it from the repository again")
    return record


def effective_bytes(read: float, unique: float) -> float:
    """What ``read`` bytes are worth of which there are ``unique`` different ones."""
    if read <= unique:
        return read
    return unique * (1 + REPEATS * -math.expm1(-(read / unique - 1) / REPEATS))


class SizeLaw:
    """The law of some runs, and of how it carries over to other texts."""

    def __init__(self, record: RecordedRuns, runs: Sequence[RecordedRun] | None = None) -> None:
        """``runs``: fitted to these instead of to all of the record's."""
        of_some = runs is not None
        runs = record.of_the_law() if runs is None else runs
        self.record, self.count = record, len(runs)
        self.n = np.array([run.parameters for run in runs]) / UNIT
        self.t = np.array([run.effective for run in runs]) / UNIT
        losses = np.array([run.bpb for run in runs])

        self.law, slopes = _fit(self.n, self.t, losses)
        residuals = np.log(losses) - np.log(_loss(self.law, self.n, self.t))
        # Five unknowns took some of the runs' scatter with them.
        self.freedom = max(1, len(runs) - len(self.law))
        self.scatter = math.sqrt(float(residuals @ residuals) / self.freedom) + TINY

        # The covariance of the five. Runs of few sizes say little about the floor; there the
        # doubt that was before them stays, where the inverse alone would be without bounds.
        known = slopes.T @ slopes / self.scatter**2 + np.diag(1 / np.square(DOUBT))
        self.covariance = np.linalg.inv(known)
        self.text_error = self._error_elsewhere()
        self.misfit = self.scatter if of_some else self._error_without()

    def predict(
        self, parameters: float, effective: float, difficulty: float | None = None
    ) -> Interval:
        """Bits per byte of a run, with 95% bounds; ``difficulty``: of its text for xz, None for
        that of the law.
        """
        n, t = parameters / UNIT, effective / UNIT
        shift = 0.0
        if difficulty is not None:
            shift = math.log(difficulty / self.record.difficulty[self.record.law])

        # Of the law (to first order), of the run itself, of the text: logarithms, independent.
        slope = _slope(self.law, n, t)
        of_law = math.sqrt(float(slope @ self.covariance @ slope))
        besides = self.misfit if self.beyond(parameters, effective) else self.scatter
        parts = (of_law, besides, self.text_error * abs(shift))
        half = float(stats.t.ppf(0.975, self.freedom)) * math.hypot(*parts)
        value = float(_loss(self.law, n, t)) * math.exp(shift)
        return Interval(value, value * math.exp(-half), value * math.exp(half))

    def beyond(self, parameters: float, effective: float) -> list[str]:
        """In what a run is larger than every recorded one. Much text for a small model is as far
        from them as a large model is, though larger ones have read as much.
        """
        n, t = parameters / UNIT, effective / UNIT
        larger = {
            "size": n > 1.01 * self.n.max(),
            "text": t > 1.01 * self.t.max(),
            "text for its size": t / n > 1.01 * (self.t / self.n).max(),
        }
        return [name for name, is_larger in larger.items() if is_larger]

    def _error_without(self) -> float:
        """How far the logarithm of the loss is off at a size that the law was not fitted to: root
        of the mean square over the sizes but the smallest, each left out in turn.
        """
        runs = self.record.of_the_law()
        sizes = sorted({run.size for run in runs})
        errors = []
        for left_out in sizes[1:] if len(sizes) > 3 else []:
            law = SizeLaw(self.record, [run for run in runs if run.size != left_out])
            for run in (run for run in runs if run.size == left_out):
                expected = law.predict(run.parameters, run.effective).value
                errors.append(math.log(run.bpb / expected))
        return math.sqrt(float(np.mean(np.square(errors)))) if errors else self.scatter

    def _error_elsewhere(self) -> float:
        """How far the logarithm of the loss is off for each unit in which a text differs in
        difficulty: root of the mean square over the runs on other texts; 1, as much as the step
        itself, where there are none.
        """
        own = self.record.difficulty[self.record.law]
        errors = []
        for run in self.record.runs:
            if run.text != self.record.law and run.factor == 1:
                shift = math.log(self.record.difficulty[run.text] / own)
                expected = _loss(self.law, run.parameters / UNIT, run.effective / UNIT)
                errors.append((math.log(run.bpb / expected) - shift) / shift)
        return math.sqrt(float(np.mean(np.square(errors)))) if errors else 1.0


def _loss(law: np.ndarray, n: np.ndarray | float, t: np.ndarray | float) -> np.ndarray:
    floor, a, alpha, b, beta = law
    return np.asarray(floor + a * np.asarray(n) ** -alpha + b * np.asarray(t) ** -beta)


def _slope(law: np.ndarray, n: float, t: float) -> np.ndarray:
    """The derivatives of the loss's logarithm by E, A, a, B and b."""
    _, a, alpha, b, beta = law
    of_n, of_t = n**-alpha, t**-beta
    slope = [1.0, of_n, -a * of_n * math.log(n), of_t, -b * of_t * math.log(t)]
    return np.array(slope) / float(_loss(law, n, t))


def _fit(n: np.ndarray, t: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E, A, a, B, b of the least squares in the logarithm, and its derivatives, [runs, 5]."""

    def residuals(law: np.ndarray) -> np.ndarray:
        return np.log(_loss(law, n, t)) - np.log(losses)

    found = []
    for alpha, beta in STARTS:
        start = np.array([0.3 * losses.min(), 0.3, alpha, losses.max(), beta])
        start = np.clip(start, LOWEST, HIGHEST)
        found.append(least_squares(residuals, start, bounds=(LOWEST, HIGHEST)))
    law: np.ndarray = min(found, key=lambda one: float(one.cost)).x
    slopes = [_slope(law, float(at_n), float(at_t)) for at_n, at_t in zip(n, t, strict=True)]
    return law, np.array(slopes)
