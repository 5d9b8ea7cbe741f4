"""Whether this process is one of several that train together, as its environment says, and whether
to believe it.

`RANK` and its kin are set by torchrun and by our own launcher, and are inherited by whatever runs
below: a shell inside another job, a notebook, a pod whose operator sets them for everyone, an MPI
wrapper. A single trainer that believes them writes nothing (rank 1 leaves that to rank 0) or waits
for others who never come. So they count only together, whole, and with the mark of who sets them:
torchrun's run id, or the process number of our launcher, which is then this process's parent.
"""

import os
from collections.abc import Mapping

__all__ = ["LAUNCHER", "forget_stray_ranks", "is_launched", "started_by_launcher"]

LAUNCHER = "SNAKELM_LAUNCHER"
TORCHRUN = "TORCHELASTIC_RUN_ID"
RANKS = {"RANK": "WORLD_SIZE", "LOCAL_RANK": "LOCAL_WORLD_SIZE"}  # each is below its size


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun or our launcher started this process as one of several."""
    if not started_by_launcher(environment) and not environment.get(TORCHRUN):
        return False
    return all(
        environment.get(name, "").isdecimal()
        and environment.get(size, "").isdecimal()
        and int(environment[name]) < int(environment[size])
        for name, size in RANKS.items()
    )


def started_by_launcher(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether our launcher, which is then this process's parent, started it."""
    return environment.get(LAUNCHER) == str(os.getppid())


def forget_stray_ranks() -> str:
    """Takes ranks out of the environment that nobody set for this process, before a library
    believes them; a sentence about it, empty when there were none.
    """
    if is_launched():
        return ""

    names = [name for pair in RANKS.items() for name in pair if name in os.environ]
    said = ", ".join(f"{name}={os.environ.pop(name)}" for name in names)
    if not said:
        return ""
    return (
        f"{said} in the environment, but neither torchrun nor train.processes started this process "
        "as one of several; ignored"
    )
