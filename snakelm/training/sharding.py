"""Fully sharded data parallelism, train.sharding: fsdp. Each process keeps a share of the weights,
of their gradients and of the optimizer's state, and gathers the weights of a block while it
computes with them (torch.distributed.fsdp.fully_shard; Zhao et al. 2023, arXiv:2304.11277).

What torch shards, by rows, are the matrices of each block, and around the blocks embedding and
head. The norms' gains, a few thousand numbers, stay whole. Muon orthogonalises whole matrices, so
each of these has an owner, with its momentum and its weights in one piece, to which the rows of its
gradient come (row_exchange.py). AdamW works on each number alone, and so on rows.

Products in bfloat16 gather bfloat16, and gradients are rounded to it before they are summed, in
float32; unsharded, on a CPU, they aren't. In float32 a step of one micro-batch has the same
gradients to the bit.

Between steps all of it looks as if it weren't sharded: a checkpoint has the one form that every
number of processes, sharded or not, goes on from, and what evaluates gets a whole model.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import nn

from ..config import Train
from ..errors import UserError
from ..model import Decoder
from .distributed import World
from .optimizer import Optimizer
from .row_exchange import RowExchange, row_span

if TYPE_CHECKING:  # they take a second or more to import, at every start, and few runs need them
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

__all__ = ["ShardedOptimizer", "Shards", "is_sharded"]

TABLES = "embedding", "head"


def is_sharded(train: Train, world: World, say: Callable[[str], None]) -> bool:
    """Whether train.sharding is of any effect; says so where it is asked for and isn't. UserError
    with weights that are kept besides the last ones, of which no process has all.
    """
    if train.sharding == "none":
        return False
    if world.size == 1:
        say("train.sharding: fsdp has no effect in a run of one process, which holds everything")
    elif train.average or train.keep_best:
        raise UserError(
            "train.sharding: fsdp keeps neither averaged nor best weights; set sharding: none, or "
            "average: 0 and keep_best: false"
        )
    return world.size > 1


class Shards:
    """This process's share of ``model``, which is sharded in place.

    ``pieces``: what this process updates, by the model's names: the matrices that it owns, its rows
    of the tables, all gains.
    """

    def __init__(self, model: Decoder, world: World) -> None:
        self.model, self.world = model, world
        self.shapes = {name: p.shape for name, p in model.named_parameters()}
        matrices = {
            name: shape
            for name, shape in self.shapes.items()
            if len(shape) == 2 and name not in TABLES
        }
        self.exchange = RowExchange(matrices, world.rank, world.size)
        owned = {
            name: nn.Parameter(p.detach().clone())
            for name, p in model.named_parameters()
            if name in self.exchange.owned
        }
        self.device = model.norm.device

        _shard(model, world.size)
        self.pieces: dict[str, nn.Parameter] = {}
        for name, p in model.named_parameters():
            if name in TABLES:
                self.pieces[name] = nn.Parameter(_rows(p))
            elif name not in matrices or name in owned:
                self.pieces[name] = owned.get(name, p)

    @property
    def gains(self) -> list[nn.Parameter]:
        """What every process has whole."""
        return [piece for piece in self.pieces.values() if piece.ndim == 1]

    def take_gradients(self) -> None:
        """Moves the gradients of this process's rows to where they are used: .grad of the
        pieces.
        """
        rows = {}
        for name, p in self.model.named_parameters():
            if p.ndim == 2:
                assert p.grad is not None, "every process computes with every weight"
                rows[name], p.grad = _rows(p.grad), None

        for name in TABLES:
            if name in rows:
                self.pieces[name].grad = rows.pop(name)
        for name, gradient in self.exchange.to_owners(rows).items():
            self.pieces[name].grad = gradient

    @torch.no_grad()
    def give_weights(self) -> None:
        """Moves what the owners have made of their matrices to the rows that every process has."""
        new = self.exchange.to_rows({name: self.pieces[name] for name in self.exchange.owned})
        for name, p in self.model.named_parameters():
            if name in new:
                _rows(p).copy_(new[name])

    def whole(self) -> Decoder:
        """A model of its own with all weights, on every process; all call this."""
        with torch.device("meta"):
            made = Decoder(self.model.shape, self.model.vocab_size)
        weights = {name: self.gather(name, self.pieces.get(name)) for name in self.shapes}
        made.load_state_dict(weights, assign=True)
        made.compute_dtype = self.model.compute_dtype
        made.attention_backend = self.model.attention_backend
        return made.to(self.device)

    def weights(self) -> dict[str, torch.Tensor]:
        """The state_dict that the whole model has, on the CPU of the process that writes, nothing
        elsewhere; all call this.
        """
        return self.collect({name: self.pieces.get(name) for name in self.shapes})

    def collect(self, pieces: Mapping[str, torch.Tensor | None]) -> dict[str, torch.Tensor]:
        """The same for other tensors of the shapes that the parameters of these names have."""
        found = {}
        for name, piece in pieces.items():
            whole = self.gather(name, piece)
            if self.world.writes:
                found[name] = whole.cpu()
        return found

    @torch.no_grad()
    def gather(self, name: str, piece: torch.Tensor | None) -> torch.Tensor:
        """A tensor of the shape of the parameter ``name``, whole on every process, from each one's
        piece of it: of a matrix the owner's, which is all of it.
        """
        shape, size = self.shapes[name], self.world.size
        if name in self.exchange.owner:
            whole = torch.empty(shape, device=self.device) if piece is None else piece.detach()
            dist.broadcast(whole, self.exchange.owner[name])
            return whole

        assert piece is not None, "every process has its part of tables and gains"
        if name not in TABLES:
            return piece.detach()
        padded = piece.new_zeros(-(-shape[0] // size), shape[1])
        padded[: len(piece)] = piece
        rows = [torch.empty_like(padded) for _ in range(size)]
        dist.all_gather(rows, padded)
        return torch.cat(rows)[: shape[0]]

    def cut(self, name: str, whole: torch.Tensor) -> torch.Tensor:
        """This process's piece of a tensor of the shape of a table or gain."""
        if name not in TABLES:
            return whole
        return whole[row_span(len(whole), self.world.rank, self.world.size)].clone()

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The pieces, as an optimizer asks a model for its parameters."""
        return iter(self.pieces.items())


def _shard(model: Decoder, size: int) -> None:
    """Makes each block, and what is around the blocks, something that torch shards by rows; sums
    gradients, doesn't average them.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(model.norm.device.type, (size,))
    gains = {p for p in model.parameters() if p.ndim == 1}
    rounded = model.compute_dtype if model.compute_dtype != torch.float32 else None
    blocks = MixedPrecisionPolicy(rounded, torch.float32, cast_forward_inputs=False)
    # Rare tokens' gradients would be lost in bfloat16: the tables are gathered in float32.
    around = MixedPrecisionPolicy(cast_forward_inputs=False)

    modules = [(layer, blocks) for layer in model.layers] + [(model, around)]
    for module, policy in modules:
        fully_shard(module, mesh=mesh, mp_policy=policy, ignored_params=gains)
        sharded = cast("FSDPModule", module)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)

    # Gathering writes weights past torch's count of writes, which working copies go by.
    def count_gathering(module: nn.Module, _: Any) -> None:
        torch.autograd.graph.increment_version(
            [p for name, p in module.named_parameters(recurse=False) if name in TABLES]
        )

    model.register_forward_pre_hook(count_gathering)


