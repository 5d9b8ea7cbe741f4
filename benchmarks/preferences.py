"""What learning from preferences teaches and what it costs: held-out pairs and answers after it,
and plain text, with other rates, losses and the like.

    snakemake --cores 8 -- results/sft_model.pt
    python benchmarks/preferences.py --variant '{}' --variant '{loss: kto}' --json preferences.json
    python benchmarks/preferences.py --factors 0.25 0.5 1 2 4

A variant is `preferences` in YAML, on top of --config; without sources it takes the built-in pairs.
--factors are variants with all learning rates times each. Each is the trainer's own run from the
results folder's sft_model.pt, in a folder that is removed afterwards. Of held-out pairs: loss,
share whose rewards are in order (of KTO's answers those on the label's side), and share of which
the chosen side is likelier. Answers and text as in benchmarks/tuning.py. CPU-seconds are those of
the run: the scores of the tuned model, training, and two evaluations.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import yaml
from tuning import Measure

from snakelm.config import Config, load_config
from snakelm.data.conversations.prepare_preferences import prepare_preferences
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.model import load_model
from snakelm.training.preferences import PreferenceFiles, learn_preferences
from snakelm.workflow.exit_codes import exit_code, parser

RATES = ("lr", "embedding_lr", "head_lr", "scalar_lr", "lora_lr")
FROM_RUN = ("val_loss", "val_rewards_accuracies", "val_logps_accuracies", "val_rewards_margins")
FROM_MODEL = ("answers", "bpb", "clean")
HEADS = ("loss", "in order", "likelier", "margin", *FROM_MODEL)


def configured(below: list[Path], variant: str, seed: int) -> Config:
    """The configuration of a run; what only shows and saves stays out of its time."""
    own = {"seed": seed, **(yaml.safe_load(variant) or {})}
    own |= dict.fromkeys(("eval_every", "save_every", "log_every"), 1_000_000)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        if not load_config(below).preferences.sources:
            own.setdefault("sources", [{"builtin": "docs"}])
        yaml.safe_dump({"preferences": own, "train": {"sample_tokens": 0}}, file)
        file.flush()
        return load_config([*below, Path(file.name)])


class Packs:
    """The pairs of a configuration as packs of a folder; made once for each kind."""

    def __init__(self, folder: Path, measure: Measure) -> None:
        self.folder, self.measure = folder, measure
        self.made: dict[str, Path] = {}

    def of(self, config: Config) -> Path:
        own = config.preferences
        key = repr((own.sources, own.loss, own.context, own.val_fraction))
        if key not in self.made:
            path = self.folder / f"packs{len(self.made)}"
            path.mkdir()
            with Log("preferences", quiet=True) as log:
                prepare_preferences(config, self.measure.tokenizer, path, threads=1, log=log)
            self.made[key] = path
        return self.made[key]


def learned(results: Path, config: Config, packs: Path, measure: Measure) -> dict[str, Any]:
    """The figures after a run of ``config``."""
    with tempfile.TemporaryDirectory() as folder, Log("preferences", quiet=True) as log:
        out = Path(folder)
        files = PreferenceFiles(
            packs / "train_preferences.bin",
            packs / "val_preferences.bin",
            results / "tokenizer",
            results / "sft_model.pt",
            out / "checkpoints",
            out / "preference_model.pt",
            out / "logs",
        )
        for made in (files.run_root, files.logs):
            made.mkdir()
        began = time.process_time()
        result: dict[str, Any] = dict(learn_preferences(config, files, log, 1))
        spent = time.process_time() - began
        found = measure.of(load_model(files.output)[0], True)
    return {
        "cpu": spent,
        "steps": result["steps"],
        **{name: result.get(name) for name in FROM_RUN},
        **{name: found[name] for name in FROM_MODEL},
    }


def line(name: str, row: dict[str, Any], seed: str = "") -> str:
    figures = (row.get(figure) for figure in (*FROM_RUN, *FROM_MODEL))
    told = "".join(f"{'–':>10}" if one is None else f"{one:>10.4f}" for one in figures)
    return f"{name:<44}{seed:>6}{row.get('cpu', 0):>7.0f}{told}"


def with_factor(config: Config, factor: float) -> str:
    """The variant with all rates times ``factor``."""
    return yaml.safe_dump(
        {rate: min(1.0, factor * getattr(config.preferences, rate)) for rate in RATES},
        default_flow_style=True,
        width=1000,
    ).strip()


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--results", type=Path, default=Path("results"), help="of the run")
    arguments.add_argument("--config", type=Path, nargs="*", default=[], help="settings in YAML")
    arguments.add_argument("--variant", action="append", help="preferences in YAML; '{}': as is")
    arguments.add_argument("--factors", type=float, nargs="*", default=[], help="of all rates")
    arguments.add_argument("--seeds", type=int, nargs="*", default=[1337])
    arguments.add_argument("--eval-tokens", type=int, help="of held-out text; all when left out")
    arguments.add_argument("--json", type=Path, metavar="FILE")
    given = arguments.parse_args(argv)
    torch.set_num_threads(1)

    first = configured(given.config, "{}", 0)
    variants = {name: name for name in given.variant or ([] if given.factors else ["{}"])}
    variants |= {f"rates × {f:g}": with_factor(first, f) for f in given.factors}
    measure = Measure(given.results, first, given.eval_tokens)
    before = measure.of(load_model(given.results / "sft_model.pt")[0], True)
    print(f"{'preferences':<44}{'seed':>6}{'CPU-s':>7}{''.join(f'{name:>10}' for name in HEADS)}")
    print(line("before", before), flush=True)

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        packs = Packs(Path(folder), measure)
        for name, variant in variants.items():
            for seed in given.seeds:
                config = configured(given.config, variant, seed)
                row = learned(given.results, config, packs.of(config), measure)
                rows.append({"variant": variant, "seed": seed, **row})
                print(line(name, row, str(seed)), flush=True)
                if given.json:
                    write_json(given.json, {"before": before, "rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
