"""Deduplication by stage, beside datasketch, rensa and datatrove on the same documents, and against
every pair.

    python benchmarks/deduplicate.py --documents results/data/sampled/docs.parquet --json out.json
    python benchmarks/deduplicate.py --signatures 10e6 --folder /somewhere/with/4/GB

CPU-seconds of one thread. The others take part where they are installed (datasketch, rensa;
datatrove with spacy, tokenizers and "xxhash<4"); none is a requirement of the project. All make
128-place signatures of 5-word shingles; datasketch is given our words, rensa our shingles,
datatrove takes its own. What is dropped is measured on documents with changed copies of them,
against a greedy pass over the exact Jaccard similarity of every pair.

`--signatures` measures the near-duplicate stage alone, on that many generated signatures of which a
third are copies.
"""

import argparse
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa

from snakelm.config import Deduplicate
from snakelm.data.documents.deduplicate import exact_duplicates, text_digests
from snakelm.data.documents.minhash import NearDuplicates
from snakelm.data.documents.shingles import shingle_hashes, signatures, words
from snakelm.data.documents.table import DocumentWriter, read_documents
from snakelm.files import write_json
from snakelm.workflow.exit_codes import exit_code, parser

RULES = Deduplicate()


class Clock:
    """CPU-seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, call: Callable):
        began = time.process_time()
        result = call()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.process_time() - began
        return result


class OwnMemory:
    """The most memory of its own that the process has within the block, in MB: without pages of
    files, which the kernel takes back when it needs them. Linux alone; looked at fifty times a
    second.
    """

    def __enter__(self) -> "OwnMemory":
        self.peak_mb, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            fields = dict(
                line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
            )
            self.peak_mb = max(self.peak_mb, int(fields["RssAnon"].split()[0]) * 1024 / 1e6)


def our_stages(path: Path, folder: Path) -> dict[str, float]:
    """The stages of scripts/preparation/deduplicate.py, one after the other."""
    clock = Clock()
    batches = clock("read", lambda: list(read_documents(path)))
    total = sum(batch.num_rows for batch in batches)
    near = NearDuplicates(folder, total, RULES)
    digests = []
    for batch in batches:
        texts = batch.column("text")
        digests.append(clock("exact: digests", lambda texts=texts: text_digests(texts)))
        clock(
            "shingles alone (not part of it)",
            lambda texts=texts: shingle_hashes(texts, RULES.shingle),
        )
        made = clock(
            "near: shingles, signatures",
            lambda texts=texts: signatures(texts, RULES.shingle, RULES.permutations),
        )
        clock("near: bands", lambda made=made: near.add_signatures(made))
    out = np.zeros(total, bool)
    out[clock("exact: sort", lambda: exact_duplicates(np.concatenate(digests)))] = True
    clock("near: compare", lambda: near.near(np.arange(total, dtype=np.uint32), out))
    with DocumentWriter(folder / "written.parquet") as writer:
        for batch in batches:
            clock("write", lambda batch=batch: writer.append(batch))
    (folder / "written.parquet").unlink()
    return clock.seconds


def shingle_sets(texts: list[str]) -> list[set[bytes]]:
    rows = []
    for text in texts:
        w = words(text)
        rows.append(
            {" ".join(w[i : i + 5]).encode() for i in range(max(1, len(w) - 4))} if w else set()
        )
    return rows


def greedy(count: int, alike: Callable[[int], bool], stays: Callable[[int], None]) -> list[int]:
    """What goes when each document is compared with those before it that stay."""
    gone = []
    for i in range(count):
        if alike(i):
            gone.append(i)
        else:
            stays(i)
    return gone


def ours(texts: list[str], folder: Path, clock: Clock) -> list[int]:
    array = pa.array(texts, pa.large_string())
    near = NearDuplicates(folder, len(texts), RULES)
    clock("signatures", lambda: near.add(array))
    order, out = np.arange(len(texts), dtype=np.uint32), np.zeros(len(texts), bool)
    return np.flatnonzero(clock("compare", lambda: near.near(order, out))).tolist()


def datasketch(texts: list[str], folder: Path, clock: Clock) -> list[int]:
    from datasketch import MinHash, MinHashLSH

    sets = clock("shingles", lambda: shingle_sets(texts))
    made = clock("signatures", lambda: MinHash.bulk(sets, num_perm=128))
    index = MinHashLSH(threshold=RULES.threshold, num_perm=128)

    def alike(i: int) -> bool:
        return bool(sets[i]) and any(
            made[i].jaccard(made[j]) >= RULES.threshold for j in index.query(made[i])
        )

    return clock("compare", lambda: greedy(len(texts), alike, lambda i: index.insert(i, made[i])))


def rensa(texts: list[str], folder: Path, clock: Clock) -> list[int]:
    from rensa import RMinHash

    hashes, offsets = clock(
        "shingles", lambda: shingle_hashes(pa.array(texts, pa.large_string()), 5)
    )
    digest = RMinHash.digest_matrix_from_flat_token_hashes
    matrix = clock("signatures", lambda: digest(hashes, offsets.astype(np.uint64), 128, 1))
    rows = clock("out of rensa", lambda: np.array(matrix.to_rows(), np.uint32))
    near = NearDuplicates(folder, len(texts), RULES)
    clock("compare", lambda: near.add_signatures(rows))
    order, out = np.arange(len(texts), dtype=np.uint32), np.zeros(len(texts), bool)
    return np.flatnonzero(clock("compare", lambda: near.near(order, out))).tolist()


def datatrove(texts: list[str], folder: Path, clock: Clock) -> None:
    """Its first of four stages, signatures in memory; buckets, clusters and filter come on top."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature(
        str(folder / "datatrove"), MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8)
    )

    def sign(text: str) -> None:
        shingles = step.get_shingles(text)
        if shingles.size:
            step.get_signature(shingles)

    clock("shingles, signatures", lambda: [sign(text) for text in texts])


