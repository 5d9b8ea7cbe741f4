"""What tuning teaches and what it forgets: held-out answers and plain text after it, and how the
loss on text falls with what the model sees of it.

    snakemake --cores 8 -- results/final_model.pt results/data/processed/train_sft_packed.bin
    python benchmarks/tuning.py --seeds 1 2 3 --variant '{}' --variant '{mix: 0}' --json tuning.json

A variant is `sft` in YAML, on top of --config. Each is the trainer's own run from the results
folder's final_model.pt, in a folder that is removed afterwards. Answers: nats a token, all held-out
conversations. Text: bits per byte of all held-out documents, and of those that have little in
common with the training text; in the precision of training. CPU-seconds are those of the run,
its two evaluations included.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import yaml

from snakelm.config import Config, load_config
from snakelm.data.bins import TokenBin, open_bin
from snakelm.data.packs import open_packs
from snakelm.device import set_up_device
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.model import Decoder, load_model
from snakelm.tokenizer import Tokenizer
from snakelm.training.chat_rows import as_tuning_begins
from snakelm.training.finetuning import FinetuningFiles, finetune
from snakelm.training.packed_batches import answer_losses
from snakelm.training.validation import row_losses
from snakelm.workflow.exit_codes import exit_code, parser

FIGURES = ("answers", "bpb", "clean")
SEEN = (1, 2, 5, 17, 65, 257, 1025)  # edges of what a target's document showed before it, in tokens


class Measure:
    """Held-out text and answers of a results folder."""

    def __init__(self, results: Path, config: Config, most_tokens: int | None) -> None:
        self.processed = results / "data/processed"
        self.tokenizer = Tokenizer.load(results / "tokenizer")
        self.dtype = set_up_device("cpu", config.train.precision, 1).dtype
        self.val: TokenBin = open_bin(self.processed / "val.bin", self.tokenizer.sha256)
        self.packs = open_packs(self.processed / "val_sft_packed.bin", self.tokenizer.sha256)
        shares = np.load(self.processed / "val_overlap.npy")
        self.documents = np.arange(self.val.meta.documents)
        if most_tokens:
            ends = self.val.document_offsets[1:]
            self.documents = self.documents[: int(np.searchsorted(ends, most_tokens))]
        self.clean = (shares < config.evaluate.clean_share)[self.documents]

    def of(self, model: Decoder, chat: bool) -> dict[str, Any]:
        """The figures of ``model``; ``chat``: whether its chat tokens are trained."""
        model.eval()
        model.compute_dtype = self.dtype
        count, bins = len(self.documents), len(SEEN) - 1
        nll, size, seen = np.zeros(count), np.zeros(count), np.zeros((2, bins))
        for losses in row_losses(model, self.val, self.documents):
            assert losses is not None
            known = losses.targets >= 0
            owner, loss = losses.owner[known], losses.nll[known]
            nll += np.bincount(owner, loss, count)
            size += np.bincount(owner, self.tokenizer.token_lengths[losses.targets[known]], count)
            where = np.digitize(losses.visible[known], SEEN) - 1
            seen += np.bincount(where, loss, bins), np.bincount(where, minlength=bins)

        if chat:
            lost, tokens = answer_losses(model, self.packs)
        else:
            with as_tuning_begins(model, self.tokenizer):
                lost, tokens = answer_losses(model, self.packs)
        bits = nll / np.log(2)
        return {
            "answers": float(lost.sum() / tokens.sum()),
            "bpb": float(bits.sum() / size.sum()),
            "clean": float(bits[self.clean].sum() / size[self.clean].sum()),
            "seen": [float(a / b) if b else None for a, b in seen.T],
        }


def tuned(
    results: Path, base: Path, config: Config, measure: Measure, keep: Path | None
) -> dict[str, Any]:
    """The figures after a run of ``config`` from ``base``; ``keep``: where its model goes."""
    with tempfile.TemporaryDirectory() as folder, Log("tuning", quiet=True) as log:
        out = Path(folder)
        files = FinetuningFiles(
            measure.processed / "train_sft_packed.bin",
            measure.processed / "val_sft_packed.bin",
            results / "tokenizer",
            measure.processed / "train.bin",
            base,
            out / "checkpoints",
            out / "sft_model.pt",
            out / "logs",
        )
        for made in (files.run_root, files.logs):
            made.mkdir()
        began = time.process_time()
        result = finetune(config, files, log, 1)
        spent = time.process_time() - began
        model, record = load_model(files.output)
        if keep:
            shutil.copy(files.output, keep)
    return {"cpu": spent, "steps": result["steps"], **measure.of(model, bool(record["chat"]))}


def configured(given: Any, variant: str, seed: int) -> Config:
    """The configuration of a run; what only shows and saves stays out of its time."""
    sft = {**(yaml.safe_load(variant) or {}), "seed": seed}
    sft |= dict.fromkeys(("eval_every", "save_every", "log_every"), 1_000_000)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"sft": sft, "train": {"sample_tokens": 0}}, file)
        file.flush()
        return load_config([*given.config, Path(file.name)])


def line(name: str, row: dict[str, Any], seed: str = "") -> str:
    seen = " ".join("    –" if one is None else f"{one:5.2f}" for one in row["seen"])
    told = "".join(f"{row[figure]:9.4f}" for figure in FIGURES)
    return f"{name:<44}{seed:>6}{row.get('cpu', 0):8.0f}{told}   {seen}"


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--results", type=Path, default=Path("results"), help="of the run")
    arguments.add_argument("--base", type=Path, help="another model than its final_model.pt")
    arguments.add_argument("--config", type=Path, nargs="*", default=[], help="settings in YAML")
    arguments.add_argument("--variant", action="append", help="sft in YAML; '{}' for the default")
    arguments.add_argument("--seeds", type=int, nargs="*", default=[1337])
    arguments.add_argument("--eval-tokens", type=int, help="of held-out text; all when left out")
    arguments.add_argument("--keep", type=Path, help="folder for the tuned models, by number")
    arguments.add_argument("--json", help="file for the figures")
    given = arguments.parse_args(argv)
    torch.set_num_threads(1)

    first = configured(given, "{}", 0)
    measure = Measure(given.results, first, given.eval_tokens)
    base = given.base or given.results / "final_model.pt"
    before = measure.of(load_model(base)[0], chat=False)
    heads = "".join(f"{name:>9}" for name in FIGURES)
    edges = " ".join(f"{edge:>5}" for edge in SEEN[:-1])
    print(f"{'sft':<44}{'seed':>6}{'CPU-s':>8}{heads}   nats a token, by tokens seen before it")
    print(f"{'':<85}   {edges}")
    print(line("before", before), flush=True)

    rows = []
    for variant in given.variant or ["{}"]:
        same = []
        for seed in given.seeds:
            config = configured(given, variant, seed)
            keep = given.keep / f"{len(rows) + len(same)}.pt" if given.keep else None
            row = tuned(given.results, base, config, measure, keep)
            same.append({"variant": variant, "seed": seed, **row})
            print(line(variant, row, str(seed)), flush=True)
        rows += same
        if len(same) > 1:
            print(spread(variant, same, before), flush=True)
    if given.json:
        write_json(given.json, {"before": before, "rows": rows})
    return 0


def spread(variant: str, rows: list[dict[str, Any]], before: dict[str, Any]) -> str:
    """Mean, least and most of each figure, and what the text lost."""
    told = []
    for figure in FIGURES:
        values = [row[figure] for row in rows]
        mean = sum(values) / len(values)
        change = "" if figure == "answers" else f" {mean - before[figure]:+.3f}"
        told.append(f"{figure} {mean:.3f} ({min(values):.3f} to {max(values):.3f}){change}")
    return f"  {variant}: {len(rows)} seeds: " + ", ".join(told)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
