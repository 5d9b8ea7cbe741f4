"""The optimizer's passes on every backend, against the same in float64: odd sizes, what is written
and what isn't, bits that depend neither on threads nor on repetition.
"""

import copy
import math

import pytest
import torch

from pytorch_ext import adamw_step, dispatch, library, muon_step, orthogonalize, total_norm
from pytorch_ext.dispatch import LEVELS, VECTORS

BACKENDS = ["reference", *(f"cpu:{level}" for level in VECTORS)]
SHAPES = [(1, 1), (1, 17), (17, 1), (31, 33), (127, 129), (300, 128)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    level = request.param.partition(":")[2]
    if level and not library.LOADED:
        pytest.skip(library.REMEDY)
    if level and LEVELS.index(level) not in library.LEVELS_HERE:
        pytest.skip(f"this CPU or build lacks {level}")
    return request.param


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def same_on_threads(run):
    """The results of `run` on one thread, which must be those on two and three."""
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 3):
            torch.set_num_threads(count)
            results.append(run())
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)
    return results[0]


# ---- total_norm -------------------------------------------------------------------------------


def test_the_norm_is_that_of_all_numbers_together(backend):
    tensors = [draw(n, seed=n) for n in (1, 17, 128, 1023, 70_001)] + [draw(33, 65), draw(0)]
    (norm,) = same_on_threads(lambda: [total_norm(tensors, backend=backend)])
    exact = torch.cat([x.double().flatten() for x in tensors]).norm()
    assert norm.dtype == torch.float32
    assert norm.shape == ()
    assert norm.item() == pytest.approx(exact.item(), rel=2e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_compiled_the_norm_neither_overflows_nor_vanishes(scale):
    if not library.LOADED:
        pytest.skip(library.REMEDY)
    tensors = [draw(1000, scale=scale)]
    assert total_norm(tensors).item() == pytest.approx(tensors[0].double().norm().item(), rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_norm_of_what_is_not_finite_is_not_finite(backend, bad):
    tensors = [draw(100), draw(40, 50)]
    tensors[1][3, 4] = bad
    assert not math.isfinite(total_norm(tensors, backend=backend))


# ---- muon_step --------------------------------------------------------------------------------


def muon_inputs(shape: tuple[int, int]) -> dict:
    weights = [draw(*shape, seed=i) for i in range(3)]
    return {
        "parameters": weights,
        "gradients": [draw(*shape, seed=10 + i, scale=3.0) for i in range(3)],
        "momentum_GMN": draw(3, *shape, seed=20),
        "copies": [
            torch.zeros(shape, dtype=torch.bfloat16),
            None,
            torch.zeros_like(weights[0]).bfloat16(),
        ],
    }


MUON = {"rate": 0.3, "momentum": 0.95, "decay": 0.01, "gradient_scale": 0.4}


def exact_muon(inputs: dict) -> tuple[list[torch.Tensor], torch.Tensor]:
    """New weights and momentum in float64; the orthogonalisation has tests of its own."""
    g = torch.stack(inputs["gradients"]).double() * MUON["gradient_scale"]
    m = inputs["momentum_GMN"].double()
    m = m + (1 - MUON["momentum"]) * (g - m)
    x = orthogonalize((g + MUON["momentum"] * (m - g)).float().bfloat16()).double()
    keep = 1 - MUON["decay"]
    moved = [
        keep * p.double() - MUON["rate"] * u for p, u in zip(inputs["parameters"], x, strict=True)
    ]
    return moved, m


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_muon_writes_weights_momentum_and_copies(backend, shape):
    inputs = muon_inputs(shape)
    weights, momentum = exact_muon(inputs)

    def run():
        made = copy.deepcopy(inputs)
        muon_step(**made, **MUON, backend=backend)
        return [*made["parameters"], made["momentum_GMN"], made["copies"][0], made["copies"][2]]

    *found, m, first, last = same_on_threads(run) if backend != "reference" else run()
    torch.testing.assert_close(m.double(), momentum, rtol=1e-6, atol=1e-6)
    # x in bfloat16 may fall on either side of a rounding; what it is made of is exact to 1e-6.
    torch.testing.assert_close(torch.stack(found).double(), torch.stack(weights), rtol=0, atol=0.02)
    error = (torch.stack(found).double() - torch.stack(weights)).norm() / len(found) ** 0.5
    assert error < 0.02 * MUON["rate"] * min(shape) ** 0.5
    assert torch.equal(first, found[0].bfloat16())
    assert torch.equal(last, found[2].bfloat16())


def test_muon_takes_gradients_of_any_strides(backend):
    inputs, turned = muon_inputs((24, 40)), muon_inputs((24, 40))
    turned["gradients"] = [g.T.contiguous().T for g in turned["gradients"]]
    muon_step(**inputs, **MUON, backend=backend)
    muon_step(**turned, **MUON, backend=backend)
    for a, b in zip(inputs["parameters"], turned["parameters"], strict=True):
        assert torch.equal(a, b)


def test_muon_without_decay_and_copies_only_moves(backend):
    inputs = muon_inputs((16, 24)) | {"copies": None}
    before = [p.clone() for p in inputs["parameters"]]
    muon_step(**inputs, rate=0.0, momentum=0.9, backend=backend)
    for a, b in zip(inputs["parameters"], before, strict=True):
        assert torch.equal(a, b)


def test_muon_takes_the_orthogonalisation_that_is_the_default(monkeypatch):
    monkeypatch.setitem(dispatch.TABLE, "orthogonalize", (dispatch.REFERENCE,))
    one, other = muon_inputs((24, 40)), muon_inputs((24, 40))
    muon_step(**one, **MUON)
    muon_step(**other, **MUON, backend="reference")
    for a, b in zip(one["parameters"], other["parameters"], strict=True):
        assert torch.equal(a, b)


# ---- adamw_step -------------------------------------------------------------------------------

SIZES = [(1,), (17,), (1023,), (129, 65), (300, 128)]
ADAMW = {"rate": 0.02, "betas": (0.9, 0.95), "eps": 1e-10}


def adamw_inputs() -> dict:
    weights = [draw(*size, seed=i) for i, size in enumerate(SIZES)]
    copies = [torch.zeros_like(w).bfloat16() if i % 2 else None for i, w in enumerate(weights)]
    zeros = [torch.zeros_like(w) for w in weights]
    return {
        "parameters": weights,
        "averages": zeros,
        "squares": copy.deepcopy(zeros),
        "copies": copies,
    }


def gradients_of(step: int, inputs: dict) -> list[torch.Tensor]:
    """Of many sizes, zeros among them, as of the rows of tokens that a batch hasn't."""
    made = [
        draw(*p.shape, seed=100 * step + i, scale=10.0 ** (i - 3))
        for i, p in enumerate(inputs["parameters"])
    ]
    made[-1][::2] = 0
    return made


def test_adamw_is_torchs_of_clipped_gradients(backend):
    """Several steps against torch.optim.AdamW in float64; its float32 sets the tolerance."""

    def run():
        inputs = adamw_inputs()
        for step in range(1, 5):
            gradients = gradients_of(step, inputs)
            adamw_step(
                **inputs,
                gradients=gradients,
                step=step,
                **ADAMW,
                gradient_scale=0.3,
                backend=backend,
            )
        written = [c for c in inputs["copies"] if c is not None]
        return [*inputs["parameters"], *inputs["averages"], *inputs["squares"], *written]

    found = same_on_threads(run)
    exact, plain = (torchs(dtype) for dtype in (torch.float64, torch.float32))
    for a, b, c in zip(found[: len(exact)], exact, plain, strict=True):
        bound = 3 * (c.double() - b).abs().max() + 1e-7 * b.abs().max()
        assert (a.double() - b).abs().max() <= bound
    with_copies = [p for i, p in enumerate(found[: len(SIZES)]) if i % 2]
    for p, written in zip(with_copies, found[3 * len(SIZES) :], strict=True):
        assert torch.equal(p.bfloat16(), written)


def test_adamw_takes_a_rate_for_each_parameter(backend):
    """The same bits as a call for each."""
    inputs, alone = adamw_inputs(), adamw_inputs()
    gradients, settings = gradients_of(1, inputs), {"step": 1, **ADAMW, "backend": backend}
    rates = [0.01 * 2**i for i in range(len(SIZES))]
    adamw_step(**inputs, gradients=gradients, **settings | {"rate": rates})
    for i, rate in enumerate(rates):
        one = {name: tensors[i : i + 1] for name, tensors in alone.items()}
        adamw_step(**one, gradients=gradients[i : i + 1], **settings | {"rate": rate})
    for a, b in zip(inputs["parameters"], alone["parameters"], strict=True):
        assert torch.equal(a, b)


def torchs(dtype: torch.dtype) -> list[torch.Tensor]:
    inputs = adamw_inputs()
    parameters = [torch.nn.Parameter(p.to(dtype)) for p in inputs["parameters"]]
    optimizer = torch.optim.AdamW(
        parameters, ADAMW["rate"], ADAMW["betas"], eps=ADAMW["eps"], weight_decay=0.0, foreach=False
    )
    for step in range(1, 5):
        for p, g in zip(parameters, gradients_of(step, inputs), strict=True):
            p.grad = g.to(dtype) * 0.3
        optimizer.step()
    state = [optimizer.state[p] for p in parameters]
    return [
        *(p.detach() for p in parameters),
        *(s["exp_avg"] for s in state),
        *(s["exp_avg_sq"] for s in state),
    ]


# ---- refusals, torch's own checks -------------------------------------------------------------


def test_what_does_not_fit_is_an_error():
    inputs = muon_inputs((4, 6))
    for wrong, message in (
        ({"parameters": []}, "parameters is empty"),
        ({"parameters": [draw(4, 6), draw(6, 4), draw(4, 6)]}, "matrices of one shape expected"),
        ({"gradients": inputs["gradients"][:2]}, "2 gradients; 3 expected"),
        ({"momentum_GMN": draw(3, 6, 4)}, r"momentum_GMN\[0\] is torch.float32 \[6, 4\]"),
        ({"copies": [draw(4, 6)] * 3}, r"copies\[0\] is torch.float32 .*; torch.bfloat16"),
        ({"parameters": [draw(6, 4).T] * 3}, "contiguous ones expected"),
    ):
        with pytest.raises(ValueError, match=message):
            muon_step(**inputs | wrong, rate=0.1, momentum=0.9)
    with pytest.raises(TypeError, match="a number expected"):
        muon_step(**inputs, rate="0.1", momentum=0.9)

    inputs = adamw_inputs() | {"gradients": gradients_of(1, adamw_inputs())}
    with pytest.raises(ValueError, match="step is 0; at least 1 expected"):
        adamw_step(**inputs, step=0, **ADAMW)
    with pytest.raises(ValueError, match="1 squares; 5 expected"):
        adamw_step(**inputs | {"squares": inputs["squares"][:1]}, step=1, **ADAMW)
    with pytest.raises(ValueError, match="2 rates; 5 expected"):
        adamw_step(**inputs, step=1, **ADAMW | {"rate": [0.1, 0.2]})
    with pytest.raises(TypeError, match="rate is a str"):
        adamw_step(**inputs, step=1, **ADAMW | {"rate": [0.1, 0.2, "0.3", 0.4, 0.5]})
    with pytest.raises(ValueError, match="tensors is empty"):
        total_norm([])
    with pytest.raises(ValueError, match=r"tensors\[1\] is torch.float64"):
        total_norm([draw(3), draw(3).double()])
    with pytest.raises(TypeError, match=r"tensors\[0\] is a float"):
        total_norm([3.0])


@pytest.mark.skipif(not library.LOADED, reason=library.REMEDY)
def test_the_operators_are_torchs_own():
    ops = torch.ops.pytorch_ext
    weights, gradients = [draw(5, 7), draw(5, 7)], [draw(5, 7), draw(5, 7)]
    none, buffer = torch.empty(0, dtype=torch.bfloat16), draw(2, 5, 7)
    copies = [none, torch.zeros(5, 7, dtype=torch.bfloat16)]
    check = torch.library.opcheck
    check(ops.total_norm.default, (gradients, -1))
    settings = ([3.4, -4.8, 2.0], 0.1, 0.9, 0.0, 1.0, -1, -1)
    check(ops.muon_step.default, (weights, copies, gradients, buffer, *settings))
    moments = [draw(5, 7) for _ in range(4)]
    numbers = (1, [0.1, 0.2], 0.9, 0.95, 1e-8, 1.0, -1)
    lists = (weights, copies, gradients, moments[:2], [m.square() for m in moments[2:]])
    check(ops.adamw_step.default, (*lists, *numbers))

    for call in (
        lambda: ops.total_norm([draw(3).double()], -1),
        lambda: ops.total_norm([draw(4, 3).T], -1),
        lambda: ops.muon_step(weights, copies, gradients[:1], buffer, *settings),
        lambda: ops.muon_step(weights, copies, [draw(3), draw(3)], buffer, *settings),
        lambda: ops.muon_step(weights[:1], copies[:1], gradients[:1], buffer, *settings),
        lambda: ops.muon_step(weights, copies, gradients, buffer.bfloat16(), *settings),
        lambda: ops.muon_step(weights, [none, draw(3).bfloat16()], gradients, buffer, *settings),
        lambda: ops.muon_step(weights, copies, gradients, buffer, [1.0, 2.0], *settings[1:]),
        lambda: ops.adamw_step(*lists[:4], moments[:1], *numbers),
        lambda: ops.adamw_step(*lists, 0, *numbers[1:]),
        lambda: ops.adamw_step(*lists, 1, [0.1], *numbers[2:]),
        lambda: ops.total_norm(gradients, len(LEVELS)),
    ):
        with pytest.raises(RuntimeError, match=r"expected|count from 1|lacks"):
            call()


def test_the_norm_compiles():
    compiled = torch.compile(total_norm, fullgraph=True, backend="aot_eager")
    tensors = [draw(30), draw(4, 5)]
    assert torch.equal(compiled(tensors), total_norm(tensors))
