"""The planner: from a text, a budget of hours and this machine, which size to train, for how many
steps, and what that would come to.

Every size gets as many steps as the budget has room for, its evaluations counted; the law of
recorded runs (size_law.py) says what each would come to, and the lowest is chosen.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Candidate, Config
from ..config.dial import LOOKS, looks_every, multiplied
from ..device import Device, choose_threads, set_up_device
from ..errors import UserError
from ..files import human_bytes
from ..log import Log
from ..model import model_size
from .plan_machine import StepTime, machine_memory, time_steps
from .plan_record import PlannedSize, PlanRecord
from .plan_text import PlanText, read_text
from .size_law import SizeLaw, effective_bytes, recorded_runs

__all__ = ["chosen_lines", "make_size_plan", "table"]

FEWEST = 0.25  # of the steps that a size has by itself: with less, rates and warm-up don't fit
MOST_EPOCHS = 16.0  # more add next to nothing (Muennighoff et al. 2023)
HEAD = (
    f"{'size':>4}{'parameters':>12}{'vocabulary':>12}{'steps':>9}{'epochs':>8}{'memory':>9}"
    f"{'hours':>8}{'bits per byte':>15}  95%"
)


def make_size_plan(config: Config, documents: Path, log: Log, threads: int | None) -> PlanRecord:
    """The plan of a run on ``documents``, by config.plan; UserError where there is no text or too
    small a budget.
    """
    plan, candidates = config.plan, config.plan.candidates
    if plan.hours is None:
        raise UserError(
            "plan.hours: missing; set how long training may take here, such as plan: {hours: 0.5}"
        )
    train = candidates[0].train  # what isn't of a size is the same in all
    count = choose_threads(threads, None, train.processes, log.warn)
    device = set_up_device(train.device, train.precision, count)
    law = SizeLaw(recorded_runs())

    largest = max(candidate.vocab_size for candidate in candidates)
    fraction, pattern = config.prepare.val_fraction, config.tokenizer.pattern
    batch = max(candidate.train.batch_tokens for candidate in candidates)
    weights = {source.name or "": source.weight for source in config.sources}
    text = read_text(documents, pattern, largest, batch, fraction, config.seed, count, weights)

    sizes = _Sizes(text, plan.hours, fraction, law, device).of(candidates)
    offered = [i for i, size in enumerate(sizes) if size.bpb is not None]
    if not offered:
        memory = machine_memory(device, train.processes)
        raise UserError(_nothing_offered(sizes, memory, plan.hours))
    return PlanRecord(
        hours=plan.hours,
        machine=device.description,
        nodes=train.nodes,
        processes=train.processes,
        documents=text.documents,
        text_bytes=text.text_bytes,
        difficulty=text.difficulty,
        recorded_text=law.record.law,
        recorded_runs=law.count,
        sizes=sizes,
        chosen=min(offered, key=lambda i: _predicted(sizes[i])),
    )


def chosen_lines(plan: PlanRecord) -> list[str]:
    """The lines of a configuration that make the chosen run."""
    return [f"size: {plan.choice.size}", f"train: {{steps: {plan.choice.steps}}}"]


def table(plan: PlanRecord) -> list[str]:
    """The plan as lines for a terminal."""
    lines = [HEAD]
    for i, size in enumerate(plan.sizes):
        row = f"{size.size:>4}{size.parameters:>12,}{size.vocab_size:>12,}{size.steps:>9,}"
        row += f"{size.epochs:>8.2f}{human_bytes(size.memory_bytes):>9}"
        row += f"{size.training_seconds / 3600:>8.3f}"
        if size.bpb is None:
            lines.append(f"{row}{'–':>15}  {size.note}")
            continue
        interval = f"{size.bpb.low:.3f} to {size.bpb.high:.3f}"
        words = [interval, *(["chosen"] if i == plan.chosen else [])]
        words += [f"beyond the recorded {' and '.join(size.beyond)}"] if size.beyond else []
        words += [] if size.measured else ["time from operations"]
        lines.append(f"{row}{size.bpb.value:>15.3f}  {', '.join(words)}")
    return lines + ([plan.shared] if plan.shared else [])


def _predicted(size: PlannedSize) -> float:
    return size.bpb.value if size.bpb else math.inf


@dataclass(frozen=True)
class _Sizes:
    """What the sizes of a plan have in common."""

    text: PlanText
    hours: float
    val_fraction: float
    law: SizeLaw
    device: Device

    def of(self, candidates: Sequence[Candidate]) -> list[PlannedSize]:
        """Each of ``candidates``, in ascending order, with its steps."""
        sizes: list[PlannedSize] = []
        time: StepTime | None = None
        with tempfile.TemporaryDirectory() as folder:
            for candidate in candidates:
                words = min(candidate.vocab_size, self.text.tokenizer.vocab_size)
                per_token = self.text.bytes_per_token(words, self.device.threads)

                epoch = (1 - self.val_fraction) * self.text.epoch_bytes / per_token
                if epoch < candidate.train.batch_tokens:
                    raise UserError(
                        f"plan.sizes: {candidate.size} takes {candidate.train.batch_tokens:,} "
                        f"tokens a step, and there are about {epoch:,.0f}; bring more text, or "
                        "leave out sizes from there on"
                    )

                file = Path(folder, f"{candidate.size}.bin")
                tokens = self.text.token_file(file, words, self.device.threads)
                time = time_steps(candidate, tokens, self.device, time)
                sizes.append(self._planned(candidate, words, per_token, epoch, time))
        return sizes

    def _planned(
        self, candidate: Candidate, words: int, per_token: float, epoch: float, time: StepTime
    ) -> PlannedSize:
        """``candidate`` with a vocabulary of ``words``, a token standing for ``per_token`` bytes,
        ``epoch`` of them in train.bin.
        """
        train, model = candidate.train, candidate.model
        # A source with a weight above 1 is read again within an epoch.
        unique = epoch * self.text.different_bytes / self.text.epoch_bytes
        held_out = self.val_fraction * self.text.text_bytes / per_token
        look = time.forward * min(train.eval_tokens or held_out, held_out)
        besides, each = time.start + time.forward * held_out, time.step
        if train.eval_every == looks_every(train.steps):  # it goes with the steps, as in the run
            besides += (LOOKS - 1) * look
        else:
            each += look / train.eval_every

        room = int((3600 * self.hours - besides) / each)
        longest = int(MOST_EPOCHS * unique / train.batch_tokens)
        steps, fewest = min(room, longest), math.ceil(FEWEST * train.steps)
        there = machine_memory(self.device, train.processes)
        note = "" if time.memory <= there else f"more memory than the {human_bytes(there)}"
        if steps < fewest:
            note = f"at least {fewest:,} steps: {(besides + fewest * each) / 3600:.3g} hours"

        shown = fewest if note else steps
        tokens = shown * train.batch_tokens
        reach = multiplied(model, words), effective_bytes(tokens * per_token, unique * per_token)
        return PlannedSize(
            size=candidate.size,
            layers=model.layers,
            width=model.width,
            vocab_size=words,
            parameters=model_size(model, words).total,
            steps=shown,
            tokens=tokens,
            epochs=tokens / epoch,
            memory_bytes=time.memory,
            bpb=None if note else self.law.predict(*reach, self.text.difficulty),
            beyond=self.law.beyond(*reach),
            step_seconds=time.step,
            measured=time.measured,
            training_seconds=besides + shown * each,
            note=note,
        )


def _nothing_offered(sizes: Sequence[PlannedSize], memory: float, hours: float) -> str:
    """Why no size can be had, and what would be the least that is enough."""
    fitting = [size for size in sizes if size.memory_bytes <= memory]
    if not fitting:
        return (
            f"plan.sizes: the smallest takes {human_bytes(sizes[0].memory_bytes)} of memory, and "
            f"there are {human_bytes(memory)}; add smaller ones, or lower train.micro_batch"
        )
    first = min(fitting, key=lambda size: size.training_seconds)
    least = first.training_seconds / 3600
    return (
        f"plan.hours: {hours:g} is too little for any of plan.sizes: {first.steps:,} steps of size "
        f"{first.size}, the fewest that make sense, take about {least:.2g} hours here; set "
        f"plan.hours to {1.1 * least:.2g} or more"
    )
