"""A Slurm job whose time is nearly up puts itself back into the queue, under its own number.

`sbatch --signal` (slurm/config.yaml) sends TIME_LIMIT ahead of the limit; training saves and ends,
and what waits for the job (Snakemake) sees it pending again, not failed: no retry is spent, however
often a run meets the limit. A job that got through no step and no checkpoint since its start isn't
queued again, for it would never get further.
"""

import os
import subprocess
from pathlib import Path

from ..log import Log
from .signals import is_time_up

__all__ = ["JOB", "checkpoints", "requeue"]

JOB = "SLURM_JOB_ID"


def checkpoints(run_root: Path) -> set[tuple[Path, int]]:
    """What is saved in the run folders of ``run_root``, each with its time of writing."""
    return {(path, path.lstat().st_mtime_ns) for path in run_root.glob("*/*.pt")}


def requeue(run_root: Path, before: set[tuple[Path, int]], log: Log) -> None:
    """Queues this process's job again if its time was said to be up, and if a checkpoint was
    written since the job's start, when `checkpoints` gave ``before``.
    """
    job = os.environ.get(JOB)
    if job is None or not is_time_up():
        return
    if checkpoints(run_root) <= before:
        log.warn(
            f"Slurm job {job}: its time is too short for a step and a checkpoint, so it isn't "
            "queued again; raise it (--set-resources train:runtime=MINUTES)"
        )
        return

    command = ["scontrol", "requeue", job]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        log.say(f"Slurm job {job}: its time is up; saved, and queued again under the same number")
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        log.warn(f"Slurm job {job}: its time is up; saved, but not queued again: {reason}")
