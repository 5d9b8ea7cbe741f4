"""A checkout of its own for each test module, so that a run there is a user's run and can't touch
this one.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Done:
    """How a command ended: its exit code and what it said on both streams together."""

    code: int
    said: str

    def jobs(self) -> set[str]:
        """Names of the rules that a dry run lists."""
        return set(re.findall(r"^(?:local)?rule (\w+):", self.said, flags=re.MULTILINE)) - {"all"}


@dataclass
class Checkout:
    """A copy of the tracked files, with what was built, in a folder of its own."""

    root: Path

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # Snakemake's Slurm plugin asks the cluster when it is loaded; a dead controller would cost
        # each command 10 s.
        return {
            **os.environ,
            "PATH": path,
            "NO_COLOR": "1",
            "PYTHONWARNINGS": "default",
            "SLURM_CONF": os.devnull,
        }

    def run(self, *command: str, timeout: float = 300) -> Done:
        """Runs the command in a session of its own; after ``timeout`` seconds all of it is ended
        and the test fails. When the test is ended from outside, all of it is ended too.
        """
        with tempfile.TemporaryFile(
            "w+", encoding="utf-8"
        ) as said:  # a pipe would wait for whatever outlives the command
            process = self.start(*command, stdout=said)
            try:
                process.wait(timeout)
            except BaseException as ended:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not isinstance(ended, subprocess.TimeoutExpired):
                    raise
                said.seek(0)
                pytest.fail(
                    f"{' '.join(command)}: not done after {timeout} s; it said:\n{said.read()}"
                )
            said.seek(0)
            return Done(process.returncode, said.read())

    def start(self, *command: str, stdout) -> subprocess.Popen:
        """The command as a process that leads a session; both its streams go to ``stdout``."""
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment(), start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def snakemake(self, *arguments: str, timeout: float = 300) -> Done:
        return self.run("snakemake", "--cores", "2", "--nocolor", *arguments, timeout=timeout)


@pytest.fixture(scope="module")
def checkout_copy(tmp_path_factory):
    """Makes a checkout: tracked files as they are on disk, plus the compiled extensions."""
    return lambda: _copied(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def checkout(checkout_copy) -> Checkout:
    """The checkout of a module."""
    return checkout_copy()


def _copied(root: Path) -> Checkout:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    built = [
        f.relative_to(ROOT).as_posix()
        for folder in ("snakelm", "pytorch_ext")
        for f in (ROOT / folder).glob("*.so")
    ]
    for name in [*filter(None, listed.decode().split("\0")), *built]:
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    return Checkout(root)


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """A few hundred short documents, all different."""
    animals = ["otter", "heron", "badger", "lynx", "stoat", "raven", "viper", "hare"]
    places = ["river", "old mill", "salt marsh", "orchard", "quarry", "harbour", "meadow"]
    deeds = [
        "waited for rain",
        "counted the boats",
        "slept under an oak",
        "lost its way",
        "sang until noon",
    ]
    return [
        f"Note {i}. The {animals[i % 8]} of the {places[i % 7]} {deeds[i % 5]} "
        f"on day {i * 37 % 365}. Later, {i % 90 + 3} people wrote that the {places[i * 3 % 7]} "
        f"was {'cold' if i % 2 else 'warm'} "
        f"and that {i * i % 1009} stones stood near the {animals[i * 5 % 8]}."
        for i in range(900)
    ]  # fmt: skip


@pytest.fixture
def own_parquet(checkout, sentences) -> Path:
    """A user's own parquet: a text column called `body` beside others."""
    folder = checkout.root / "my"
    folder.mkdir(exist_ok=True)
    file = folder / "notes.parquet"
    if not file.exists():
        pq.write_table(pa.table({"id": list(range(len(sentences))), "body": sentences}), file)
    return file
