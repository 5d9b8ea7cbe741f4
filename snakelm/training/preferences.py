"""Learning from preferences: the recipe of a run through packed pairs or labelled answers, from a
tuned model.

The steps are pretraining's (loop.py) with other batches, another loss (preference_losses.py) and
smaller rates: warm-up, then linearly down to zero. What the model is held to is itself before the
first step; its scores are made then (preference_scores.py), so that no second model is in memory
while it trains.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import Config
from ..data.preference_packs import PreferencePacks, open_preferences
from ..data.split import texts_digest
from ..device import Device
from ..errors import UserError
from ..log import Log
from ..model import Decoder
from ..model.pretrained import load_base
from ..tokenizer import Tokenizer
from . import loop, lora
from .distributed import World
from .finetuning import as_training, check_context, say_low_rank
from .fingerprint import preference_fingerprint
from .held_out_answers import held_out_answers
from .metrics import PREFERENCES, Sample
from .plan import PROCESS, Plan, make_plan
from .preference_batches import OtherPrompts, PreferenceBatches, Scores
from .preference_losses import loss_of
from .preference_scores import measure, reference_scores, spread_units
from .progress import RunResult

__all__ = ["PreferenceFiles", "PreferenceTuning", "learn_preferences"]

HEAP_IN_HOLES = 2.5  # times the heap of a run whose steps have blocks of the same sizes


@dataclass(frozen=True)
class PreferenceFiles:
    """What learning from preferences reads and where it writes."""

    train_packs: Path
    val_packs: Path
    tokenizer: Path
    base: Path  # the tuned model's file, or a folder that snakelm.model.pretrained reads
    run_root: Path  # run folders, by fingerprint
    output: Path
    logs: Path


def learn_preferences(
    config: Config, files: PreferenceFiles, log: Log, threads: int | None = None
) -> RunResult:
    """Trains ``files.base`` or resumes; writes ``files.output`` and gives the run's figures
    (`loop.start`).
    """

    def recipe(verify: bool) -> PreferenceTuning:
        return PreferenceTuning(config, files, log, verify)

    return loop.start(config.train.device, log, threads, recipe)


class PreferenceTuning:
    """A run over packed preferences.

    ``verify``: whether to check packs against their checksums, and to write the base's scores.
    """

    names = PREFERENCES
    evaluates_first = True
    chat = chat_tokens = True
    parts: Mapping[str, Any] | None = None  # its rate falls from the beginning
    regime = None

    def __init__(self, config: Config, files: PreferenceFiles, log: Log, verify: bool) -> None:
        own = config.preferences
        assert own.seed is not None, "the checks fill it in"
        self.files, self.log, self.seed, self.preferences = files, log, own.seed, own
        self.eval_tokens, self._writes = config.train.eval_tokens, verify
        self.tokenizer = Tokenizer.load(files.tokenizer)
        self.base, record = load_base(files.base, self.tokenizer)
        self.shape = self.base.shape
        if not record.get("chat"):
            raise UserError(
                f"{files.base}: was never tuned on conversations, and preferences compare its "
                "answers; start from sft_model.pt, which `snakemake --cores 8 "
                "results/sft_model.pt` makes"
            )

        sha256 = self.tokenizer.sha256
        self.train = open_preferences(files.train_packs, sha256, verify=verify)
        self.val = open_preferences(files.val_packs, sha256, verify=verify)
        along = self.eval_tokens
        self.first_compares = along is None or self.val.packs.meta.tokens <= along
        for data in (self.train, self.val):
            check_context(data.packs, files.base, self.shape.context, "preferences")
            _check_kind(data, own.loss)

        self.loss = loss_of(own)
        batches = PreferenceBatches(self.train, self.loss, own.batch_rows, own.epochs, self.seed)
        self.batches = batches
        self.val_others = None if self.val.paired else OtherPrompts(self.val)
        batch_tokens = own.batch_rows * self.shape.context
        training = as_training(own, config.train, batches.steps, batch_tokens)
        # The number of rows differs from step to step, and each would be compiled.
        self.training = training.model_copy(update={"compile": "off"})
        packs = [files.train_packs, files.val_packs]
        self.fingerprint = preference_fingerprint(config, self.training, files.base, packs)
        self.held_out = {"held_out_text": texts_digest(self.val.packs.bin.document_ids)}
        self._device: Device | None = None
        self._reference: dict[str, Scores] = {}

    def plan(self, device: Device, peak: float, processes: int) -> Plan:
        """What the run will take, and a line on what it learns from."""
        self._device = device
        what = "pairs" if self.train.paired else "answers"
        self.log.say(
            f"{self.preferences.loss}, beta {self.preferences.beta:g}: {self.train.count:,} {what} "
            f"in {len(self.train.packs):,} packs, {self.val.count:,} held out"
        )

        say_low_rank(self.preferences, "preferences", self.log)
        most = int(np.diff(self.train.unit_packs).max())  # rows of a unit
        plan = make_plan(
            self.shape,
            self.tokenizer.vocab_size,
            self.batches.tokens(self.batches.steps),
            self.preferences.epochs,
            most * min(self.training.micro_batch, self.preferences.batch_rows),
            device,
            peak,
            processes,
            len(self.val.packs.tokens),
            train=self.training,
        )
        if device.kind != "cpu":
            return plan
        # Freed blocks of other sizes than the next ones lie between those in use.
        return replace(plan, memory=PROCESS + HEAP_IN_HOLES * (plan.memory - PROCESS))

    def build_model(self, weights: Mapping[str, torch.Tensor] | None) -> Decoder:
        """The tuned model with LoRA's factors, or with ``weights``. Before a step can be taken, the
        tuned model has scored what it is held to.
        """
        model = self.base
        if self._device is not None and not self._reference:
            self._score(model, self._device)
        model.train()
        if self.preferences.lora_rank:
            generator = torch.Generator().manual_seed(self.seed)
            lora.adapt(model, self.preferences.lora_rank, self.preferences.lora_alpha, generator)
        if weights is not None:
            model.load_state_dict(weights)
        return model

    def _score(self, model: Decoder, device: Device) -> None:
        """The base's scores of both files; ``model`` is back on the CPU afterwards."""
        before = model.compute_dtype
        attention = self.training.attention
        model.attention_backend = None if attention == "auto" else attention
        model.to(device.device).compute_dtype = device.dtype
        files = {"train": (self.train, self.batches.others), "val": (self.val, self.val_others)}
        folder = self.files.run_root / self.fingerprint
        self._reference = reference_scores(folder, model, files, self.log, self._writes)
        self.batches.reference = self._reference["train"]
        model.to("cpu").compute_dtype = before

    def validate(
        self, model: Decoder, step: int, last: bool, world: World, stopped: loop.Stopped
    ) -> dict[str, float | None] | None:
        """Loss and rewards of held-out pairs, before the first step and after the last one of all
        of them; rewards of as many tokens of those that are learned from.
        """
        figures: dict[str, float | None] = {}
        most = None if last or step == 0 else self.eval_tokens
        for prefix, data, others, name, units in (
            ("val_", self.val, self.val_others, "val", spread_units(self.val, most)),
            ("", self.train, self.batches.others, "train", self._some_of_training()),
        ):
            scores = self._reference[name]
            found = measure(model, data, others, scores, self.loss, units, world, stopped)
            if found is None:
                return None
            figures |= {f"{prefix}{figure}": value for figure, value in found.items()}

        self.log.file_only(
            f"step {step}: held-out loss {figures['val_loss']:.4f}, reward accuracy "
            f"{figures['val_rewards_accuracies']:.1%}"
        )
        # A step's own loss has the column; of training pairs nobody asks which side is likelier.
        return {name: figures[name] for name in figures if name not in ("loss", "logps_accuracies")}

    def _some_of_training(self) -> np.ndarray:
        """Units of training that hold as much as an evaluation along the way, or all held out."""
        held_out = self.val.packs.meta.tokens
        return spread_units(self.train, min(held_out, self.eval_tokens or held_out))

    def samples(self, model: Decoder, step: int) -> Iterator[Sample]:
        """Answers to some held-out prompts, beside the wanted ones."""
        wanted = np.flatnonzero(self.val.wanted).tolist()
        length = self.training.sample_tokens if wanted else 0
        yield from held_out_answers(model, self.tokenizer, self.val.packs, wanted, step, length)


def _check_kind(data: PreferencePacks, loss: str) -> None:
    """UserError for pairs where the loss takes labelled answers, and the reverse."""
    if data.paired != (loss == "dpo"):
        found = "pairs" if data.paired else "labelled answers"
        raise UserError(
            f"{data.path}: {found}, which preferences.loss: {loss} doesn't take; run "
            "prepare_preferences again with the same settings"
        )
