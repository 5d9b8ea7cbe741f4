"""Training on several hosts of a Slurm job: how it is started on each, and what stops it before."""

import os

import pytest

from snakelm.errors import UserError
from snakelm.training.nodes import launch_on_nodes, node_number
from tests.snakelm.training.slurm_standin import environment

SAY = (
    "import os; from pathlib import Path; "
    "said = [os.environ[n] for n in ('SNAKELM_NODES', 'MASTER_ADDR', 'MASTER_PORT')]; "
    "Path('said', os.environ['SLURM_NODEID']).write_text(' '.join(said)); "
    "raise SystemExit(3 * int(os.environ['SLURM_NODEID']))"
)


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in environment(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "said").mkdir()
    return tmp_path


def test_each_host_learns_of_the_others_and_one_exit_code_counts(job):
    assert launch_on_nodes(["-c", SAY], 2, threads=4) == 3
    said = {file.name: file.read_text() for file in (job / "said").iterdir()}
    assert said == {"0": "2 127.0.0.1 24242", "1": "2 127.0.0.1 24242"}


def test_a_job_of_another_size_is_told(job):
    with pytest.raises(UserError, match=r"train\.nodes: 3, but Slurm job 4242 has 2 \(127"):
        launch_on_nodes(["-c", SAY], 3, threads=4)


def test_without_a_job_it_says_what_to_do(job, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(UserError, match="this is no Slurm job"):
        launch_on_nodes(["-c", SAY], 2, threads=4)


def test_without_slurm_it_says_which_program_failed(job, monkeypatch):
    monkeypatch.setenv("PATH", str(job))
    with pytest.raises(UserError, match="squeue --noheader --jobs 4242"):
        launch_on_nodes(["-c", SAY], 2, threads=4)


def test_a_number_of_another_job_step_is_none_of_ours(monkeypatch):
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.delenv("SNAKELM_NODES", raising=False)
    assert node_number() is None
    monkeypatch.setitem(os.environ, "SNAKELM_NODES", "2")
    assert node_number() == 1
