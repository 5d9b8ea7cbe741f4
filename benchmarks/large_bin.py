"""parquet → token file of many gigabytes in one process: does its memory stay flat, and does a
process that was killed halfway leave what the next one completes to the same bytes?

    python benchmarks/large_bin.py --gb 10 --folder /somewhere/with/10/GB --json large.json
    python benchmarks/large_bin.py --gb 10 --folder /somewhere --ranks r50k_base.tiktoken \\
        --pattern gpt2 --interrupt

The text is this machine's documentation and Python source, again and again. In each round after the
first, half of the documents have two letters exchanged, other ones each time: a round has new
words, as the next gigabyte of a corpus has, and word caches come to their bounds. Files are removed
at the end.
"""

import argparse
import hashlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from resident import resident_mb
from tokenizer import END, OURS, write_documents
from tokenizer_peers import documents_of, up_to, varied

from snakelm.tokenizer import Tokenizer, train_bpe
from snakelm.tokenizer.patterns import PATTERNS
from snakelm.tokenizer.published import published

SOURCE_MB = 125  # of each kind of text
TRAINING_MB = 20  # of a vocabulary that is trained
VOCAB_SIZE = 32_768


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--gb", type=float, default=10.0, help="size of the text")
    add("--folder", type=Path, required=True, help="where files may go; about --gb in all")
    add("--ranks", type=Path, help="a published ranks file; trained here when left out")
    add("--pattern", choices=sorted(PATTERNS), default="cl100k", help="split pattern")
    add("--threads", type=int, default=1, help="threads of the process")
    add("--interrupt", action="store_true", help="a second time, killed halfway and begun again")
    add("--json", type=Path, help="write the figures here")
    args = arguments.parse_args(argv)

    folder = args.folder / "large_bin"
    folder.mkdir(parents=True)
    try:
        figures = measure(args, folder)
    finally:
        shutil.rmtree(folder)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    kinds = ("documentation", "code")
    texts = [text for kind in kinds for text in documents_of(kind, SOURCE_MB * 1e6)]
    vocabulary(args, texts).save(folder / "tokenizer")
    documents = folder / "documents.parquet"
    size = write_documents(documents, up_to(args.gb * 1e9, varied(texts)))
    print(f"{size / 1e9:.2f} GB of text, {documents.stat().st_size / 1e9:.2f} GB of parquet")

    whole = run(folder, args.threads)
    figures = {"gb": size / 1e9, "threads": args.threads, "whole": whole}
    print(report(whole, size))
    if args.interrupt:
        half = (folder / "train.bin").stat().st_size // 2
        expected = digests(folder)
        killed = run(folder, args.threads, until=half)
        again = run(folder, args.threads)
        same = digests(folder) == expected
        figures |= {"killed": killed, "again": again, "same_bytes": same}
        print(f"killed halfway; the second half: {report(again, size - size // 2)}")
        print(f"the same bytes: {same}")
    return figures


def vocabulary(args: argparse.Namespace, texts: list[str]) -> Tokenizer:
    if args.ranks:
        given = published(args.ranks, args.pattern)
        return Tokenizer(given.mergeable_ranks, given.pattern, given.special_tokens)
    few = texts[:: max(1, SOURCE_MB * 2 // TRAINING_MB)]
    return train_bpe(few, VOCAB_SIZE, args.pattern, or_fewer=True)


def run(folder: Path, threads: int, until: int | None = None) -> dict[str, Any]:
    """One process, watched every half second; with ``until`` it is killed when it has written so
    many bytes of tokens.
    """
    tokens = folder / "shards" / ".shard-0" / "train-0.bin"  # unfinished
    program = f"ROOT = {str(Path(__file__).resolve().parents[1])!r}\n{OURS}{END}"
    command = [sys.executable, "-c", program, str(folder), str(threads)]
    began, held = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            time.sleep(0.5)
            if mb := resident_mb("VmRSS", process.pid):
                held.append(mb)
            if until is not None and tokens.exists() and tokens.stat().st_size > until:
                process.kill()
        output = process.stdout.read() if process.stdout else ""
    figures: dict[str, Any] = {"wall_s": time.perf_counter() - began, "held_mb": tenths(held)}
    if process.returncode != (0 if until is None else -signal.SIGKILL):
        raise SystemExit(f"the process ended with status {process.returncode}")
    if until is None:
        cpu, _, peak = json.loads(output.splitlines()[-1])
        figures |= {"cpu_s": cpu, "peak_mb": peak}
    return figures


def tenths(held: list[float]) -> list[float]:
    """The most that was held in each tenth of the time."""
    edges = [len(held) * i // 10 for i in range(11)]
    return [max(held[a:b]) for a, b in itertools.pairwise(edges) if a < b]


def report(figures: dict[str, Any], size: int) -> str:
    held = " ".join(f"{mb:.0f}" for mb in figures["held_mb"])
    return (
        f"{figures['cpu_s']:.0f} CPU-seconds ({size / 1e6 / figures['cpu_s']:.0f} MB/s), at most "
        f"{figures['peak_mb']:.0f} MB; in each tenth of the time: {held} MB"
    )


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the bins and their indexes, which are removed with their shards."""
    shutil.rmtree(folder / "shards")
    found = {}
    for path in sorted([*folder.glob("*.bin"), *folder.glob("*.idx")]):
        with open(path, "rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        path.unlink()
    return found


if __name__ == "__main__":
    raise SystemExit(main())
