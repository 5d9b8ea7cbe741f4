"""torch.ops.pytorch_ext called with arguments that nobody should give: each is refused by name,
with what was found and what was expected; none is read out of bounds.
"""

import math

import pytest
import torch

from pytorch_ext import attention, library
from pytorch_ext.dispatch import BEST, LEVELS

pytestmark = pytest.mark.skipif(
    not library.LOADED, reason=f"{library.LIBRARY.name} is not built: {library.REMEDY}"
)

assert callable(attention)  # its module registers what runs on meta tensors

B, T, H, K, D = 2, 5, 4, 2, 8
TENSORS = {"q": (B, T, H, D), "k": (B, T, K, D), "v": (B, T, K, D), "grad_out": (B, T, H, D)}
PASSES = {
    "forward": ("q", "k", "v", "row_start", "scale", "level"),
    "backward": ("grad_out", "q", "k", "v", "out", "log_sum", "row_start", "scale", "level"),
}
CASES = [(name, argument) for name, arguments in PASSES.items() for argument in arguments]
CASES_OF_TENSORS = [(name, a) for name, a in CASES if a not in ("scale", "level")]


def arguments() -> dict:
    """A sound call of either pass."""
    generator = torch.Generator().manual_seed(0)
    made = {name: torch.randn(shape, generator=generator) for name, shape in TENSORS.items()}
    made["row_start"] = torch.tensor([[0, 0, 1, 1, 4], [0, 1, 2, 2, 2]], dtype=torch.int32)
    made["scale"], made["level"] = 0.3, BEST
    made["out"], made["log_sum"] = call("forward", made)
    return made


def call(name: str, given: dict):
    operator = getattr(torch.ops.pytorch_ext, f"attention_{name}")
    return operator(*(given[argument] for argument in PASSES[name]))


DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.float32, torch.int8, torch.int64]
DTYPES += [torch.int32, torch.bool, torch.complex64]


@pytest.mark.parametrize(("name", "argument"), CASES_OF_TENSORS)
def test_another_dtype_is_refused(name, argument):
    for dtype in DTYPES:
        given = arguments()
        if given[argument].dtype == dtype:
            continue
        given[argument] = given[argument].to(dtype)
        with pytest.raises(RuntimeError, match=rf"{'k|q' if argument == 'q' else argument} is .*"):
            call(name, given)


@pytest.mark.parametrize(("name", "argument"), CASES_OF_TENSORS)
def test_another_shape_is_refused(name, argument):
    right = arguments()[argument]
    wrong = [right[None], right[0], right.flatten(), right.sum()]
    for dim in range(right.dim()):
        wrong += [right.narrow(dim, 0, right.shape[dim] - 1), right.narrow(dim, 0, 0)]
        if (argument, dim) != ("q", 2):  # more heads of q are queries in larger groups
            wrong.append(torch.cat((right, right), dim))
    for x in wrong:
        given = arguments() | {argument: x}
        with pytest.raises(RuntimeError, match=r"expected") as caught:
            call(name, given)
        assert "pytorch_ext.attention: " in str(caught.value)


@pytest.mark.parametrize(("name", "argument"), CASES_OF_TENSORS)
def test_another_device_or_no_memory_is_refused(name, argument):
    given = arguments()
    given[argument] = given[argument].to("meta")
    with pytest.raises((RuntimeError, ValueError), match="on meta"):
        call(name, given)

    given = arguments()
    given[argument].untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=f"{argument} has no memory"):
        call(name, given)


@pytest.mark.parametrize(("name", "argument"), CASES_OF_TENSORS)
def test_sparse_and_missing_tensors_are_refused(name, argument):
    given = arguments()
    given[argument] = given[argument].to_sparse()
    with pytest.raises((RuntimeError, NotImplementedError)):
        call(name, given)
    if argument != "row_start":
        with pytest.raises(RuntimeError, match="missing"):
            call(name, given | {argument: None})


