"""Whether a model forgets: ten documents that it has by heart are taken out, and it is trained
anew.

    python benchmarks/forgetting.py FOLDER [--cores 2] [--json FILE]

Sixty letters that nobody could guess stand twenty times each beside docstrings, in a run of the
workflow in FOLDER; then ten of them are forgotten, and the same command runs again. Printed are the
jobs and CPU-seconds of both runs, and what both models have by heart of the forgotten letters and
of ten others: by the workflow's own check, whose controls are held-out documents, and beside 200
letters of the same form that no model has read. Twenty minutes of a busy two-core machine, six
CPU-minutes.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml

from snakelm.config import from_mapping
from snakelm.data.split import document_id, is_validation
from snakelm.evaluation.memorisation import Checked, measure_memory
from snakelm.evaluation.memorisation_record import read_memorisation
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.model.huggingface import from_huggingface
from snakelm.tokenizer.of_base import tokenizer_of_base
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.exit_codes import exit_code, parser

LETTERS, UNREAD, SENTENCES, EACH, FORGOTTEN = 60, 200, 8, 20, 10
SEEDS = (5, 6)  # of the letters that stand in the text, and of those that don't
FIRST = (
    "Anna Bruno Clara Dario Elena Fabio Greta Hugo Irene Jacopo Karin Luca Marta Nadia Oscar Paola"
)
LAST = "Rossi Bianchi Weber Novak Petrov Moreau Lindqvist Okafor Tanaka Silva Costa Jansen Kowalski"
THINGS = (
    "lamp ladder violin kettle map barrel clock saddle mirror anchor stove ledger telescope coat"
)
PLACES = "harbour mill orchard quarry chapel market bridge lighthouse vineyard station"
DEEDS = "bought sold hid found repaired lost borrowed carried painted broke"
CONFIG: dict[str, Any] = {
    "preset": "smoke",
    "sources": [
        {"builtin": "docs", "limit": 2500},
        {"path": "letters.jsonl", "name": "letters", "weight": float(EACH)},
    ],
    "tokenizer": {"vocab_size": 2048},
    "model": {"width": 128, "heads": 4, "kv_heads": 2, "hidden": 384, "context": 128},
    "train": {
        **{"steps": 600, "batch_tokens": 4096, "warmup": 20},
        **{"eval_every": 200, "save_every": 200, "log_every": 50},
    },
    "export": "base",
    "memorisation": {"documents": "forget.txt"},
}
AFTER = {"forget": {"documents": "forget.txt"}, "memorisation": {"before": "before"}}
OTHERS = {"memorisation": {"documents": "others.txt"}}
EXPORTED, CHECKED = "results/models/final/README.md", "results/tables/memorisation.html"


def letters(count: int, seed: int) -> list[str]:
    """The same each time."""
    chance = np.random.default_rng(seed)

    def of(words: str) -> str:
        some = words.split()
        return some[int(chance.integers(len(some)))]

    def sentence() -> str:
        return (
            f"On day {chance.integers(1, 400)} {of(FIRST)} {of(LAST)} {of(DEEDS)} a {of(THINGS)} "
            f"and {chance.integers(2, 99)} {of(THINGS)}s near the {of(PLACES)} for "
            f"{chance.integers(100, 9999)} crowns."
        )

    return [
        " ".join(
            [f"Letter {chance.integers(10**5, 10**6)}.", *(sentence() for _ in range(SENTENCES))]
        )
        for _ in range(count)
    ]


def prepare(folder: Path) -> None:
    """The user's files: letters, lists of some, configurations."""
    folder.mkdir(parents=True)
    texts = letters(LETTERS, SEEDS[0])
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "letters.jsonl").write_text(lines, encoding="utf-8")
    hashes = [hashlib.sha256(text.encode()).hexdigest() + "\n" for text in texts]
    (folder / "forget.txt").write_text("".join(hashes[:FORGOTTEN]), encoding="utf-8")
    (folder / "others.txt").write_text("".join(hashes[FORGOTTEN : 2 * FORGOTTEN]), encoding="utf-8")
    for name, values in (("my", CONFIG), ("after", AFTER), ("others", OTHERS)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def run(folder: Path, cores: int, targets: list[str], *configs: str) -> dict[str, Any]:
    """Jobs and CPU-seconds of the workflow with some configurations on top of each other."""
    files = [f"{name}.yaml" for name in configs]
    command = ["snakemake", "-s", str(ROOT / "Snakefile"), "--cores", str(cores), "--nocolor"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, *targets, "--configfile", *files],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode:
        raise SystemExit(said)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE))
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"jobs": {name: int(count) for name, count in jobs.items()}, "cpu": cpu}


