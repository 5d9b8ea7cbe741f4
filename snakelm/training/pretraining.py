"""Pretraining: the run that goes through token files and is judged by bits per byte (run.py has its
steps).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import Config
from ..data.bins import TokenBin, open_bin
from ..errors import UserError
from ..log import Log
from ..model import Decoder, generate
from ..workflow.signals import StopRequest
from . import bigram_init
from .batches import Batches
from .distributed import World
from .fingerprint import fingerprint
from .loop import Run
from .metrics import PRETRAINING
from .plan import Plan, check_sizes, make_plan
from .validation import Evaluation, evaluate, spread_documents

__all__ = ["Paths", "Pretraining", "train"]


@dataclass(frozen=True)
class Paths:
    """What a run reads and where it writes."""

    train_bin: Path
    val_bin: Path
    val_overlap: Path
    tokenizer: Path
    run_root: Path  # run folders, by fingerprint
    output: Path
    logs: Path


def train(config: Config, paths: Paths, log: Log, threads: int | None = None) -> dict[str, Any]:
    """Trains, or goes on training: `Run.start`."""
    return Pretraining.start(config, paths, log, threads)


class Pretraining(Run):
    """A run over train.bin, from random or counted weights."""

    kind = PRETRAINING

    def __init__(
        self, config: Config, paths: Paths, log: Log, world: World, stop: StopRequest
    ) -> None:
        super().__init__(config, paths, log, world, stop)
        sha256 = self.tokenizer.sha256
        self.train_bin = open_bin(paths.train_bin, sha256, verify=world.writes)
        self.val_bin = open_bin(paths.val_bin, sha256, verify=world.writes)
        self.clean = _clean_documents(paths.val_overlap, self.val_bin, config.evaluate.clean_share)
        self.batches = Batches(
            self.train_bin, config.model.context, config.train.batch_tokens, config.seed
        )
        self.training, self.shape = config.train, config.model
        self.fingerprint = fingerprint(config, self.train_bin, self.val_bin)

    def make_plan(self) -> Plan:
        """What the run will take; UserError for sizes that can't work."""
        model, training, world = self.shape, self.training, self.world.size
        check_sizes(
            self.train_bin, self.tokenizer.vocab_size, training.batch_tokens, model.context, world
        )
        rows = min(training.micro_batch, training.batch_tokens // model.context // world)
        tokens, epochs = self.batches.tokens(training.steps), self.batches.epoch(training.steps)
        return make_plan(
            model, self.tokenizer.vocab_size, tokens, epochs, rows, self.place, self.peak, world
        )

    def new_model(self, state: dict[str, Any] | None) -> Decoder:
        """The weights of ``state``, or random ones, or those counted from pairs of tokens."""
        model = Decoder(self.shape, self.tokenizer.vocab_size)
        if state:
            model.load_state_dict(state["model"])
            return model
        generator = torch.Generator().manual_seed(self.config.seed)
        model.initialize(generator)
        start, fits = self.training.start, bigram_init.applies(model.shape, model.vocab_size)
        if start == "bigrams" and not fits:
            raise UserError(
                "train.start: bigrams needs an untied head, embedding_norm and at most 8192 tokens; say auto"
            )
        if fits and start != "random":
            bigram_init.start_as_bigrams(model, self.train_bin, generator)
        self.world.share(model.parameters())
        return model

    def held_out(self, done: bool) -> dict[str, Any] | None:
        """Bits per byte and loss; the last time, on all documents."""
        found = self._evaluation(None if done else self.training.eval_tokens)
        if found is None:
            return None
        bpb, clean = found.bpb(), found.bpb(clean_only=True)
        share = "all" if done else f"{found.text_tokens.sum():,}"
        words = f"val bpb {_shown(bpb)}, clean {_shown(clean)} on {share} held-out tokens"
        self.log.file_only(f"step {self.step}: {words}")
        return {"val_loss": found.loss, "val_bpb": bpb, "val_bpb_clean": clean}

    def _evaluation(self, most_tokens: int | None) -> Evaluation | None:
        """The evaluation over all processes; None when one was asked to stop."""
        documents = spread_documents(self.val_bin, most_tokens)
        lengths, stop = self.tokenizer.token_lengths, lambda: self.stop.requested
        self.model.eval()
        own = evaluate(
            self.model,
            self.val_bin,
            documents,
            lengths,
            self.clean,
            self.world.rank,
            self.world.size,
            stop,
        )
        self.model.train()
        nll = self.world.sum_losses(None if own is None else own.nll, len(documents))
        return None if own is None or nll is None else replace(own, nll=nll)

    def sample(self) -> None:
        """How the model goes on from train.sample_prompt."""
        training = self.training
        if training.sample_tokens:
            prompt = [self.tokenizer.eot, *self.tokenizer.encode_ordinary(training.sample_prompt)]
            ids = generate(
                self.model,
                prompt,
                training.sample_tokens,
                stop=self.tokenizer.eot,
                seed=self.config.seed,
            )
            self.metrics.sample(self.step, training.sample_prompt, self.tokenizer.decode(ids))


def _clean_documents(path: Path, val: TokenBin, clean_share: float) -> np.ndarray:
    """Bool [documents]: less than ``clean_share`` of the text also stands in the training text."""
    try:
        shares = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise UserError(f"{path}: not an array file; run prepare_data again") from None
    if shares.shape != (val.meta.documents,):
        raise UserError(
            f"{path}: {shares.shape} shares for {val.meta.documents} held-out documents; run prepare_data again"
        )
    return shares < clean_share


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
