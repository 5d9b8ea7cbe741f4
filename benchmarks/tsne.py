"""t-SNE of many documents: CPU time and memory of scikit-learn and openTSNE, and how well either
keeps neighbours.

Vectors are made up: points around 40 centres, as many centres as a corpus has topics, so the
figures need no corpus. Each measurement is a process of its own, on one thread, as the workflow's
step is.

    python benchmarks/tsne.py --documents 10000 50000
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from resident import resident_mb

from snakelm.evaluation.embeddings.layout import MANY, lay_out
from snakelm.files import write_json

WIDTH, INNER, CENTRES = 256, 12, 40
LOOKED_AT, NEIGHBOURS = 1000, 10


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, nargs="+", default=[3000, 10_000, 50_000])
    parser.add_argument(
        "--most-scikit-learn", type=int, default=MANY, help="larger maps by openTSNE alone"
    )
    parser.add_argument("--json", type=Path, help="write the measurements here")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(measured(args.one[0], int(args.one[1]))))
        return
    rows = []
    print(
        f"{'documents':>9}  {'library':<12}  {'CPU s':>6}  {'memory MB':>9}  "
        f"{'neighbours kept':>15}"
    )
    for count in args.documents:
        for method in ("scikit-learn", "opentsne"):
            if method == "opentsne" or count <= args.most_scikit_learn:
                command = [sys.executable, __file__, "--one", method, str(count)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(row := json.loads(done.stdout))
                print(
                    f"{count:>9,}  {method:<12}  {row['cpu_seconds']:>6.1f}  "
                    f"{row['memory_mb']:>9,.0f}  {row['neighbours_kept']:>15.1%}",
                    flush=True,
                )
    if args.json:
        write_json(args.json, rows)


def measured(method: str, count: int) -> dict[str, float | str]:
    """CPU seconds of one map, the most memory the process held, and the share of 10 nearest
    neighbours it keeps.
    """
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(CENTRES, WIDTH))
    vectors = (
        centres[generator.integers(0, CENTRES, count)] + generator.normal(size=(count, WIDTH))
    ).astype(np.float16)
    began = time.process_time()
    places = lay_out(vectors, 30.0, method, 0).positions
    cpu_seconds = time.process_time() - began
    memory = resident_mb()
    measured = {
        "cpu_seconds": cpu_seconds,
        "memory_mb": memory,
        "neighbours_kept": kept(vectors, places),
    }
    return {"documents": count, "library": method, **measured}


def made_up(count: int) -> np.ndarray:
    """Vectors float16 [count, 256] that vary along 12 directions around their centres, and a little
    along all.
    """
    generator = np.random.default_rng(0)
    places = generator.normal(size=(CENTRES, INNER))[generator.integers(0, CENTRES, count)] * 2
    places += generator.normal(size=(count, INNER))
    noise = 0.1 * generator.normal(size=(count, WIDTH))
    return (places @ generator.normal(size=(INNER, WIDTH)) / INNER**0.5 + noise).astype(np.float16)


def kept(vectors: np.ndarray, places: np.ndarray) -> float:
    """Of the nearest 10 of each of 1,000 documents, the share that is among the nearest 10 on the
    map.
    """
    some = np.arange(0, len(vectors), max(1, len(vectors) // LOOKED_AT))
    shares = []
    wide = vectors.astype(np.float32)
    for i in some:
        before, after = (
            set(
                np.argpartition(((points - points[i]) ** 2).sum(1), NEIGHBOURS + 1)[
                    : NEIGHBOURS + 1
                ].tolist()
            )
            - {i}
            for points in (wide, places)
        )
        shares.append(len(before & after) / NEIGHBOURS)
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
