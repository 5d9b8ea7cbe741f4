"""Goodput under pre-emption, and what a checkpoint costs: a training of a prepared results folder
run through, and run again while it is pre-empted once in every tenth of its steps.

    snakemake --cores 2 results/data/processed/train.bin
    python benchmarks/goodput.py --results results --steps 400

Goodput is the share of what was spent that is in the result. Of steps: those of the finished run
over all that were computed, those that a kill took back included. Of time: that from the first step
of each start to its last, but for checkpoints and for the share of repeated steps, over all time,
starts (imports, verifying, loading) and ends included. Stall: the time in which a run saves and
doesn't train, over that of both. Time is CPU time, of one thread, so that other work on the machine
doesn't count; waiting for the disk (fsync) doesn't either, so a save is given in wall time too.

Each pre-emption comes at a random step within its tenth, as SIGTERM, of which a run saves, or as
SIGKILL, as when a host is lost. Every run has to end with the same bytes. A start costs the same in
a short run and in a long one, so goodput of time depends on the length: the last line is from which
length on it would be 95%.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml

from snakelm.files import sha256_file, write_json
from snakelm.training.launch import restart_with_environment

WANTED = 0.95
PARTS = 10
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
# What a started process counts, in a file that stays when it is killed.
FIRST, STEPS, START_S, USEFUL_S, SAVES, SAVE_S, SAVE_WALL_S, COUNTERS = range(8)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--results", type=Path, default=Path("results"), help="with token files")
    parser.add_argument("--config", nargs="*", default=[], help="config files of the run")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--signals", nargs="*", choices=SIGNALS, default=[*SIGNALS])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    with tempfile.TemporaryDirectory() as made:
        plain = Training(args, Path(made, "plain"))
        assert plain.run_on() == 0, plain.said()
        rows = [plain.figures("none", plain)]
        for name in args.signals:
            befallen = Training(args, Path(made, name))
            befallen.preempt(SIGNALS[name])
            assert befallen.sha256() == plain.sha256(), f"{name}: other bytes"
            rows.append(befallen.figures(name, plain))

    print_table(rows, plain)
    if args.json:
        write_json(args.json, {"steps": args.steps, "rows": rows})
    return 0


@dataclass
class Started:
    """One start of the trainer: what it counted, and the CPU-seconds that all of it took."""

    counted: np.ndarray
    cpu: float


class Training:
    """A training in a folder of its own, start after start."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.folder, self.steps = folder, args.steps
        self.starts: list[Started] = []
        shutil.copytree(args.results / "data/processed", folder / "data/processed")
        shutil.copytree(args.results / "tokenizer", folder / "tokenizer")
        own = folder / "own.yaml"
        own.write_text(yaml.safe_dump({"train": {"steps": args.steps}}), encoding="utf-8")
        self.arguments = ["--config", *map(str, args.config), str(own), "--results", str(folder)]

    def run_on(self, ends: Callable[[np.ndarray], int] = lambda _: 0) -> int:
        """Starts it and waits for its end, sending it the signal that ``ends`` gives; gives its
        exit code.
        """
        file = self.folder / "counters"
        counted = np.memmap(file, np.float64, "w+", shape=COUNTERS)
        counted[FIRST] = np.nan
        command = [sys.executable, __file__, "--worker", str(file), *self.arguments]
        with open(self.folder / "said", "w") as said:
            process = subprocess.Popen(
                [*command, "--threads", "1"],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stderr=said,
            )
        sent = 0
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if not sent and (sent := ends(counted)):
                os.kill(process.pid, sent)
            time.sleep(0.01)
        _, status, used = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        self.starts.append(Started(np.array(counted), used.ru_utime + used.ru_stime))
        return process.returncode

    def preempt(self, number: int) -> None:
        """Runs it to its end through the pre-emptions."""
        chance = random.Random(0)
        for part in range(PARTS):
            at = round(self.steps * (part + chance.random()) / PARTS)
            code = self.run_on(
                lambda counted, at=at: number if counted[FIRST] + counted[STEPS] >= at else 0
            )
            assert code in (3, -signal.SIGKILL), f"exit code {code}: {self.said()}"
        assert self.run_on() == 0, self.said()

    def said(self) -> str:
        return (self.folder / "said").read_text(encoding="utf-8")[-2000:]

    def sha256(self) -> str:
        return sha256_file(self.folder / "final_model.pt")

    def total(self, counter: int) -> float:
        return float(sum(started.counted[counter] for started in self.starts))

    def figures(self, name: str, plain: "Training") -> dict[str, Any]:
        """``plain``: the same training without pre-emption. Of its time only what its saves took is
        asked for: the machine's speed changes from one run to the next.
        """
        spent = sum(started.cpu for started in self.starts)
        useful = self.total(USEFUL_S) * self.steps / self.total(STEPS)
        return {
            "preempted by": name,
            "starts": len(self.starts),
            "steps computed": int(self.total(STEPS)),
            "goodput of steps": self.steps / self.total(STEPS),
            "CPU-s": spent,
            "CPU-s of steps": useful,
            "CPU-s a start": self.total(START_S) / len(self.starts),
            "saves": int(self.total(SAVES)),
            "CPU-s a save": self.total(SAVE_S) / self.total(SAVES),
            "wall s a save": self.total(SAVE_WALL_S) / self.total(SAVES),
            "stall": self.total(SAVE_S) / (self.total(SAVE_S) + self.total(USEFUL_S)),
            "goodput of time": useful / spent,
            "95% from CPU-s of steps": long_enough(spent, useful, plain),
        }


