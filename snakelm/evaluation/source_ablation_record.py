"""source_ablation.json: what each source does for held-out text, by proxies that lack it. The
types, and the reader.
"""

from pathlib import Path
from typing import Literal

from ..json_files import read_json
from ..json_record import JsonRecord
from .records import Interval

__all__ = [
    "MixtureFit",
    "ProxyRun",
    "SourceAblationRecord",
    "SourceEffect",
    "Verdict",
    "read_source_ablation",
]

Verdict = Literal["helps", "hurts", "can't be told"]


class SourceEffect(JsonRecord):
    """What leaving a source out does: bits per byte without it minus those with all, so above zero
    it helps.

    ``share``: of the tokens of train.bin. ``elsewhere``: the effect on judged text of other sources
    alone, ``on``: on each source's held-out text; None where there is none. ``epochs``: how often
    the proxies without it read their text. ``proposed``: its new weight; None to leave it out.
    """

    name: str
    share: float
    weight: float
    judged: bool  # whether its own held-out text is among what is judged by
    effect: Interval
    verdict: Verdict
    elsewhere: Interval | None
    on: dict[str, Interval | None]
    epochs: float
    proposed: float | None


class ProxyRun(JsonRecord):
    """A proxy and its bits per byte of the judged text."""

    mixture: str
    seed: int
    bpb: float


class MixtureFit(JsonRecord):
    """What the fit over mixtures says. ``gain``: predicted bits per byte of ``shares`` minus those
    of all sources as they are. ``error``: of predicting a mixture from the others, root mean
    square, in bits per byte; ``rank``: Spearman's correlation of predicted and measured.
    """

    shares: dict[str, float]
    gain: Interval
    error: float
    rank: float | None
    taken: bool  # whether the gain is beyond chance, so that the shares become the proposal


class SourceAblationRecord(JsonRecord):
    """source_ablation.json; sources by their effect, the most helpful first."""

    judge_by: list[str]
    clean: bool  # judged by documents that repeat no training text; all where there are none
    documents: int
    bytes: int
    seeds: list[int]
    proxy_tokens: int
    parameters: int
    epochs: float  # of all sources, in a proxy
    bpb: Interval  # of all sources
    bpb_on: dict[str, Interval | None]
    sources: list[SourceEffect]
    runs: list[ProxyRun]
    shares: dict[str, dict[str, float]]  # mixture → source → share of its tokens
    fit: MixtureFit | None


def read_source_ablation(path: str | Path) -> SourceAblationRecord:
    """What judge_sources wrote; UserError for a file that isn't that."""
    record: SourceAblationRecord = read_json(
        path, SourceAblationRecord, remedy="delete it and run judge_sources again"
    )
    return record