def _rows(sharded: torch.Tensor) -> torch.Tensor:
    """This process's rows of a sharded parameter or gradient; the same memory."""
    return cast("DTensor", sharded.detach()).to_local()


class ShardedOptimizer(Optimizer):
    """Both optimizers over the pieces; its state, whole, is that of the unsharded one."""

    def __init__(self, shards: Shards, train: Train) -> None:
        super().__init__(shards, train)
        self.shards = shards
        # In the order of the groups, which is that of the state.
        tables = [name for name in TABLES if name in shards.pieces]
        self._others = [*tables, *(n for n, p in shards.pieces.items() if p.ndim == 1)]

    def step(
        self,
        lr_factor: float,
        momentum: float,
        gradient_scale: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        """One update of all pieces, and of every process's rows; .grad is then dropped."""
        super().step(lr_factor, momentum, gradient_scale, weight_decay)
        self.shards.give_weights()

    def state_dict(self) -> dict[str, Any]:
        """Of the whole, on the process that writes; all call this."""
        matrices = self.shards.exchange.shapes
        momenta = self.shards.collect({name: self._momentum(name) for name in matrices})
        muon: dict[str, list[torch.Tensor]] = {}
        for name, momentum in momenta.items():
            muon.setdefault("{}x{}".format(*matrices[name]), []).append(momentum)

        adamw = self.adamw.state_dict()
        state = {i: self._whole(self._others[i], one) for i, one in adamw["state"].items()}
        stacked = {shape: torch.stack(group) for shape, group in muon.items()}
        return {"muon": stacked, "adamw": {**adamw, "state": state}}

    def _whole(self, name: str, moments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """AdamW's state of a parameter; its count of steps needs no gathering."""
        return {
            key: one if key == "step" else self.shards.collect({name: one}).get(name, one)
            for key, one in moments.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The reverse, from the whole."""
        count: dict[str, int] = {}
        for name, shape in self.shards.exchange.shapes.items():
            key = "{}x{}".format(*shape)
            place = count[key] = count.get(key, -1) + 1
            own = self._momentum(name)
            if own is not None:
                own.copy_(state["muon"][key][place])

        cut = {
            i: {
                key: value if key == "step" else self.shards.cut(self._others[i], value)
                for key, value in moments.items()
            }
            for i, moments in state["adamw"]["state"].items()
        }
        self.adamw.load_state_dict({**state["adamw"], "state": cut})

    def _momentum(self, name: str) -> torch.Tensor | None:
        """Muon's momentum of a matrix; None where this process doesn't own it."""
        piece = self.shards.pieces.get(name)
        if piece is None:
            return None
        rows, columns = piece.shape
        group = self.muon.groups[rows, columns]
        place = next(i for i, p in enumerate(group) if p is piece)
        return self.muon.momentum_GMN[rows, columns][place]