def with_copies(texts: list[str], seed: int = 0) -> list[str]:
    """The texts, and a copy of each with a stretch of up to half of its words from another."""
    source = random.Random(seed)
    copies = []
    for text in texts:
        mine, other = text.split(), source.choice(texts).split()
        size = int(len(mine) * source.random() * 0.5)
        at = source.randrange(len(mine) - size + 1)
        copies.append(" ".join([*mine[:at], *other[:size], *mine[at + size :]]))
    return texts + copies


def exactly(texts: list[str]) -> set[int]:
    """The greedy pass with exact similarities."""
    sets, staying = shingle_sets(texts), []

    def alike(i: int) -> bool:
        return any(
            len(sets[i] & sets[j]) >= RULES.threshold * len(sets[i] | sets[j])
            for j in staying
            if sets[i] and sets[j]
        )

    return set(greedy(len(texts), alike, staying.append))


def contestants(texts: list[str], few: list[str], folder: Path) -> Iterator[dict]:
    truth = exactly(few)
    for name, method in (
        ("snakelm", ours),
        ("rensa", rensa),
        ("datasketch", datasketch),
        ("datatrove", datatrove),
    ):
        clock = Clock()
        try:
            method(texts, folder, clock)
            gone = method(few, folder, Clock())
        except ImportError as error:
            print(f"{name:<12} not installed: {error}".splitlines()[0])
            continue
        seconds = sum(clock.seconds.values())
        row = {"name": name, "documents_per_cpu_s": len(texts) / seconds, "cpu_s": clock.seconds}
        if gone is not None:
            hits = len(truth & set(gone))
            row |= {
                "precision": hits / max(1, len(gone)),
                "recall": hits / max(1, len(truth)),
                "dropped": len(gone),
            }
        yield row


def show(row: dict) -> None:
    quality = f"{row['precision']:9.3f} {row['recall']:7.3f}" if "precision" in row else " " * 17
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in row["cpu_s"].items())
    print(f"{row['name']:<12} {row['documents_per_cpu_s']:12,.0f} {quality}   {stages}", flush=True)


def near_alone(count: int, folder: Path, seed: int = 0) -> dict:
    """CPU-seconds and memory of the near-duplicate stage on generated signatures."""
    source = np.random.default_rng(seed)
    base = source.integers(0, 2**32 - 1, (1 << 14, RULES.permutations), np.uint32)
    near, clock = NearDuplicates(folder, count, RULES), Clock()
    for first in range(0, count, 1 << 15):
        size = min(1 << 15, count - first)
        made = source.integers(0, 2**32 - 1, (size, RULES.permutations), np.uint32)
        made[: size // 3] = base[source.integers(0, len(base), size // 3)]
        made[np.arange(size // 3), source.integers(0, RULES.permutations, size // 3)] = first
        clock("bands", lambda made=made: near.add_signatures(made))
    order, out = np.arange(count, dtype=np.uint32), np.zeros(count, bool)
    with OwnMemory() as own:
        gone = clock("compare", lambda: near.near(order, out))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {
        "signatures": count,
        "dropped": int(gone.sum()),
        "cpu_s": clock.seconds,
        "own_mb": own.peak_mb,
        "resident_mb": resident,
    }


def measure(given: argparse.Namespace, folder: Path) -> dict:
    if given.signatures:
        row = near_alone(int(given.signatures), folder)
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in row["cpu_s"].items())
        print(f"{row['signatures']:,} signatures, {row['dropped']:,} dropped: {stages} CPU-s")
        print(
            f"memory of its own {row['own_mb']:,.0f} MB, "
            f"resident with pages of files {row['resident_mb']:,.0f} MB"
        )
        return row

    stages = our_stages(given.documents, folder)
    texts = [
        text
        for batch in read_documents(given.documents, ["text"])
        for text in batch.column("text").to_pylist()
    ]
    print(f"{len(texts):,} documents, {sum(map(len, texts)) / 1e6:.1f} M characters\n")
    for stage, seconds in stages.items():
        speed = len(texts) / max(seconds, 1e-6)
        print(f"{stage:<34} {seconds:8.3f} CPU-s {speed:14,.0f} documents/CPU-s")
    total = sum(seconds for stage, seconds in stages.items() if "alone" not in stage)
    print(f"{'all':<34} {total:8.3f} CPU-s {len(texts) / total:14,.0f} documents/CPU-s\n")

    texts = texts[:: max(1, len(texts) // given.limit)][: given.limit]
    few = with_copies([text for text in texts if len(text) > 300][:800])
    print(
        f"{'':<12} {'docs/CPU-s':>12} {'precision':>9} {'recall':>7}   "
        f"CPU-seconds of {len(texts):,} documents"
    )
    rows = []
    for row in contestants(texts, few, folder):
        show(row)
        rows.append(row)
    return {"stages": stages, "contestants": rows}


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--documents", type=Path, default=Path("results/data/sampled/docs.parquet")
    )
    arguments.add_argument(
        "--limit", type=int, default=5000, help="documents for the comparison, at even distances"
    )
    arguments.add_argument(
        "--signatures", type=float, help="measure the near-duplicate stage on this many"
    )
    arguments.add_argument(
        "--folder", type=Path, help="for temporary files; the system's when left out"
    )
    arguments.add_argument("--json", help="file for the figures")
    given = arguments.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        rows = measure(given, Path(name))
    if given.json:
        write_json(given.json, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
