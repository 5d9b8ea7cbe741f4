"""The tokenizer against its fastest peers: encoding by size and by kind of text, on two threads,
parquet to token file, loading, training.

    pip install -r requirements-bench.txt        # the peers; those that aren't there are left out
    python benchmarks/tokenizer.py --ranks cl100k_base.tiktoken --json out.json
    python benchmarks/tokenizer.py --rows encode --sizes 0.05 1 5 60 1000

Without `--ranks` a vocabulary of 32,768 is trained on the documentation. All run on the same
documents, cut at 3,000 characters, about the length of a web page; ids are compared before anything
is timed. Contestants take turns in one process that is pinned to a core; times are CPU time, the
table has medians of the turns. *Cold* is the first text that a tokenizer made for the turn sees,
*second* the same text again. Two threads are measured in wall time on two cores. On a machine that
does something else besides only ratios within a run hold. Memory is what a contestant's first pass
or training adds to that of the process; of *bin* that of all its process.

*bin* is zstd parquet → uint16 file, in a process of its own each, loading included, imports not.
gigatoken's way is its reader of parquet and numpy; ours is prepare_shard and what puts shards
together, with journal, checksums, index and held-out documents.

A size beyond the English text of the machine takes that again and again, with other words each time
(tokenizer_peers.varied).
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
from resident import growth
from rich.console import Console
from rich.table import Column, Table
from tokenizer_peers import (
    KINDS,
    PEERS,
    THREADED,
    TRAINERS,
    is_installed,
    present,
    texts_of,
    version,
)

from snakelm.data.documents.table import SCHEMA, DocumentWriter
from snakelm.data.split import document_ids
from snakelm.tokenizer import EOT, Tokenizer, storage, train_bpe
from snakelm.tokenizer.patterns import PATTERNS
from snakelm.tokenizer.published import published

ROWS = ("encode", "threads", "bin", "load", "train")
SIZES = (0.05, 1.0, 5.0, 60.0)  # MB
CORES = sorted(os.sched_getaffinity(0))

# Ends with a line of JSON: CPU seconds, wall seconds, peak of resident memory in MB.
OURS = """
import sys, time, json
sys.path.insert(0, ROOT)
from pathlib import Path
from snakelm.config import from_mapping
from snakelm.data.tokens.prepare import gather
from snakelm.data.tokens.shards import config_hash, prepare_shard
from snakelm.log import Log
from snakelm.tokenizer import Tokenizer
cpu, wall = time.process_time(), time.perf_counter()
folder, config = Path(sys.argv[1]), from_mapping({"sources": [{"path": "a.parquet", "name": "a"}]})
tokenizer = Tokenizer.load(folder / "tokenizer")
with Log("bin", quiet=True) as log:
    paths = prepare_shard(folder / "documents.parquet", tokenizer, config, shard=0, of=1,
                          output=folder / "shards", threads=int(sys.argv[2]), log=log)
for split, path in paths.items():
    gather([path], folder / f"{split}.bin", tokenizer.sha256, config_hash(config))
"""
GIGATOKEN = """
import sys, time, json
import awkward, numpy as np
from gigatoken import ParquetFileSource, Tokenizer
cpu, wall = time.process_time(), time.perf_counter()
folder = sys.argv[1]
tokenizer = Tokenizer.from_tiktoken(f"{folder}/tokenizer/ranks.tiktoken", pretokenizer=PATTERN,
                                    special_tokens={})
ids = tokenizer.encode_files(ParquetFileSource([f"{folder}/documents.parquet"], column="text"),
                             parallel=sys.argv[2] != "1")
