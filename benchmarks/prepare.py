"""Preparation on a generated parquet file: seconds, CPU-seconds and peak memory of each step.

    python benchmarks/prepare.py --mb 1000 --folder /somewhere/with/4/GB --json prepare.json

The file is the worst of its size: one row group, no compression. `--longest` makes its first
document that long.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from snakelm.files import write_json, write_text
from snakelm.workflow.exit_codes import exit_code, parser

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts" / "preparation"
# A step's peak counts from the process that started it, so that is a small one.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
COLUMNS = (
    f"{'step':<16} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'documents/CPU-s':>16} "
    f"{'MB/CPU-s':>9}"
)


def generate(path: Path, megabytes: float, longest: float, seed: int = 0) -> int:
    """Writes a parquet file with ``megabytes`` of word salad (Zipf's law) in one row group; gives
    its documents.
    """
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    words = [
        "".join(letters[random.geometric(0.13, random.integers(2, 11)) % 26]) for _ in range(50_000)
    ]
    chance = 1 / np.arange(3, 50_003)
    texts, size = [], 0
    if longest:
        texts.append(_salad(words, random, chance, int(longest * 1e6 / 6)))
        size = len(texts[0])
    while size < megabytes * 1e6:
        lengths = np.minimum(random.lognormal(5.5, 1, 500).astype(int) + 20, 20_000)
        pool = _salad(words, random, chance, int(lengths.sum())).split(" ")
        for end, length in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True):
            texts.append(" ".join(pool[end - length : end]))
            size += len(texts[-1])
    table = pa.table({"text": pa.array(texts, pa.large_string()), "score": np.zeros(len(texts))})
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=len(texts))
    return len(texts)


def _salad(words: list[str], random: np.random.Generator, chance: np.ndarray, count: int) -> str:
    picks = np.searchsorted(np.cumsum(chance), random.random(count) * chance.sum())
    return " ".join(map(words.__getitem__, picks.tolist()))


def measure(step: str, *arguments: str | Path) -> dict[str, float]:
    """Runs one script and gives its wall and CPU seconds and its peak resident memory in MB."""
    began = time.perf_counter()
    command = [sys.executable, str(SCRIPTS / f"{step}.py"), *map(str, arguments)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{step} ended with status {done.returncode}")
    cpu, peak = map(float, done.stdout.split()[-2:])
    return {
        "step": step,
        "wall_s": time.perf_counter() - began,
        "cpu_s": cpu,
        "peak_mb": peak * 1024 / 1e6,
    }


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--mb", type=float, default=100, help="size of the generated text")
    arguments.add_argument("--longest", type=float, default=0, help="MB of its longest document")
    arguments.add_argument(
        "--folder", type=Path, required=True, help="where files may go; about 3 times --mb"
    )
    arguments.add_argument("--json", help="file for the figures")
    given = arguments.parse_args(argv)
    folder = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    source, config = folder / "source.parquet", folder / "config.yaml"
    documents = generate(source, given.mb, given.longest)
    write_text(config, json.dumps({"sources": [{"path": str(source), "name": "generated"}]}))
    sampled, kept, tokenizer = (
        folder / "sampled.parquet",
        folder / "documents.parquet",
        folder / "tokenizer",
    )
    c, t = ("--config", config), ("--tokenizer", tokenizer)
    steps = [
        ("preflight", *c, "--output", folder / "preflight.json"),
        ("sample_data", *c, "--source", "generated", "--output", sampled),
        ("deduplicate", *c, "--inputs", sampled, "--output", kept),
        ("train_tokenizer", *c, "--documents", kept, "--output", tokenizer),
        (
            "prepare_shard",
            *c,
            "--documents",
            kept,
            *t,
            "--shard",
            "0",
            "--of",
            "1",
            "--output-dir",
            folder / "shards",
        ),
        ("prepare_data", *c, "--shards", folder / "shards", *t, "--output-dir", folder / "bins"),
    ]
    print(f"{documents:,} documents, {source.stat().st_size / 1e6:,.0f} MB of parquet\n{COLUMNS}")
    rows = []
    for step in steps:
        row = measure(*step)
        row |= {
            "documents_per_cpu_s": documents / row["cpu_s"],
            "mb_per_cpu_s": given.mb / row["cpu_s"],
        }
        rows.append(row)
        print(
            f"{row['step']:<16} {row['wall_s']:8.1f} {row['cpu_s']:8.1f} {row['peak_mb']:8.0f}",
            end=" ",
        )
        print(f"{row['documents_per_cpu_s']:16,.0f} {row['mb_per_cpu_s']:9.1f}", flush=True)
    if given.json:
        write_json(
            given.json,
            {"documents": documents, "mb": given.mb, "longest_mb": given.longest, "steps": rows},
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
