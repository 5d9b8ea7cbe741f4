"""One training on several hosts of a Slurm job: train.nodes.

The trainer that the job starts runs itself once on every host, by srun; there it finds its number
and starts that host's processes (launch.py), which meet at the first host. That store listens on
every interface of it and believes whoever connects, as torchrun's does: the network between the
hosts is to be trusted. When a process fails or a host is lost, srun ends the others.

Slurm's own variables are no guide: Snakemake's Slurm plugin takes all but the job's number out of
the environment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from ..errors import EXIT_INTERRUPTED, UserError
from ..workflow.signals import StopRequest
from ..workflow.slurm import JOB

__all__ = ["launch_on_nodes", "node_number"]

NODES = "SNAKELM_NODES"  # how many srun was asked for: set on each of them
NUMBER = "SLURM_NODEID"  # set by srun
FIRST_PORT, PORTS = 20_000, 20_000


def node_number() -> int | None:
    """This host's number among those of `launch_on_nodes`; None where that didn't start us."""
    number = os.environ.get(NUMBER, "")
    return int(number) if NODES in os.environ and number.isdecimal() else None


def launch_on_nodes(command: Sequence[str], nodes: int, threads: int) -> int:
    """Runs ``command`` (after the interpreter) on each of the job's hosts; gives the exit code.

    ``threads``: cores for it on each host. UserError outside of a Slurm job, and when the job has
    another number of hosts.
    """
    job = os.environ.get(JOB)
    if job is None:
        raise UserError(
            f"train.nodes: {nodes}, but this is no Slurm job; run it by --profile slurm, or start "
            "torchrun on each host (docs/TRAINING_PROCESS.md)"
        )
    hosts = _hosts(job)
    if len(hosts) != nodes:
        raise UserError(
            f"train.nodes: {nodes}, but Slurm job {job} has {len(hosts)} ({', '.join(hosts)}); "
            f"request as many: --set-resources train:nodes={nodes} train:tasks={nodes} "
            "train:mpi=srun"
        )

    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    srun += ["--kill-on-bad-exit=1", f"--cpus-per-task={threads}", "--mem=0"]
    environment = {
        **os.environ,
        NODES: str(nodes),
        "MASTER_ADDR": hosts[0],
        "MASTER_PORT": str(FIRST_PORT + int(job) % PORTS),
    }
    with StopRequest() as stop:
        process = subprocess.Popen([*srun, sys.executable, *command], env=environment)
        passed_on = False
        while process.poll() is None:
            if stop.requested and not passed_on:
                passed_on = True
                process.terminate()  # which srun hands on to all of them
            time.sleep(0.1)
    if stop.requested and process.returncode:
        return EXIT_INTERRUPTED
    return process.returncode if process.returncode >= 0 else 1


def _hosts(job: str) -> list[str]:
    """The hosts of a Slurm job, in Slurm's order."""
    names = _asked("squeue", "--noheader", "--jobs", job, "--format", "%N")
    return _asked("scontrol", "show", "hostnames", names).split()


def _asked(*command: str) -> str:
    try:
        ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise UserError(f"{' '.join(command)}: {reason}; is Slurm up on this host?") from None
    return ran.stdout.strip()