@pytest.mark.parametrize(("name", "argument"), CASES_OF_TENSORS)
def test_any_strides_are_read_rightly(name, argument):
    given = arguments()
    expected = call(name, given)
    for spread in (
        lambda x: torch.stack((x, -x), dim=-1)[..., 0],  # gaps
        lambda x: x.mT.contiguous().mT,  # the last dimension is not dense
        lambda x: torch.cat((x.new_zeros(3), x.flatten()))[3:].view(x.shape),  # an offset
    ):
        for a, b in zip(
            call(name, given | {argument: spread(given[argument])}), expected, strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"H": 0}, "H and D of at least 1 expected"),
        ({"H": 0, "K": 0}, "H and D of at least 1 expected"),
        ({"K": 0}, "q has 4 heads, k 0; a whole multiple expected"),
        ({"K": 3}, "q has 4 heads, k 3; a whole multiple expected"),
        ({"K": 8}, "q has 4 heads, k 8; a whole multiple expected"),
        ({"D": 0}, "H and D of at least 1 expected"),
    ],
    ids=str,
)
def test_sizes_that_make_no_heads_are_refused(name, sizes, message):
    b, t, h, k, d = ({"B": B, "T": T, "H": H, "K": K, "D": D} | sizes).values()
    given = {
        "q": torch.zeros(b, t, h, d),
        "k": torch.zeros(b, t, k, d),
        "v": torch.zeros(b, t, k, d),
        "grad_out": torch.zeros(b, t, h, d),
        "out": torch.zeros(b, t, h, d),
        "log_sum": torch.zeros(b, h, 2, t),
    }
    with pytest.raises(RuntimeError, match=message):
        call(name, given | {"row_start": None, "scale": 1.0, "level": BEST})


@pytest.mark.parametrize(("batch", "length"), [(0, T), (B, 0), (0, 0)])
def test_nothing_gives_nothing(batch, length):
    given = {name: torch.zeros(batch, length, *shape[2:]) for name, shape in TENSORS.items()}
    given |= {"row_start": torch.zeros(batch, length, dtype=torch.int32), "scale": 1.0, "level": -1}
    given["out"], given["log_sum"] = call("forward", given)
    assert [x.shape for x in call("backward", given)] == [given[n].shape for n in ("q", "k", "v")]


@pytest.mark.parametrize("name", PASSES)
def test_a_scale_or_level_out_of_range_is_refused(name):
    for scale in (0.0, -1.0, math.nan, math.inf, 1e-40, 1e39):
        with pytest.raises(
            RuntimeError, match=r"scale is .*; a number from 1e-37 to 1e38 expected"
        ):
            call(name, arguments() | {"scale": scale})
    for level in (-2, len(LEVELS), 2**31, 2**32, 2**32 - 1, -(2**63)):
        with pytest.raises(
            RuntimeError, match=f"level is {level}; -1 to {len(LEVELS) - 1} expected"
        ):
            call(name, arguments() | {"level": level})
        assert torch.ops.pytorch_ext.isa_level(level) == -2


@pytest.mark.parametrize("name", PASSES)
def test_row_starts_are_clamped_and_must_not_decrease(name):
    given = arguments()
    given["row_start"][1, 3] = 0
    with pytest.raises(RuntimeError, match="row_start decreases along T"):
        call(name, given)
    low, high = torch.iinfo(torch.int32).min, torch.iinfo(torch.int32).max
    for extreme, clamped in ((low, 0), (high, T - 1)):
        given = arguments()
        given["row_start"] = torch.full((B, T), extreme, dtype=torch.int32)
        same = torch.full((B, T), clamped, dtype=torch.int32).minimum(torch.arange(T)).int()
        for a, b in zip(call(name, given), call(name, given | {"row_start": same}), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("what", ["nothing", "noise", "infinite"])
def test_a_log_sum_of_other_values_is_only_wrong(what):
    """Values are the caller's: whatever they are, the gradients have their shapes."""
    given = arguments()
    given["log_sum"] = {
        "nothing": torch.zeros(B, H, 2, T),
        "noise": torch.randn(B, H, 2, T) * 1e30,
        "infinite": torch.full((B, H, 2, T), -math.inf),
    }[what]
    assert [x.shape for x in call("backward", given)] == [given[n].shape for n in ("q", "k", "v")]


def test_float16_has_no_cpu_kernel():
    given = {k: v.half() if torch.is_tensor(v) else v for k, v in arguments().items()}
    given["row_start"] = None
    given["log_sum"] = given["log_sum"].float()
    for name in PASSES:
        with pytest.raises(RuntimeError, match="the CPU kernels take float32 and bfloat16"):
            call(name, given)