counts = np.asarray(awkward.num(ids))
flat = np.asarray(awkward.flatten(ids)).astype(np.uint16)
np.insert(flat, np.cumsum(counts) - counts, EOT).tofile(f"{folder}/gigatoken.bin")
"""
END = """
taken = [time.process_time() - cpu, time.perf_counter() - wall]
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([*taken, int(held.split()[1]) * 1024 / 1e6]))
"""


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--ranks", type=Path, help="a published ranks file; trained here when left out")
    add("--pattern", choices=sorted(PATTERNS), default="cl100k", help="split pattern")
    add("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to measure")
    add("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="kinds of text")
    add("--sizes", nargs="+", type=float, default=list(SIZES), help="MB of text to encode")
    add("--train-mb", type=float, default=50.0, help="MB of text to train on")
    add("--vocab-size", type=int, default=32_768, help="ids of a vocabulary that is trained")
    peers = list(dict.fromkeys([*PEERS, *TRAINERS]))
    add("--peers", nargs="+", choices=peers, default=peers, help="contestants")
    add("--rounds", type=int, default=5, help="turns of each contestant")
    add("--json", type=Path, help="write the rows here")
    args = arguments.parse_args(argv)

    os.sched_setaffinity(0, CORES[:1])
    with tempfile.TemporaryDirectory(prefix="tokenizer-") as folder:
        rows = Benchmark(args, Path(folder)).run()
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


class Benchmark:
    """The rows that were asked for, each a dict for the table and the JSON."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.rows: list[dict[str, Any]] = []
        wanted = max([*args.sizes, args.train_mb]) * 1e6
        self.texts = {kind: texts_of(kind, wanted) for kind in args.kinds}
        self.training = self.texts.get("documentation") or texts_of("documentation", wanted)

        if args.ranks:
            given = published(args.ranks, args.pattern)
            special = given.special_tokens
            self.tokenizer = Tokenizer(given.mergeable_ranks, given.pattern, special)
        else:
            training = head(self.training, args.train_mb * 1e6)
            self.tokenizer = train_bpe(training, args.vocab_size, args.pattern, or_fewer=True)
        self.tokenizer.save(folder / "tokenizer")
        self.ranks = folder / "tokenizer" / storage.RANKS
        peers = present(self.ranks, self.tokenizer.pattern)
        self.peers = {name: make for name, make in peers.items() if name in args.peers}

    def run(self) -> list[dict[str, Any]]:
        measures = {
            "encode": self.encode,
            "threads": self.threads,
            "bin": self.bin,
            "load": self.load,
            "train": self.train,
        }
        for name in self.args.rows:
            measures[name]()
        return self.rows

    def add(
        self,
        what: str,
        text: str,
        megabytes: float,
        times: dict[str, list[float]],
        peaks: dict[str, float] | None = None,
    ) -> None:
        """A row for each contestant; ``times``: seconds of its turns, ``peaks``: MB."""
        for name, seconds in times.items():
            base = times["snakelm"]
            ratios = [other / ours for ours, other in zip(base, seconds, strict=True)]
            self.rows.append(
                {
                    "what": what,
                    "text": text,
                    "megabytes": megabytes,
                    "contestant": version(name),
                    "seconds": statistics.median(seconds),
                    "mb_per_second": megabytes / statistics.median(seconds),
                    "times_ours": statistics.median(ratios),
                    "peak_mb": (peaks or {}).get(name),
                }
            )

    def encode(self) -> None:
        """Cold and second pass, for each kind of text and size."""
        for kind, texts in self.texts.items():
            sizes = [size for size in self.args.sizes if size * 1e6 <= total(texts) * 1.02]
            if not sizes and texts:
                sizes = [total(texts) / 1e6]
            if len(sizes) < len(self.args.sizes):
                has = f"{total(texts) / 1e6:.2f} MB"
                print(f"{kind}: this machine has {has}; larger sizes left out", file=sys.stderr)
            for size in sizes:
                self._encode(kind, head(texts, size * 1e6))

    def _encode(self, kind: str, texts: list[str]) -> None:
        self._compare(texts)
        cold: dict[str, list[float]] = {name: [] for name in self.peers}
        second: dict[str, list[float]] = {name: [] for name in self.peers}
        peaks: dict[str, float] = {}
        for _ in range(self.args.rounds):
            for name, make in self.peers.items():
                with growth() as grown:
                    encode, _ = make(self.ranks, self.tokenizer.pattern)
                    cold[name].append(seconds(lambda: encode(texts, False)))  # noqa: B023
                peaks[name] = max(peaks.get(name, 0.0), grown.mb)
                second[name].append(seconds(lambda: encode(texts, False)))  # noqa: B023
        self.add("cold", kind, total(texts) / 1e6, cold, peaks)
        self.add("second", kind, total(texts) / 1e6, second)

    def _compare(self, texts: list[str]) -> None:
        expected = self.tokenizer.encode_batch(texts)[0]
        for name, make in self.peers.items():
            encode, ids = make(self.ranks, self.tokenizer.pattern)
            if not np.array_equal(ids(encode(texts, False)), expected):
                raise SystemExit(f"{version(name)}: other ids; a time would mean nothing")

    def threads(self) -> None:
        """Wall time of one thread and of two, on two cores, second pass."""
        if len(CORES) < 2:
            print("threads: left out, this process has one core", file=sys.stderr)
            return
        os.sched_setaffinity(0, CORES[:2])
        texts = head(self.training, max(self.args.sizes) * 1e6)
        one: dict[str, list[float]] = {}
        two: dict[str, list[float]] = {}
        made = {
            name: self.peers[name](self.ranks, self.tokenizer.pattern)[0]
            for name in THREADED
            if name in self.peers
        }
        for encode in made.values():
            encode(texts, True)
        for _ in range(self.args.rounds):
            for name, encode in made.items():
                one.setdefault(name, []).append(wall(lambda: encode(texts, False)))  # noqa: B023
                two.setdefault(name, []).append(wall(lambda: encode(texts, True)))  # noqa: B023
        self.add("one thread, wall", "documentation", total(texts) / 1e6, one)
        self.add("two threads, wall", "documentation", total(texts) / 1e6, two)
        os.sched_setaffinity(0, CORES[:1])

    def bin(self) -> None:
        """parquet → token file, each in a process of its own."""
        texts = head(self.training, max(self.args.sizes) * 1e6)
        write_documents(self.folder / "documents.parquet", texts)
        root, pattern = str(Path(__file__).resolve().parents[1]), self.tokenizer.pattern
        eot = self.tokenizer.special_tokens.get(EOT, 0)
        programs = {"snakelm": f"ROOT = {root!r}\n{OURS}{END}"}
        if "gigatoken" in self.peers and self.tokenizer.vocab_size <= 1 << 16:
            programs["gigatoken"] = f"PATTERN, EOT = {pattern!r}, {eot}\n{GIGATOKEN}{END}"
        times: dict[str, list[float]] = {name: [] for name in programs}
        peaks: dict[str, float] = {}
        for _ in range(self.args.rounds):
            for name, program in programs.items():
                cpu, _, peaks[name] = child(program, self.folder, "1")
                times[name].append(cpu)
            made = sum((self.folder / f"{split}.bin").stat().st_size for split in ("train", "val"))
            peer = self.folder / "gigatoken.bin"
            if peer.exists() and peer.stat().st_size != made:
                raise SystemExit("bin: other numbers of tokens; a time would mean nothing")
        self.add("parquet → bin", "documentation", total(texts) / 1e6, times, peaks)

    def load(self) -> None:
        """From the files to the first ids."""
        times: dict[str, list[float]] = {name: [] for name in self.peers}
        loaders: dict[str, Callable[[], Any]] = {
            name: lambda make=make: make(self.ranks, self.tokenizer.pattern)[0](["a"], False)
            for name, make in self.peers.items()
        }
        loaders["snakelm"] = lambda: Tokenizer.load(self.folder / "tokenizer").encode_batch(["a"])
        for _ in range(self.args.rounds):
            for name, load in loaders.items():
                times[name].append(seconds(load))
        self.add("load", "one letter", 1e-6, times)

    def train(self) -> None:
        """A vocabulary. rustbpe's must be ours; the others have patterns and ties of their own."""
        texts, ids = head(self.training, self.args.train_mb * 1e6), self.args.vocab_size
        pattern, file = self.args.pattern, self.folder / "training.txt"
        file.write_text("\n".join(texts), encoding="utf-8")
        trainers: dict[str, Callable[[], Any]] = {
            "snakelm": partial(train_bpe, texts, ids, pattern),
            **{
                name: partial(train, texts, file, ids - 1, pattern)  # no id for the end of a text
                for name, train in TRAINERS.items()
                if name in self.args.peers and is_installed(name)
            },
        }
        exact = trainers.get("rustbpe")
        if exact and exact() != trainers["snakelm"]().mergeable_ranks:
            raise SystemExit("rustbpe: other merges; a time would mean nothing")

        times: dict[str, list[float]] = {name: [] for name in trainers}
        peaks = dict.fromkeys(trainers, 0.0)
        for _ in range(min(3, self.args.rounds)):
            for name, train in trainers.items():
                with growth() as grown:
                    times[name].append(seconds(train))
                peaks[name] = max(peaks[name], grown.mb)
        self.add(f"train {ids}", "documentation", total(texts) / 1e6, times, peaks)


