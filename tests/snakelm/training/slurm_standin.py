"""What of Slurm a training on several hosts calls, as programs of the same names: a job of two
hosts, both of them this one.
"""

import os
import sys
from pathlib import Path

SRUN = """\
import os, signal, subprocess, sys
command = sys.argv[1:]
while command[0].startswith("--"):
    command.pop(0)
tasks = [subprocess.Popen(command, env={**os.environ, "SLURM_NODEID": str(i)}) for i in range(2)]
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
sys.exit(max(task.wait() for task in tasks))
"""
PROGRAMS = {
    "squeue": "print('h[1-2]')",
    "scontrol": "print('127.0.0.1\\nh2')",
    "srun": SRUN,
}


def environment(folder: Path, job: int = 4242) -> dict[str, str]:
    """What makes a process believe that it is in Slurm job ``job``; the programs go to
    ``folder``.
    """
    folder.mkdir(parents=True)
    for name, code in PROGRAMS.items():
        (folder / name).write_text(f"#!{sys.executable}\n{code}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": str(job)}
