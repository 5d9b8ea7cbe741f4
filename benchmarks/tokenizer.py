"""The tokenizer against tiktoken: encoding and training, MB a CPU-second, on text made from
installed packages.

    python benchmarks/tokenizer.py               # vocabularies trained here, nothing downloaded
    python benchmarks/tokenizer.py --ranks cl100k_base.tiktoken --json out.json

Method: both encode the same documents in the same process, in turns; each turn is CPU time (one
thread). The table has medians, and the median of the paired ratios, because on a shared machine
only ratios within a turn hold. Ids are compared before anything is timed. Documents are cut at
3,000 characters, about the length of a web page.
"""

import argparse
import json
import resource
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Column, Table

from snakelm.tokenizer import Tokenizer, train_bpe
from snakelm.tokenizer.patterns import PATTERNS
from snakelm.tokenizer.published import published

CUT = 3000


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--mb", type=float, default=8.0, help="text to encode")
    arguments.add_argument("--train-mb", type=float, default=48.0, help="text to train on")
    arguments.add_argument(
        "--vocab-size", type=int, default=32_768, help="ids of the trained vocabularies"
    )
    arguments.add_argument(
        "--ranks", type=Path, nargs="*", default=[], help="published ranks files to encode with too"
    )
    arguments.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    arguments.add_argument("--json", type=Path, help="write the rows here")
    args = arguments.parse_args(argv)
    documents = installed_text(max(args.mb, args.train_mb) * 1e6)
    rows, tokenizers = [], [published(file, "gpt2") for file in args.ranks]
    training = head(documents, args.train_mb * 1e6)
    for pattern in PATTERNS:
        tokenizer, row = time_training(training, args.vocab_size, pattern)
        tokenizers.append(tokenizer)
        rows.append(row)
    encoded = head(documents, args.mb * 1e6)
    rows += [
        row for tokenizer in tokenizers for row in time_encoding(tokenizer, encoded, args.rounds)
    ]
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def installed_text(size: float) -> list[str]:
    """Source and documentation of the standard library and installed packages, cut, about ``size``
    bytes; sorted.
    """
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    endings = ("py", "rst", "md", "txt")
    files = {
        file for folder in folders for ending in endings for file in folder.rglob(f"*.{ending}")
    }
    documents, found = [], 0
    for file in sorted(files):
        text = file.read_text(encoding="utf-8", errors="replace")
        documents += [text[i : i + CUT] for i in range(0, len(text), CUT)]
        found += len(text)
        if found > size:
            break
    return documents


def head(documents: list[str], size: float) -> list[str]:
    """The first documents that reach ``size`` characters."""
    found = 0
    for i, document in enumerate(documents):
        found += len(document)
        if found >= size:
            return documents[: i + 1]
    return documents


def megabytes(documents: list[str]) -> float:
    return sum(len(document.encode()) for document in documents) / 1e6


def cpu_seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def time_training(documents: list[str], vocab_size: int, pattern: str) -> tuple[Tokenizer, dict]:
    """Trains once; the extra memory is the growth of the process's peak, so only the first row's
    says anything.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    tokenizer = train_bpe(documents, vocab_size, pattern)
    seconds = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    size = megabytes(documents)
    row = {
        "what": "train",
        "vocabulary": f"{pattern} {vocab_size}",
        "megabytes": size,
        "cpu_seconds": seconds,
    }
    return tokenizer, row | {"mb_per_cpu_second": size / seconds, "peak_growth_mb": grown}


def time_encoding(tokenizer: Tokenizer, documents: list[str], rounds: int) -> list[dict]:
    """Rows of tiktoken's loop, our loop and our batch, on one thread."""
    reference = tokenizer.to_tiktoken()
    ids, offsets = tokenizer.encode_batch(documents)
    for i, document in enumerate(documents):
        if ids[offsets[i] : offsets[i + 1]].tolist() != reference.encode_ordinary(document):
            raise SystemExit(f"document {i}: ids differ from tiktoken's; a time would mean nothing")
    contestants = {
        "tiktoken, loop": lambda: [reference.encode_ordinary(document) for document in documents],
        "snakelm, loop": lambda: [tokenizer.encode_ordinary(document) for document in documents],
        "snakelm, batch": lambda: tokenizer.encode_batch(documents, threads=1),
    }
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            times[name].append(cpu_seconds(call))
    size = megabytes(documents)
    vocabulary = f"{tokenizer.facts.get('published') or tokenizer.pattern} {tokenizer.vocab_size}"
    base = times["tiktoken, loop"]
    return [
        {
            "what": name,
            "vocabulary": vocabulary,
            "megabytes": size,
            "cpu_seconds": statistics.median(seconds),
            "mb_per_cpu_second": size / statistics.median(seconds),
            "times_tiktoken": statistics.median(b / s for b, s in zip(base, seconds, strict=True)),
        }
        for name, seconds in times.items()
    ]


def show(rows: list[dict]) -> None:
    table = Table(
        "what",
        Column("vocabulary", no_wrap=True),
        "MB",
        "CPU-s",
        "MB/CPU-s",
        "× tiktoken",
        "peak +MB",
    )
    for row in rows:
        numbers = [
            f"{row[key]:.2f}" if key in row else ""
            for key in ("cpu_seconds", "mb_per_cpu_second", "times_tiktoken")
        ]
        grown = f"{row['peak_growth_mb']:.0f}" if "peak_growth_mb" in row else ""
        table.add_row(row["what"], row["vocabulary"], f"{row['megabytes']:.1f}", *numbers, grown)
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
