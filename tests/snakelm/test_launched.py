"""Ranks in the environment count when who starts several processes has set them, and only then."""

import os

import pytest

from snakelm.launched import LAUNCHER, forget_stray_ranks, is_launched

WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
POD = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none"}
OURS = {LAUNCHER: str(os.getppid())}

STRAY = {
    "a rank alone": {"RANK": "1"},
    "a pod's": {"RANK": "0", "WORLD_SIZE": "4", **POD},
    "all of them, from nobody": {**WHOLE, **POD},
    "torchrun's, but broken off": {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "2"},
    "torchrun's, but none of its world": {**TORCHRUN, **WHOLE, "RANK": "2"},
    "torchrun's, but no number": {**TORCHRUN, **WHOLE, "RANK": "-1"},
    "our launcher's, but for another process": {**WHOLE, LAUNCHER: "1"},
    "MPI's": {"OMPI_COMM_WORLD_RANK": "1", "PMI_RANK": "1", "SLURM_PROCID": "1", "RANK": "1"},
}


@pytest.fixture
def environment(monkeypatch):
    """Puts variables where no other rank is."""
    for name in [*WHOLE, *POD, *TORCHRUN, LAUNCHER]:
        monkeypatch.delenv(name, raising=False)

    def put(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize("name", STRAY)
def test_stray_ranks_are_forgotten_and_named(environment, name):
    environment(STRAY[name])
    assert not is_launched()
    assert f"RANK={STRAY[name]['RANK']}" in forget_stray_ranks()
    assert not WHOLE.keys() & os.environ.keys()
    assert forget_stray_ranks() == ""


@pytest.mark.parametrize("mark", [TORCHRUN, OURS], ids=["torchrun", "our launcher"])
def test_the_ranks_of_a_launcher_stay(environment, mark):
    environment({**WHOLE, **mark})
    assert is_launched()
    assert forget_stray_ranks() == ""
    assert os.environ["RANK"] == "1"


def test_without_ranks_there_is_nothing_to_say(environment):
    environment(POD)
    assert not is_launched()
    assert forget_stray_ranks() == ""
