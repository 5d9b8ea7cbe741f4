"""What a fault campaign comes to: of each kind of fault how many were tried, how many the project
held against, and how many fell short, with what went wrong.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

__all__ = ["Table", "Trial", "try_all"]


@dataclass(frozen=True)
class Trial:
    """One fault. ``kind`` is its row of the table, ``what`` says which one it is; ``run`` brings it
    about and gives what went wrong, nothing where the project held.
    """

    kind: str
    what: str
    run: Callable[[], str]


@dataclass
class Row:
    """The trials of one kind."""

    tried: int = 0
    short: list[str] = field(default_factory=list)

    @property
    def held(self) -> int:
        return self.tried - len(self.short)


@dataclass
class Table:
    """Rows by kind, in the order in which they were first tried."""

    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, trial: Trial, wrong: str) -> None:
        row = self.rows.setdefault(trial.kind, Row())
        row.tried += 1
        row.short += [f"{trial.what}: {wrong}"] if wrong else []

    @property
    def short(self) -> list[str]:
        """What went wrong, a line a trial."""
        return [f"{kind}: {line}" for kind, row in self.rows.items() for line in row.short]

    def __str__(self) -> str:
        total = Row(sum(row.tried for row in self.rows.values()), self.short)
        lines = [("fault", "tried", "held", "fell short")]
        for name, row in [*self.rows.items(), ("all", total)]:
            lines.append((name, str(row.tried), str(row.held), str(len(row.short))))
        width = max(len(line[0]) for line in lines)
        return "\n".join(
            f"{name:<{width}}  {tried:>6}  {held:>6}  {short:>10}"
            for name, tried, held, short in lines
        )


def try_all(trials: Iterable[Trial], say: Callable[[str], object] = lambda _: None) -> Table:
    """Runs the trials, one after the other, and says of each how it went. One that raises fell
    short: a fault of the project, or of the campaign.
    """
    table = Table()
    for trial in trials:
        try:
            wrong = trial.run()
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        table.add(trial, wrong)
        say(f"{trial.kind}: {trial.what}: {wrong or 'held'}")
    return table
