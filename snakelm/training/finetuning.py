"""Instruction tuning: the recipe of a run through packed conversations, measured by the loss on
held-out answers.

The steps are pretraining's (loop.py) with other batches and rates: warm-up, then linearly down to
zero. Of conversations only the assistant's tokens count, of the pretraining text that sft.mix puts
beside them all do, each the same: a step's summed loss is divided by the labelled tokens of all its
rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config import Config, Preferences, Sft, Train
from ..data.bins import open_bin
from ..data.packs import Packs, open_packs
from ..data.split import texts_digest
from ..device import Device
from ..errors import UserError
from ..log import Log
from ..model import Decoder
from ..model.file import knows_chat_tokens
from ..model.pretrained import load_base
from ..tokenizer import Tokenizer
from . import loop, lora
from .chat_rows import start_chat_rows
from .distributed import World
from .fingerprint import finetuning_fingerprint
from .held_out_answers import held_out_answers
from .metrics import FINETUNING, Sample
from .mixed_batches import MixedBatches, check_text
from .packed_batches import PackedBatches, answer_loss, spread_packs
from .plan import Plan, make_plan
from .progress import RunResult

__all__ = [
    "Finetuning",
    "FinetuningFiles",
    "as_training",
    "check_context",
    "finetune",
    "say_low_rank",
]


@dataclass(frozen=True)
class FinetuningFiles:
    """What fine-tuning reads and where it writes."""

    train_packs: Path
    val_packs: Path
    tokenizer: Path
    train_bin: Path  # pretraining text, read where sft.mix asks for it
    base: Path  # a model's file, or a folder that snakelm.model.pretrained reads
    run_root: Path  # run folders, by fingerprint
    output: Path
    logs: Path


def finetune(
    config: Config, files: FinetuningFiles, log: Log, threads: int | None = None
) -> RunResult:
    """Tunes ``files.base`` or resumes; writes ``files.output`` and gives the run's figures
    (`loop.start`).
    """

    def recipe(verify: bool) -> Finetuning:
        return Finetuning(config, files, log, verify)

    return loop.start(config.train.device, log, threads, recipe)


class Finetuning:
    """A run over packed conversations and some pretraining text, from a trained model.

    ``verify``: whether to check packs and text against their checksums.
    """

    names = FINETUNING
    evaluates_first = True
    chat = chat_tokens = True
    parts: Mapping[str, Any] | None = None  # its rate falls from the beginning
    regime = None

    def __init__(self, config: Config, files: FinetuningFiles, log: Log, verify: bool) -> None:
        assert config.sft.seed is not None, "the checks fill it in"
        assert config.sft.mix is not None, "likewise"
        self.files, self.log, self.seed, self.sft = files, log, config.sft.seed, config.sft
        self.eval_tokens = config.train.eval_tokens
        self.tokenizer = Tokenizer.load(files.tokenizer)
        self.base, self.record = load_base(files.base, self.tokenizer)
        self.shape = self.base.shape

        sha256, sft = self.tokenizer.sha256, config.sft
        self.train_packs = open_packs(files.train_packs, sha256, verify=verify)
        self.val_packs = open_packs(files.val_packs, sha256, verify=verify)
        along = self.eval_tokens
        self.first_compares = along is None or self.val_packs.meta.tokens <= along
        for packs in (self.train_packs, self.val_packs):
            check_context(packs, files.base, self.shape.context, "sft_data")

        self.packed = PackedBatches(self.train_packs, sft.batch_rows, sft.epochs, self.seed)
        self.batches: PackedBatches | MixedBatches = self.packed
        if config.sft.mix:
            self.batches = self._with_text(config.sft.mix, verify)
        batch_tokens = sft.batch_rows * self.shape.context
        self.training = as_training(sft, config.train, self.batches.steps, batch_tokens)
        self.fingerprint = finetuning_fingerprint(
            config,
            self.training,
            files.base,
            [files.train_packs, files.val_packs],
            files.train_bin if config.sft.mix else None,
        )
        self.held_out = {"held_out_text": texts_digest(self.val_packs.bin.document_ids)}

    def _with_text(self, share: float, verify: bool) -> MixedBatches:
        """The packs with text as ``share`` of the tokens; UserError where there is none."""
        path = self.files.train_bin
        if not path.is_file():
            raise UserError(
                f"{path}: no such file, and sft.mix: {share:g} mixes pretraining text into tuning; "
                f"make it with `snakemake --cores 8 {path}`, or set sft.mix: 0"
            )
        text = open_bin(path, self.tokenizer.sha256, verify=verify)
        check_text(text, self.shape.context)
        return MixedBatches(self.packed, text, share, self.shape.context)

    def plan(self, device: Device, peak: float, processes: int) -> Plan:
        """What the run will take, and a line on what it learns from."""
        batches, vocab_size = self.packed, self.tokenizer.vocab_size
        conversations, held_out = (
            len(packs.document_offsets) - 1 for packs in (self.train_packs, self.val_packs)
        )
        self.log.say(
            f"{conversations:,} conversations in {batches.count:,} packs, "
            f"{batches.answers.sum():,} of {batches.lengths.sum():,} tokens to be learned; "
            f"{held_out:,} conversations held out"
        )

        tokens, epochs = self.batches.tokens(batches.steps), self.sft.epochs
        if isinstance(self.batches, MixedBatches):
            text = self.batches.text_tokens
            self.log.say(
                f"{text:,} tokens of pretraining text beside them, {text / tokens:.1%} of all "
                "(sft.mix)"
            )
        elif self.sft.base:
            self.log.say(
                "no pretraining text beside them, so what the model knew may be forgotten; sft.mix "
                "mixes train.bin in"
            )
        say_low_rank(self.sft, "sft", self.log)
        rows = min(self.training.micro_batch, len(self.batches.rows(0)))
        heldout = len(self.val_packs.tokens)
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
            train=self.training,
        )

    def build_model(self, weights: Mapping[str, torch.Tensor] | None) -> Decoder:
        """The base model with rows for chat tokens and LoRA's factors, or with ``weights``."""
        model = self.base.train()
        if not knows_chat_tokens(self.record):
            start_chat_rows(model, self.tokenizer)
        if self.sft.lora_rank:
            generator = torch.Generator().manual_seed(self.seed)
            lora.adapt(model, self.sft.lora_rank, self.sft.lora_alpha, generator)
        if weights is not None:
            model.load_state_dict(weights)
        return model

    def validate(
        self, model: Decoder, step: int, last: bool, world: World, stopped: loop.Stopped
    ) -> dict[str, float | None] | None:
        """Loss on held-out answers, nats a token; before the first step and after the last one on
        all of them.
        """
        chosen = spread_packs(self.val_packs, None if last or step == 0 else self.eval_tokens)
        own = answer_loss(model, self.val_packs, chosen, world.rank, world.size, stopped)
        sums = world.sum_losses(own, 2)
        if sums is None:
            return None

        loss, tokens = float(sums[0] / sums[1]), sums[1]
        if step == 0:
            self.log.say(f"before the first step: held-out answers {loss:.3f} nats a token")
        self.log.file_only(
            f"step {step}: held-out answers {loss:.4f} nats a token, of {tokens:,.0f} tokens"
        )
        return {"val_loss": loss}

    def samples(self, model: Decoder, step: int) -> Iterator[Sample]:
        """Answers to the first question of some held-out conversations, the likeliest token each
        time.
        """
        questions = range(len(self.val_packs.document_offsets) - 1)
        length = self.training.sample_tokens
        yield from held_out_answers(model, self.tokenizer, self.val_packs, questions, step, length)


