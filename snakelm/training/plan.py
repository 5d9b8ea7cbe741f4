"""Before anything is allocated: whether sizes fit together, and a line on what a run will take."""

import math
from dataclasses import dataclass

import torch

from ..config import Model, Train
from ..data.bins import TokenBin
from ..device import Device, pays_to_compile
from ..errors import UserError
from ..files import human_bytes
from ..model import ModelSize, model_size
from .validation import LOGIT_BYTES, loss_piece

__all__ = ["PROCESS", "Plan", "check_sizes", "make_plan"]

# Share of the measured product rate that a training step reaches as a rule (docs/EXPERIMENTS.md);
# for the estimate only.
USUAL_SHARE = {"cpu": 0.45, "cuda": 0.35, "mps": 0.2}

# Resident bytes of a trainer before it has a model: Python, torch and its libraries, the code that
# oneDNN makes in the first steps. And torch's compiler with Triton, loaded where it is used and by
# torch's sharding. Measured (docs/EXPERIMENTS.md).
PROCESS = 400_000_000
COMPILER = 135_000_000


@dataclass(frozen=True)
class Plan:
    """What a run will take."""

    size: ModelSize
    tokens: int
    epochs: float
    flops: float
    memory: float  # bytes, of one process
    seconds: float
    device: str = "cpu"  # kind
    processes: int = 1

    def summary(self) -> str:
        """The line that is shown before the first step."""
        size = self.size
        head = f", {_short(size.head)} head" if size.head else ", tied"
        parts = [
            f"PREFLIGHT {_short(size.total)} parameters ({_short(size.matrices)} in matrices, "
            f"{_short(size.embedding)} embedding{head})",
            f"{_short(self.tokens)} tokens ({self.epochs:.2f} epochs)",
            f"{self.flops:.1e} FLOP",
            self._memory_said(),
            f"about {_duration(self.seconds)} (an estimate)",
        ]
        return " · ".join(parts)

    def _memory_said(self) -> str:
        said = f"memory about {human_bytes(self.memory)}"
        if self.device != "cpu":
            said = f"GPU {said} of tensors, what the driver takes not counted"
        return f"{said} in each of {self.processes} processes" if self.processes > 1 else said


def make_plan(
    model: Model,
    vocab_size: int,
    tokens: int,
    epochs: float,
    rows: int,
    device: Device,
    peak: float,
    world: int,
    heldout: float = math.inf,
    sampled: int | None = None,
    train: Train | None = None,
) -> Plan:
    """The plan of a run over ``tokens`` tokens that takes ``rows`` rows of the context in one
    forward pass; ``peak``: FLOP/s of one process, of which there are ``world``; ``heldout``: tokens
    that an evaluation takes; ``sampled``: tokens that a step's softmax goes over, None for all;
    ``train``: what else is kept, or computed again; None for nothing of that.
    """
    size = model_size(model, vocab_size, sampled)
    flops = tokens * size.flops_per_token
    if train is not None and train.activation_checkpointing:
        # A second forward pass of the blocks, a third of their operations.
        head = 6.0 * (size.embedding if sampled is None else sampled * model.width)
        flops += tokens * (size.flops_per_token - head) / 3
    rate = peak * USUAL_SHARE[device.kind] * world
    read = tokens / max(1.0, epochs)
    shares = world if train is not None and train.sharding == "fsdp" else 1
    memory = _memory(model, size, device, rows, read, heldout, world, sampled, train, shares)
    compiled = train is not None and pays_to_compile(train.compile, device, flops)
    if device.kind == "cpu" and (compiled or shares > 1):
        memory += COMPILER
    return Plan(size, tokens, epochs, flops, memory, flops / rate, device.kind, world)


def check_sizes(
    train: TokenBin, vocab_size: int, batch_tokens: int, context: int, world: int
) -> None:
    """UserError when the tokenizer doesn't fit the token file, or the batch has no row for
    every process.
    """
    if train.meta.vocab_size != vocab_size:
        raise UserError(
            f"{train.path}: made for {train.meta.vocab_size} tokens, the tokenizer has "
            f"{vocab_size}; run prepare_data again"
        )
    if batch_tokens < context * world:
        raise UserError(
            f"train.batch_tokens: {batch_tokens} is less than model.context {context} × {world} "
            "processes; raise it"
        )


