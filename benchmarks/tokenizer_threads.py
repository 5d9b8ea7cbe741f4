"""What a second thread gains the tokenizer, beside what the machine gives to two processes.

    python benchmarks/tokenizer_threads.py --ranks cl100k_base.tiktoken --pattern cl100k

Each round times a batch of documentation on one thread, on two and on one again, then in two
processes at once. Those never wait for each other, so what they lack is the machine's: caches,
memory and whatever else the cores have in common, of which they need more, with tables of their own
each. Figures are medians of the rounds' ratios of wall time, and the ratio of the least times.
scaling.py says why rounds and not best times.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tokenizer import CORES
from tokenizer_peers import documents_of

from snakelm.tokenizer import Tokenizer
from snakelm.tokenizer.patterns import PATTERNS
from snakelm.tokenizer.published import published


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--ranks", type=Path, required=True, help="a published ranks file")
    add("--pattern", choices=sorted(PATTERNS), required=True, help="split pattern")
    add("--mb", type=float, default=60.0, help="MB of text")
    add("--rounds", type=int, default=25, help="rounds that medians are taken of")
    add("--json", type=Path, help="write the figures here")
    args = arguments.parse_args(argv)
    if len(CORES) < 2:
        raise SystemExit("tokenizer_threads.py: this process has one core; two expected")

    figures = measure(args)
    print(
        f"{figures['mb']:.0f} MB, {args.pattern}, wall time, medians of {args.rounds} rounds "
        "(and least by least)"
    )
    for name in ("two threads", "two processes"):
        found = figures[name]
        print(f"{name:>14}: {found['median']:.2f} times one ({found['least']:.2f})")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def measure(args: argparse.Namespace) -> dict:
    given = published(args.ranks, args.pattern)
    tokenizer = Tokenizer(given.mergeable_ranks, given.pattern, given.special_tokens)
    texts = documents_of("documentation", args.mb * 1e6)
    bits = 16 if tokenizer.vocab_size <= 1 << 16 else 32

    def encode(threads: int) -> None:
        tokenizer.encode_batch(texts, threads, bits=bits)

    for threads in (1, 2, 2):  # until both threads' caches know the words
        encode(threads)
    together = beside(encode)
    one, threads, processes = [], [], []
    for _ in range(args.rounds):
        before = wall(lambda: encode(1), CORES[:1])
        threads.append(wall(lambda: encode(2), CORES[:2]))
        one.append((before + wall(lambda: encode(1), CORES[:1])) / 2)
        processes.append(wall(together, CORES[:1]) / 2)  # twice the work
    return {
        "mb": sum(len(text.encode()) for text in texts) / 1e6,
        "two threads": gains(one, threads),
        "two processes": gains(one, processes),
    }


def beside(encode: Callable[[int], None]) -> Callable[[], None]:
    """A call that encodes here while a process on the second core does the same."""
    context = multiprocessing.get_context("fork")
    begin, end = context.Barrier(2), context.Barrier(2)

    def together() -> None:
        begin.wait()
        encode(1)
        end.wait()

    def other() -> None:
        os.sched_setaffinity(0, CORES[1:2])
        while True:
            together()

    context.Process(target=other, daemon=True).start()
    return together


def wall(work: Callable[[], None], cores: list[int]) -> float:
    os.sched_setaffinity(0, cores)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def gains(one: list[float], many: list[float]) -> dict[str, float]:
    """How many times as fast as one, by the median of the rounds and by the least times."""
    ratios = [a / b for a, b in zip(one, many, strict=True)]
    return {"median": statistics.median(ratios), "least": min(one) / min(many)}


if __name__ == "__main__":
    raise SystemExit(main())
