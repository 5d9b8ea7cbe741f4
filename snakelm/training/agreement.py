"""What several processes settle before their first collective: that all are there, which checkpoint
they go on from, and that each of them can.

Through the store in which they find each other, not through collectives: those say nothing of who
is missing, and a process that waits in one can't hear that another has failed. A results folder is
read by several hosts, and a shared file system may show them different files: with a checkpoint
that differs, or none, a rank would compute other gradients, and what is saved would be sound to
every hash. So rank 0 chooses, says the step and the checkpoint's SHA-256, and every other one loads
that step and compares.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from ..errors import Interrupted, UserError

__all__ = ["Agreement"]

WAIT_S = 1800.0  # rank 0 may have to verify token files of terabytes first
LOOK_S = 0.2


class Agreement:
    """Messages of ``size`` processes, of which this is ``rank``, through ``store``."""

    def __init__(self, store: dist.Store | None, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """In the block an error of this process ends the waiting of the others, with its words."""
        try:
            yield
        except Interrupted:
            raise  # all of them hear of a signal
        except Exception as error:
            if self.store is not None:
                self._set("failed", f"{self._name(self.rank)} on {socket.gethostname()}: {error}")
            raise

    def gather(self, subject: str, own: object = None) -> list[Any]:
        """What every process says on ``subject``, by rank: plain JSON. UserError when one has
        failed, or hasn't come in WAIT_S seconds.
        """
        if self.store is None:
            return [own]

        keys = [f"{subject}/{rank}" for rank in range(self.size)]
        self._set(keys[self.rank], json.dumps(own))
        deadline = time.monotonic() + WAIT_S
        for rank, key in enumerate(keys):
            self._wait(key, rank, subject, deadline)
        return [json.loads(self.store.get(key)) for key in keys]

    def same_checkpoint(
        self,
        fingerprint: str,
        newest: Callable[[], Mapping[str, Any] | None],
        load: Callable[[int], Mapping[str, Any]],
        digest: Callable[[int], str],
    ) -> Mapping[str, Any] | None:
        """The checkpoint that all go on from, as rank 0 found it by ``newest``; None where there is
        none.

        ``load`` gives that of a step, ``digest`` the SHA-256 in its hash file, which loading
        compares with the content. UserError that names each process that can't.
        """
        if self.store is None:
            return newest()

        saved = newest() if self.rank == 0 else None
        step = saved["step"] if saved else None
        chosen = self._choice(fingerprint, step, None if step is None else digest(step))

        problem = ""
        if self.rank:
            saved, problem = self._load(chosen, fingerprint, load, digest)
        problems = self.gather("problem", f"{socket.gethostname()}: {problem}" if problem else "")
        if any(problems):
            named = [f"{self._name(r)} on {said}" for r, said in enumerate(problems) if said]
            raise UserError(
                f"the processes can't go on from the same checkpoint: {'; '.join(named)}; see that "
                "every host has the same results folder and token files, then the same command"
            )
        return saved

    def _choice(self, fingerprint: str, step: int | None, sha256: str | None) -> dict[str, Any]:
        """Rank 0's, on every rank."""
        assert self.store is not None
        if self.rank == 0:
            self._set("chosen", json.dumps([fingerprint, step, sha256]))
        self._wait("chosen", 0, "the checkpoint", time.monotonic() + WAIT_S)
        said = json.loads(self.store.get("chosen"))
        return dict(zip(("fingerprint", "step", "sha256"), said, strict=True))

    def _load(
        self,
        chosen: Mapping[str, Any],
        fingerprint: str,
        load: Callable[[int], Mapping[str, Any]],
        digest: Callable[[int], str],
    ) -> tuple[Mapping[str, Any] | None, str]:
        """The chosen checkpoint as this process sees it, or what is wrong with it."""
        if chosen["fingerprint"] != fingerprint:
            return None, f"run {fingerprint}, expected {chosen['fingerprint']}: other files"
        if chosen["step"] is None:
            return None, ""

        try:
            saved = load(chosen["step"])
            own = digest(chosen["step"])
        except (UserError, OSError) as error:
            return None, str(error)

        if own != chosen["sha256"]:
            return None, (
                f"checkpoint of step {chosen['step']} with SHA-256 {own[:12]}…, "
                f"expected {chosen['sha256'][:12]}…"
            )
        return saved, ""

    def _wait(self, key: str, rank: int, subject: str, deadline: float) -> None:
        assert self.store is not None
        while not self.store.check([key]):
            if self.store.check(["failed"]):
                raise UserError(self.store.get("failed").decode())
            if time.monotonic() > deadline:
                raise UserError(
                    f"{self._name(rank)} has said nothing on {subject} in {WAIT_S:,.0f} s, though "
                    "all were started; see its host, then the same command goes on"
                )
            time.sleep(LOOK_S)

    def _set(self, key: str, text: str) -> None:
        assert self.store is not None
        self.store.set(key, text)

    def _name(self, rank: int) -> str:
        return f"process {rank} of {self.size}"
