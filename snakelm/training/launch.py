"""What has to be settled before torch is imported: the allocator's settings, and how many processes
there are.

glibc gives large blocks back to the kernel and requests them again at every step; set to keep them,
training is a fifth faster. Threads that spin while they wait for each other are fast alone and
ruinous beside other work. Both settings are read when a process starts, so a trainer starts itself
once more with them set.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import EXIT_INTERRUPTED, EXIT_USER, Interrupted, Terminated, UserError
from ..launched import LAUNCHER, forget_stray_ranks, is_launched, started_by_launcher
from ..log import Log
from ..machine_errors import killed
from ..starting import SIGNALS
from ..workflow import slurm
from ..workflow.signals import StopRequest, is_insisted
from ..workflow.step import Run
from .nodes import launch_on_nodes, node_number

__all__ = [
    "ENVIRONMENT",
    "STORE",
    "launch",
    "restart_with_environment",
    "return_freed_memory",
    "run_trainer",
]

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "OMP_WAIT_POLICY": "passive",
}
MARK = "SNAKELM_ENVIRONMENT"
STORE = "SNAKELM_STORE"  # the file where processes of our launcher find each other
_LOOPBACK = dict.fromkeys(
    ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo0" if sys.platform == "darwin" else "lo"
)
GRACE_S = 10.0  # for the other processes to end after one failed
PR_SET_PDEATHSIG = 1


def restart_with_environment(argv: Sequence[str]) -> None:
    """Replaces this process by itself with ENVIRONMENT set, unless that has been done; the user's
    own values win.
    """
    if os.environ.get(MARK) or all(name in os.environ for name in ENVIRONMENT):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return
    os.environ.update({**ENVIRONMENT, **os.environ, MARK: "1"})
    sys.stdout.flush()
    # A signal waits until the new process has words for it (starting.py lets it through).
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.execv(sys.executable, [sys.executable, *argv])


def return_freed_memory() -> None:
    """Gives the kernel what is freed. With ENVIRONMENT glibc keeps it, which pays where blocks of
    the same sizes come again at every step; where they differ, the heap would grow in holes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other libraries have none
    if trim:
        trim(0)


def run_trainer(run: Run, own_log: Path, train: Callable[[Run, bool], None]) -> int:
    """Calls ``train`` in as many processes as train.processes says; gives the exit code.

    ``own_log`` keeps what earlier starts wrote. ``train`` hears whether its process is the one that
    writes; the others say nothing and leave it to that one to say what went wrong. In a Slurm job
    whose time is up the run is queued again.
    """
    stray = forget_stray_ranks()
    alone = not is_launched()
    writes = alone or int(os.environ["RANK"]) == 0
    train_keys, node = run.config.train, node_number()
    several = alone and (train_keys.processes > 1 or train_keys.nodes > 1)

    before = slurm.checkpoints(run.files.run_root)
    logs = [path for path in (own_log, run.log_file) if path] if writes and not several else []
    with Log(run.step.name, logs, append=True, quiet=not writes) as run.log:
        if stray:
            run.log.warn(stray)
        try:
            command = [str(run.step.script), *run.argv]
            if several and train_keys.nodes > 1 and node is None:
                return launch_on_nodes(command, train_keys.nodes, run.most_threads or 1)
            if several:
                world = (train_keys.processes, node or 0, train_keys.nodes)
                code = launch(command, *world, run.log)
            else:
                code = _train_here(run, train, writes)
        except (Interrupted, UserError) as error:
            if not writes:
                return EXIT_USER if isinstance(error, UserError) else EXIT_INTERRUPTED
            if isinstance(error, Interrupted) and not started_by_launcher():
                slurm.requeue(run.files.run_root, before, run.log)
            raise
        if several and code == EXIT_INTERRUPTED and not node:
            slurm.requeue(run.files.run_root, before, run.log)
        return code


def _train_here(run: Run, train: Callable[[Run, bool], None], writes: bool) -> int:
    """Between the steps a signal only sets a flag; before and after them it ends up here."""
    try:
        if writes:
            run.begin()
        train(run, writes)
    except (KeyboardInterrupt, Terminated) as stop:
        if is_insisted():
            raise  # in the middle of a step
        name = str(stop) or "interrupted"
        raise Interrupted(
            f"{name} before the first step or after the last one: what is saved is kept; resume: "
            "the same command"
        ) from None
    return 0


def launch(command: Sequence[str], processes: int, node: int, nodes: int, log: Log) -> int:
    """Runs ``command`` (after the interpreter) as this host's ``processes`` processes of one world;
    gives the exit code. ``node``: this host's number among ``nodes`` (nodes.py).

    What torchrun does, without its retries and with our exit codes. A signal is passed on to all;
    when one fails the others are ended, and when this process dies they end too. On a single host
    they meet in a file and talk over loopback: torch's own store listens on every interface, and
    believes whoever connects.
    """
    workers: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory(prefix="snakelm-") as folder, StopRequest() as stop:
        shared = {
            LAUNCHER: os.getpid(),
            "WORLD_SIZE": processes * nodes,
            "LOCAL_WORLD_SIZE": processes,
            **({STORE: Path(folder) / "store", **_LOOPBACK} if nodes == 1 else {}),
        }
        try:
            for local in range(processes):
                rank = node * processes + local
                workers.append(_start(command, {**shared, "RANK": rank, "LOCAL_RANK": local}))
            _wait_for(workers, stop)
        finally:
            _signal(workers, signal.SIGKILL)  # none is left, unless we are to end at once

    codes = [worker.returncode for worker in workers]
    for local, code in enumerate(codes):
        if code == -signal.SIGKILL:
            log.warn(killed(f"process {node * processes + local} of {processes * nodes}"))
    return _exit_code(codes, stop.requested)


def _start(command: Sequence[str], variables: Mapping[str, object]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        start_new_session=True,  # a Ctrl-C comes through us, once
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _exit_code(codes: list[int], stopped: bool) -> int:
    """One code for all. Below 0 is a signal, which a process that was ended because another failed
    has too, so codes above 0 say more; 128 and more is a signal during its imports.
    """
    ended = {EXIT_INTERRUPTED, *(sign for n in SIGNALS for sign in (-n, 128 + n))}
    if stopped and ended >= set(codes) - {0} and any(codes):
        return EXIT_INTERRUPTED
    reasons = [code for code in codes if code > 0 and code not in ended]
    if reasons:
        return reasons[0]
    return max(codes) if all(code in (0, EXIT_INTERRUPTED) for code in codes) else 1


def _wait_for(workers: list[subprocess.Popen], stop: StopRequest) -> None:
    """Until all have ended: SIGTERM to all once we are signalled or one has failed, SIGKILL
    GRACE_S after a failure.
    """
    signalled, deadline = False, float("inf")
    while any(worker.poll() is None for worker in workers):
        failed = any(worker.returncode not in (None, 0, EXIT_INTERRUPTED) for worker in workers)
        if failed and deadline == float("inf"):
            deadline = time.monotonic() + GRACE_S

        if (failed or stop.requested) and not signalled:
            signalled = True
            _signal(workers, signal.SIGTERM)
        if time.monotonic() > deadline:
            _signal(workers, signal.SIGKILL)
        time.sleep(0.05)


def _signal(workers: list[subprocess.Popen], number: int) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
