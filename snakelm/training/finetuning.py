"""Instruction tuning: the run that goes through packed conversations and is judged by the loss on
held-out answers.

The steps are pretraining's (run.py) with other batches and rates: warm-up, then linearly down to
nothing. Only the assistant's tokens count, each the same: a step's summed loss is divided by the
labelled tokens of the whole step.

The chat tokens were never seen in pretraining. Their rows of the embedding are as good as any
start, far from each other and of the right length; the head's row for the end of an answer starts
as that of the end of a text, which is what it means (measured in docs/EXPERIMENTS.md).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..config import Config, Sft, Train
from ..data.packs import open_packs
from ..errors import UserError
from ..log import Log
from ..model import Decoder, generate
from ..model.pretrained import load_base
from ..tokenizer import Tokenizer
from ..tokenizer.special import END
from ..workflow.signals import StopRequest
from . import lora
from .distributed import World
from .fingerprint import tuning_fingerprint
from .loop import Run
from .metrics import TUNING
from .packed_batches import PackStream, answer_loss, spread_packs
from .plan import Plan, make_plan

__all__ = ["Paths", "Tuning", "tune"]

QUESTIONS = 3  # held-out conversations that are answered at each evaluation


@dataclass(frozen=True)
class Paths:
    """What a run reads and where it writes."""

    train_packs: Path
    val_packs: Path
    tokenizer: Path
    base: Path  # a model's file, or a folder that snakelm.model.base reads
    run_root: Path  # run folders, by fingerprint
    output: Path
    logs: Path


def tune(config: Config, paths: Paths, log: Log, threads: int | None = None) -> dict[str, Any]:
    """Tunes ``paths.base``, or goes on tuning it: `Run.start`."""
    return Tuning.start(config, paths, log, threads)


class Tuning(Run):
    """A run over packed conversations, from a trained model."""

    kind = TUNING
    evaluates_start = True
    chat = True

    def __init__(
        self, config: Config, paths: Paths, log: Log, world: World, stop: StopRequest
    ) -> None:
        super().__init__(config, paths, log, world, stop)
        self.base, self.record = load_base(paths.base, self.tokenizer)
        sha256, sft = self.tokenizer.sha256, config.sft
        self.train_packs = open_packs(paths.train_packs, sha256, verify=world.writes)
        self.val_packs = open_packs(paths.val_packs, sha256, verify=world.writes)
        self.shape = self.base.shape
        for packs in (self.train_packs, self.val_packs):
            _check_context(packs.path, packs.context, paths.base, self.shape.context)
        self.batches = PackStream(self.train_packs, sft.batch_rows, sft.epochs, config.seed)
        self.training = _as_training(
            sft, config.train, self.batches.steps, sft.batch_rows * self.shape.context
        )
        self.fingerprint = tuning_fingerprint(
            config, self.training, paths.base, paths.train_packs, paths.val_packs
        )
        self.before: float | None = None

    def make_plan(self) -> Plan:
        """What the run will take, and a line on what it learns from."""
        training, packs = self.training, self.train_packs
        conversations, held_out = (len(p.document_offsets) - 1 for p in (packs, self.val_packs))
        self.log.say(
            f"{conversations:,} conversations in {self.batches.count:,} packs, {self.batches.answers.sum():,} of "
            f"{self.batches.lengths.sum():,} tokens to be learned; {held_out:,} conversations held out"
        )
        tokens, rows = (
            self.batches.tokens(training.steps),
            min(training.micro_batch, self.config.sft.batch_rows),
        )
        vocab, world = self.tokenizer.vocab_size, self.world.size
        return make_plan(
            self.shape, vocab, tokens, self.config.sft.epochs, rows, self.place, self.peak, world
        )

    def new_model(self, state: dict[str, Any] | None) -> Decoder:
        """The base model with rows for chat tokens and LoRA's factors, or with the weights of
        ``state``.
        """
        model, sft = self.base.train(), self.config.sft
        if not self.record.get("chat"):
            start_chat_rows(model, self.tokenizer)
        if sft.lora_rank:
            generator = torch.Generator().manual_seed(self.config.seed)
            lora.adapt(model, sft.lora_rank, sft.lora_alpha, generator)
        if state:
            model.load_state_dict(state["model"])
            self.before = state["before"]
        else:
            self.world.share(model.parameters())
        return model

    def finished_model(self) -> Decoder:
        """A plain model, LoRA's updates in its weights."""
        lora.fold(self.model)
        return self.model

    def state(self) -> dict[str, Any]:
        """The run's state and the loss before the first step."""
        return {**super().state(), "before": self.before}

    def held_out(self, done: bool) -> dict[str, Any] | None:
        """Loss on held-out answers, nats a token; before the first step and after the last one on
        all of them.
        """
        whole = done or self.step == 0
        chosen = spread_packs(self.val_packs, None if whole else self.config.train.eval_tokens)
        self.model.eval()
        own = answer_loss(
            self.model,
            self.val_packs,
            chosen,
            self.world.rank,
            self.world.size,
            lambda: self.stop.requested,
        )
        self.model.train()
        found = self.world.sum_losses(own, 2)
        if found is None:
            return None
        loss = float(found[0] / found[1])
        if self.step == 0:
            self.before = loss
            self.log.say(f"before the first step: held-out answers {loss:.3f} nats a token")
        self.log.file_only(
            f"step {self.step}: held-out answers {loss:.4f} nats a token, of {found[1]:,.0f} tokens"
        )
        return {"val_loss": loss}

    def sample(self) -> None:
        """Answers to the first question of some held-out conversations, the likeliest token each
        time.
        """
        length, end = self.training.sample_tokens, self.tokenizer.special_tokens[END]
        count = len(self.val_packs.document_offsets) - 1
        for i in (
            sorted({place * (count - 1) // max(1, QUESTIONS - 1) for place in range(QUESTIONS)})
            if length
            else ()
        ):
            prompt, expected = self._question(i, end)
            answer = generate(self.model, prompt, length, temperature=0, stop=end)
            said, asked, wanted = (self.tokenizer.decode(ids) for ids in (answer, prompt, expected))
            self.metrics.sample(self.step, asked, said, expected=wanted)

    def _question(self, i: int, end: int) -> tuple[list[int], list[int]]:
        """Ids of held-out conversation ``i`` up to its first answer, and of that answer."""
        first, last = self.val_packs.document_offsets[i : i + 2].tolist()
        ids, mask = self.val_packs.tokens[first:last].tolist(), self.val_packs.mask[first:last]
        begin = int(mask.argmax())
        return ids[:begin], ids[begin : ids.index(end, begin)]

    def _finish(self) -> dict[str, Any]:
        result = super()._finish()
        return {**result, "val_loss_before": self.before} if result else {}


@torch.no_grad()
def start_chat_rows(model: Decoder, tokenizer: Tokenizer) -> None:
    """The head's row of `<|end|>` from that of `<|endoftext|>`: both end what is being said."""
    model.head_weight[tokenizer.special_tokens[END]] = model.head_weight[tokenizer.eot]


def _as_training(sft: Sft, train: Train, steps: int, batch_tokens: int) -> Train:
    """The keys of ``sft`` where pretraining's machinery looks for them; place, precision and the
    like stay.
    """
    names = ("micro_batch", "embedding_lr", "head_lr", "scalar_lr", "weight_decay", "clip")
    names += ("eval_every", "save_every", "keep", "log_every")
    return replace(
        train,
        steps=steps,
        batch_tokens=batch_tokens,
        start="random",  # nothing to do with it
        warmup=round(sft.warmup * steps),
        decay=1.0,
        lr=sft.lora_lr if sft.lora_rank else sft.lr,
        **{name: getattr(sft, name) for name in names},
    )


def _check_context(packs: Path, packed: int, base: Path, context: int) -> None:
    if packed > context:
        raise UserError(
            f"{packs}: packs of {packed} tokens, {base} looks back over {context}; set sft_data.context to {context}"
        )