def write_documents(path: Path, texts: Iterable[str]) -> int:
    """As the steps before leave them; returns their bytes."""
    rest, first = iter(texts), 0
    with DocumentWriter(path) as writer:
        while part := list(itertools.islice(rest, 2000)):
            columns = [part, ["a"] * len(part), document_ids(t.encode() for t in part)]
            columns += [["f"] * len(part), np.arange(first, first + len(part))]
            arrays = [pa.array(c, kind.type) for c, kind in zip(columns, SCHEMA, strict=True)]
            writer.append(pa.record_batch(arrays, SCHEMA))
            first += len(part)
    return writer.text_bytes


def child(program: str, *arguments: str | Path) -> list[float]:
    """Runs a program of Python; the numbers on its last line."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def head(documents: list[str], size: float) -> list[str]:
    """The first documents that reach ``size`` bytes."""
    found = 0.0
    for i, document in enumerate(documents):
        found += len(document.encode())
        if found >= size:
            return documents[: i + 1]
    return documents


def total(documents: list[str]) -> int:
    return sum(len(document.encode()) for document in documents)


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds."""
    started = time.process_time()
    call()
    return time.process_time() - started


def wall(call: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(
        *(Column(name, no_wrap=True) for name in ("what", "text", "contestant")),
        *("MB", "seconds", "MB/s", "÷ ours", "peak MB"),
    )
    for row in rows:
        peak = row["peak_mb"]
        table.add_row(
            *(row["what"], row["text"], row["contestant"], f"{row['megabytes']:.2f}"),
            *(f"{row['seconds']:.4f}", f"{row['mb_per_second']:.1f}"),
            *(f"{row['times_ours']:.2f}", "" if peak is None else f"{peak:.0f}"),
        )
    Console(width=max(110, Console().width)).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