def _memory(
    model: Model,
    size: ModelSize,
    device: Device,
    rows: int,
    read: float,
    heldout: float,
    world: int,
    sampled: int | None,
    train: Train | None,
    shares: int,
) -> float:
    """Bytes that one process takes at its peak: of a CPU resident memory, as the system and
    Snakemake's benchmark count it, of a GPU the tensors on it.

    ``read``: training tokens read at least once; ``heldout``: held-out tokens; ``shares``: of the
    states, each process has one. The parts are added up although they aren't all alive at once:
    what a heap frees in one phase seldom fits the next, and the sum is what was measured
    (docs/EXPERIMENTS.md).
    """
    width = 2 if device.dtype == torch.bfloat16 else 4
    others = size.total - size.matrices

    # float32 weight, gradient and Muon's momentum; AdamW has two moments; and the working copies of
    # what is multiplied: matrices and head.
    states: float = 4 * (3 * size.matrices + 4 * others)
    copies = width * (size.matrices + (size.head or size.embedding)) if width == 2 else 0
    if shares > 1:
        states = states / shares + _gathered(model, size, width, shares)
        copies += 4 * size.total  # an evaluation has a whole model
    else:
        states += copies + (4 * size.total if world > 1 else 0)  # gradients as one flat tensor

    # Weights besides: their average where the model is, the best in the process's own memory.
    average, best = _weights_besides(size, train)
    states += average + (best if device.kind == "cpu" else 0)

    layer = _kept_of_layer(model)
    activations = rows * model.context * _kept_of_token(model, layer, width, train) * width
    head = 8 * size.embedding  # the head's gradient, in float32 and rounded
    if sampled is not None:  # of the sample's rows: the rows, widened, and their gradients
        head = 4 * size.embedding + 16 * sampled * model.width

    # An evaluation's logits, some of them in float32 with their log-softmax, and one layer at a
    # time.
    vocabulary = size.embedding // model.width
    at_once = min(heldout, max(1, LOGIT_BYTES // (4 * vocabulary * model.context)) * model.context)
    piece = min(at_once, loss_piece(vocabulary))
    evaluation = at_once * (vocabulary + layer) * width + piece * vocabulary * 8
    evaluation += copies if shares > 1 else 0
    if device.kind != "cpu":
        return states + max(activations + head, evaluation)

    # Checkpoints are written through memory.
    checkpoint = 4 * (2 * size.matrices + 3 * others) + average + best
    tokens = read * (2 if vocabulary <= 1 << 16 else 4)
    return PROCESS + states + activations + head + evaluation + checkpoint + tokens


def _kept_of_token(model: Model, layer: int, width: int, train: Train | None) -> int:
    """What a step keeps of each token, in values of ``width`` bytes, ``layer`` of them in a layer.

    Around the layers: the embedding in float32, the stream's last values and their norm. Backward
    has the gradients of one SwiGLU and its norm besides.
    """
    ends = (4 // width + 2) * model.width
    gradients = 3 * model.hidden + 2 * model.width
    kept = model.layers * layer
    if train is not None and train.activation_checkpointing:
        kept = model.layers * 2 * model.width + layer  # what goes into each, and one computed again
    return kept + ends + gradients + _mask_values(model, width, train)


def _mask_values(model: Model, width: int, train: Train | None) -> int:
    """What dropout keeps of each token, in values of ``width`` bytes: a mask for each sublayer and
    the embedding; and the hashes that one mask is made from, two at a time.
    """
    if train is None or not train.dropout:
        return 0
    return (2 * model.layers + 1 + 8 // width) * model.width


def _weights_besides(size: ModelSize, train: Train | None) -> tuple[int, int]:
    """Bytes of the average and of the best weights, float32, where ``train`` has them."""
    weights = 4 * size.total
    if train is None:
        return 0, 0
    return weights if train.average else 0, weights if train.keep_best else 0


def _gathered(model: Model, size: ModelSize, width: int, shares: int) -> float:
    """Bytes that a process holds of what is sharded, besides its share: the weights and gradients
    of two blocks (the next one comes while one computes), those of the tables, the head's copy; and
    of Muon's matrices whole weights, and gradients and weights on their way to and from the owner.
    """
    block = size.matrices / model.layers
    tables = size.embedding + size.head
    head = width * (size.head or size.embedding) if width == 2 else 0
    return 2 * 2 * width * block + 2 * 4 * tables + head + 3 * 4 * size.matrices / shares


def _kept_of_layer(model: Model) -> int:
    """Values that a layer's forward keeps of each token, when it isn't compiled."""
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim

    # Each sublayer: the stream and its norm. Attention: queries, keys and values as it reads them
    # and what it gives; queries and keys before their norm. SwiGLU: its two inputs and its result.
    kept = 4 * model.width + 2 * queries + 2 * keys + 3 * model.hidden
    return kept + (queries + keys if model.qk_norm else 0)


def _short(n: float) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= limit:
            return f"{n / limit:.1f}{unit}"
    return f"{n:.0f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