def long_enough(spent: float, useful: float, plain: Training) -> float:
    """CPU-seconds of steps from which on the goodput of time is as wanted: starts, ends and steps
    taken back cost the same in a longer run, saves at the same distance cost the same share.
    """
    saving = plain.total(SAVE_S) / plain.total(USEFUL_S)
    fixed = spent - useful * (1 + saving)
    return WANTED * fixed / (1 - WANTED * (1 + saving))


def print_table(rows: list[dict[str, Any]], plain: Training) -> None:
    print(f"{plain.steps} steps, one thread, CPU time; the same final_model.pt each time")
    for name in rows[0]:
        cells = [f"{row[name]:.4g}" if name != "preempted by" else row[name] for row in rows]
        print(f"{name:<26}" + "".join(f"{cell:>12}" for cell in cells))


def work(counters: str, argv: list[str]) -> int:
    """The trainer with a watch: scripts/training/train.py in this process."""
    from scripts.training import train
    from snakelm.training import checkpoint, loop, optimizer
    from snakelm.workflow.exit_codes import exit_code

    counted = np.memmap(counters, np.float64, "r+", shape=COUNTERS)

    mark = 0.0  # CPU time up to which all is counted

    def training(function, is_step):
        def watch(*given, **named):
            nonlocal mark
            if np.isnan(counted[FIRST]):
                if not is_step:
                    return function(*given, **named)
                mark = time.process_time()
                counted[FIRST], counted[START_S] = given[0], mark
            done = function(*given, **named)
            now = time.process_time()
            counted[USEFUL_S] += now - mark
            counted[STEPS] += is_step
            mark = now
            return done

        return watch

    def saving(function, is_save):
        def watch(*given, **named):
            nonlocal mark
            begun = time.process_time(), time.monotonic()
            done = function(*given, **named)
            mark = time.process_time()
            counted[SAVE_S] += mark - begun[0]
            counted[SAVE_WALL_S] += time.monotonic() - begun[1]
            counted[SAVES] += is_save
            return done

        return watch

    loop.training_step = training(loop.training_step, True)
    loop._measure = training(loop._measure, False)
    checkpoint.save = saving(checkpoint.save, True)
    optimizer.Optimizer.state_dict = saving(optimizer.Optimizer.state_dict, False)
    return exit_code(lambda: train.main(argv))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        restart_with_environment(sys.argv)
        raise SystemExit(work(sys.argv[2], sys.argv[3:]))
    raise SystemExit(main())
