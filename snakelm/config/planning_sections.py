"""The section of the planner: what `snakemake plan` may spend, and on which sizes."""

from .section import MANY, Section, key, section
from .training_sections import Model, Train

__all__ = ["Candidate", "Planning"]


class Candidate(Section):
    """A size of the plan with what it stands for; worked out, not for files of your own."""

    size: int = key(4, "the size", ge=1, le=64)
    vocab_size: int = key(8192, "tokens of its vocabulary", unit="tokens", ge=257, le=1_000_000)
    model: Model = section(Model)
    train: Train = section(Train)


class Planning(Section):
    """A budget, for `snakemake plan`: which `size` and how many steps make the most of it."""

    hours: float | None = key(
        None, "that training may take on this machine", unit="hours", gt=0, le=MANY
    )
    sizes: list[int] = key([1, 2, 3, 4, 6, 8, 12], "values of `size` to compare")
    candidates: list[Candidate] = key(
        [], "what each of them stands for; worked out where it is left out"
    )
