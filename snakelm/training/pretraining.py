"""Pretraining: the recipe of a run through token files, measured in bits per byte of held-out text
(loop.py has its steps).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..config import Config
from ..data.bins import open_bin
from ..data.split import texts_digest
from ..data.tokens.overlap import read_shares
from ..device import Device, choose_dtype
from ..log import Log
from ..model import Decoder, generate
from ..model.base import from_base
from ..model.pretrained import base_knows_chat_tokens
from ..tokenizer import Tokenizer
from ..user_paths import home
from . import loop
from .batches import Batches
from .distributed import World
from .fingerprint import fingerprint_of, pretraining_parts
from .initial_weights import set_initial_weights
from .metrics import PRETRAINING, Sample
from .optimizer import highest_factor
from .plan import Plan, check_sizes, make_plan
from .progress import RunResult
from .regime import REPEATED_FROM, settle, times_read
from .sampled_softmax import choose_sampler
from .validation import Evaluation, evaluate, spread_documents

__all__ = ["Pretraining", "PretrainingFiles", "train"]


FULL_RATE = 0.8  # of the peak: a run that doesn't come so far was meant otherwise


@dataclass(frozen=True)
class PretrainingFiles:
    """What pretraining reads and where it writes."""

    train_bin: Path
    val_bin: Path
    val_overlap: Path
    tokenizer: Path
    run_root: Path  # run folders, by fingerprint
    output: Path
    logs: Path


def train(
    config: Config, files: PretrainingFiles, log: Log, threads: int | None = None
) -> RunResult:
    """Pretrains the model or resumes; writes ``files.output`` and gives the run's figures
    (`loop.start`).
    """

    def recipe(verify: bool) -> Pretraining:
        return Pretraining(config, files, log, verify)

    return loop.start(config.train.device, log, threads, recipe)


class Pretraining:
    """A run over train.bin, from random weights, from counted bigrams or from a base.

    ``verify``: whether to check the token files against their checksums.
    """

    names = PRETRAINING
    chat = False

    def __init__(self, config: Config, files: PretrainingFiles, log: Log, verify: bool) -> None:
        assert config.train.seed is not None, "the checks fill it in"
        self.files, self.log, self.seed = files, log, config.train.seed
        self.shape = config.model
        self.tokenizer = Tokenizer.load(files.tokenizer)
        self.base = home(config.train.base) if config.train.base else None
        self.chat_tokens = self.base is not None and base_knows_chat_tokens(self.base)
        self.evaluates_first = self.base is not None

        sha256 = self.tokenizer.sha256
        self.train_bin = open_bin(files.train_bin, sha256, verify=verify)
        self.val_bin = open_bin(files.val_bin, sha256, verify=verify)
        # Less than clean_share of the text is in the training text too.
        self.clean = read_shares(files.val_overlap, self.val_bin) < config.evaluate.clean_share

        self.batches = Batches(
            self.train_bin, config.model.context, config.train.batch_tokens, self.seed
        )
        epochs = self.batches.epoch(config.train.steps)
        held_out = int(self.val_bin.meta.tokens)
        self.training, self.regime = settle(config.train, epochs, held_out)
        self.batches.dropout = self.training.dropout or 0.0
        along = self.training.eval_tokens
        self.first_compares = self.training.keep_best or along is None or held_out <= along

        settled = config.model_copy(update={"train": self.training})
        parts = pretraining_parts(settled, self.train_bin, self.val_bin)
        self.parts: Mapping[str, Any] | None = parts
        self.fingerprint = fingerprint_of(parts)
        self.held_out = {
            "held_out_text": texts_digest(self.val_bin.document_ids),
            "held_out_clean": texts_digest(self.val_bin.document_ids[self.clean]),
        }

    def plan(self, device: Device, peak: float, processes: int) -> Plan:
        """What the run will take; UserError for sizes that can't work. Settles whether the softmax
        is sampled, which depends on the device.
        """
        training, context, vocab_size = (
            self.training,
            self.shape.context,
            self.tokenizer.vocab_size,
        )
        check_sizes(self.train_bin, vocab_size, training.batch_tokens, context, processes)
        if (highest := highest_factor(training)) < FULL_RATE:
            self.log.warn(
                f"train.warmup: {training.warmup:,} of {training.steps:,} steps, so the learning "
                f"rates come to {highest:.0%} of their peaks at most; lower it, or train.decay"
            )
        if self.regime.name == "repeated" or self.regime.settings:
            self.log.say(self.regime.said(training.regime))
        times = times_read(self.train_bin, self.regime.epochs)
        if training.regime == "auto" and self.regime.name == "fresh" and times > REPEATED_FROM:
            self.log.warn(
                f"train.regime: auto goes by the {self.regime.epochs:.1f} epochs, and the sources' "
                f"weights repeat text within one, so each is read {times:.1f} times; set repeated "
                "for dropout and an average, or fresh"
            )

        first = self.batches.rows(0)
        sampler = choose_sampler(training, self.train_bin, first.targets, device, self.log)
        self.batches.sampler = sampler
        sample = sampler.draw(0, first.targets) if sampler else None

        rows = min(training.micro_batch, training.batch_tokens // context // processes)
        tokens, epochs = self.batches.tokens(training.steps), self.batches.epoch(training.steps)
        heldout = int(self.val_bin.meta.tokens)
        return make_plan(
            self.shape,
            vocab_size,
            tokens,
            epochs,
            rows,
            device,
            peak,
            processes,
            heldout,
            None if sample is None else len(sample.tokens),
            training,
        )

    def build_model(self, weights: Mapping[str, torch.Tensor] | None) -> Decoder:
        """The model with ``weights``, or with a base's, random ones or those counted from
        bigrams.
        """
        if weights is None and self.base:
            return from_base(self.base, self.shape, self.tokenizer)
        model = Decoder(self.shape, self.tokenizer.vocab_size)
        if weights is not None:
            model.load_state_dict(weights)
            return model

        generator = torch.Generator().manual_seed(self.seed)
        dtype = choose_dtype(self.training.precision, torch.device("cpu"))
        counted = set_initial_weights(model, self.training, self.train_bin, generator, dtype)
        if self.training.bigram_steps and not counted:
            self.log.warn("train.bigram_steps: of no effect, the run doesn't start from bigrams")
        return model

    def validate(
        self, model: Decoder, step: int, last: bool, world: World, stopped: loop.Stopped
    ) -> dict[str, float | None] | None:
        """Loss and bits per byte on about train.eval_tokens held-out tokens; on all at last, and
        before the first step.
        """
        # Where the best is kept, the base competes by the text that its rivals have.
        whole = last or (step == 0 and not self.training.keep_best)
        most_tokens = None if whole else self.training.eval_tokens
        evaluation = self._evaluate(model, most_tokens, world, stopped)
        if evaluation is None:
            return None

        bpb, clean = evaluation.bpb(), evaluation.bpb(clean_only=True)
        share = "all" if whole else f"{evaluation.text_tokens.sum():,}"
        if step == 0 and whole:
            self.log.say(f"before the first step: val bpb {_figure(bpb)}, clean {_figure(clean)}")
        self.log.file_only(
            f"step {step}: val bpb {_figure(bpb)}, clean {_figure(clean)} on {share} held-out "
            "tokens"
        )
        return {"val_loss": evaluation.loss, "val_bpb": bpb, "val_bpb_clean": clean}

    def _evaluate(
        self, model: Decoder, most_tokens: int | None, world: World, stopped: loop.Stopped
    ) -> Evaluation | None:
        """The evaluation over all processes; None when one of them was stopped."""
        documents = spread_documents(self.val_bin, most_tokens)
        own = evaluate(
            model,
            self.val_bin,
            documents,
            self.tokenizer.token_lengths,
            self.clean,
            world.rank,
            world.size,
            stopped,
        )
        nll = world.sum_losses(None if own is None else own.nll, len(documents))
        return None if own is None or nll is None else replace(own, nll=nll)

    def samples(self, model: Decoder, step: int) -> Iterator[Sample]:
        """How the model continues train.sample_prompt."""
        length, prompt = self.training.sample_tokens, self.training.sample_prompt
        if not length:
            return
        ids = [self.tokenizer.eot, *self.tokenizer.encode_ordinary(prompt)]
        written = generate(model, ids, length, stop=self.tokenizer.eot, seed=self.seed)
        yield Sample(step, prompt, self.tokenizer.decode(written))


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