def memory(folder: Path) -> list[dict[str, Any]]:
    """What each model has by heart of the documents last asked for."""
    return [
        {
            "model": model.name,
            "exact": model.exact and model.exact.value,
            "near": model.near and model.near.value,
            "similarity": model.similarity and model.similarity.value,
            "exposure": model.exposure and model.exposure.value,
            "bits_per_byte": model.bits_per_byte and model.bits_per_byte.value,
            "control_exact": model.control_exact and model.control_exact.value,
            "control_bits_per_byte": model.control_bits_per_byte,
        }
        for model in read_memorisation(folder / CHECKED.replace(".html", ".json")).models
    ]


def beside_unread(folder: Path) -> list[dict[str, Any]]:
    """What the model in ``folder`` has of both tens of letters, among letters that it never read:
    there, a letter that is as good as unread has 1.4 bits of exposure.
    """
    model, tokenizer = from_huggingface(folder).eval(), tokenizer_of_base(folder).tokenizer
    checked, config = Checked(folder.name, model, tokenizer), from_mapping(CONFIG)
    read, unread = letters(LETTERS, SEEDS[0]), letters(UNREAD, SEEDS[1])
    tens = {"forgotten": read[:FORGOTTEN], "others": read[FORGOTTEN : 2 * FORGOTTEN]}
    rules, log, rows = config.memorisation, Log("forgetting", quiet=True), []
    for what, texts in tens.items():
        ids = np.array([document_id(text.encode()) for text in texts], np.uint64)
        trained_on = ~is_validation(ids, config.prepare.val_fraction, config.seed)
        found = measure_memory(checked, texts, trained_on, unread, rules, SEEDS[0], log)
        assert found.exposure
        assert found.similarity
        assert found.control_similarity
        rows.append(
            {
                "letters": what,
                "exposure": [found.exposure.value, found.exposure.low, found.exposure.high],
                "similarity": found.similarity.value,
                "unread_similarity": found.control_similarity.value,
                "bits_per_byte": found.bits_per_byte and found.bits_per_byte.value,
                "unread_bits_per_byte": found.control_bits_per_byte,
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("folder", type=Path, help="folder to make; must not be there")
    arguments.add_argument("--cores", type=int, default=2)
    arguments.add_argument("--json", type=Path, metavar="FILE")
    args = arguments.parse_args(argv)

    prepare(args.folder)
    first = run(args.folder, args.cores, [EXPORTED, CHECKED], "my")
    shutil.copytree(args.folder / "results/models/final", args.folder / "before")
    again = run(args.folder, args.cores, [EXPORTED, CHECKED], "my", "after")
    found = {"forgotten": memory(args.folder)}
    run(args.folder, args.cores, [CHECKED], "my", "after", "others")
    found["others"] = memory(args.folder)
    models = {"before": args.folder / "before", "after": args.folder / "results/models/final"}
    unread = {name: beside_unread(folder) for name, folder in models.items()}

    for name, one in (("first run", first), ("run that forgets", again)):
        print(f"{name}: {one['cpu']:.0f} CPU-s, jobs {one['jobs']}")
    print(f"{'letters':<11}{'model':<12}{'exact':>7}{'near':>7}{'alike':>7}{'bits':>6}{'bpb':>7}")
    for what, models in found.items():
        for row in models:
            shares = "".join(f"{row[key]:>7.1%}" for key in ("exact", "near"))
            rest = f"{row['similarity']:>7.2f}{row['exposure']:>6.1f}{row['bits_per_byte']:>7.3f}"
            print(f"{what:<11}{row['model']:<12}{shares}{rest}")
    print(f"beside {UNREAD} unread letters: exposure (95%), similarity and bits per byte; of those")
    for name, rows in unread.items():
        for row in rows:
            value, low, high = row["exposure"]
            told = f"{value:.1f} ({low:.1f} to {high:.1f}), {row['similarity']:.2f}"
            told += f", {row['bits_per_byte']:.3f}; {row['unread_similarity']:.2f}"
            print(f"{row['letters']:<11}{name:<8}{told}, {row['unread_bits_per_byte']:.3f}")
    if args.json:
        written = {"first": first, "again": again, "memory": found, "unread": unread}
        write_json(args.json, written)
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