def as_training(sft: Sft | Preferences, train: Train, steps: int, batch_tokens: int) -> Train:
    """The keys of ``sft`` where the loop looks for them; device, precision and the like stay."""
    same = "micro_batch embedding_lr head_lr scalar_lr weight_decay clip"
    same += " eval_every save_every keep log_every"
    return train.model_copy(
        update={
            "steps": steps,
            "batch_tokens": batch_tokens,
            # Of no effect here, so they must not change the fingerprint.
            "start": "random",
            "bigram_steps": 0,
            "sampled_softmax": "off",
            "regime": "fresh",
            "dropout": 0.0,
            "weight_decay_schedule": [],
            "average": 0.0,
            "keep_best": False,
            # Of low-rank updates there is nothing to shard, and what is frozen isn't.
            "sharding": "none" if sft.lora_rank else train.sharding,
            "warmup": round(sft.warmup * steps),
            "decay": 1.0,
            "lr": sft.lora_lr if sft.lora_rank else sft.lr,
            **{name: getattr(sft, name) for name in same.split()},
        }
    )


def say_low_rank(keys: Sft | Preferences, section: str, log: Log) -> None:
    """What low-rank updates leave as it is, and which ``keys`` of ``section`` have no effect."""
    if line := lora.in_words(keys, section):
        log.say(line)
    for warning in lora.without_effect(keys, section):
        log.warn(warning)


def check_context(packs: Packs, base: Path, context: int, section: str) -> None:
    """UserError for packs of more than the ``context`` of the model ``base``; ``section``: of the
    configuration, where theirs is.
    """
    if packs.context > context:
        raise UserError(
            f"{packs.path}: packs of {packs.context} tokens, {base} looks back over {context}; set "
            f"{section}.context to {context}"
        )
