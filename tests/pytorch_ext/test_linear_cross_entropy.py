"""pytorch_ext.linear_cross_entropy against its reference: values, gradients, ignored and wrong
targets, memory.
"""

import functools
import subprocess
import sys

import pytest
import torch

from pytorch_ext import library, linear_cross_entropy
from pytorch_ext.dispatch import LEVELS
from pytorch_ext.ops.linear_cross_entropy import chunked as module

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
COMPILED = [f"cpu:{LEVELS[i]}" for i in library.LEVELS_HERE]
BACKENDS = [*COMPILED, "chunked"]
OPTIONS = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "z-loss": {"z_loss": 0.1},
    "softcap": {"softcap": 5.0},
    "z-loss-softcap-sum": {"z_loss": 0.01, "softcap": 20.0, "reduction": "sum"},
}
needs_kernels = pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")
# (N, C, V): one row, one column, a vocabulary that is no multiple of anything, several chunks and a
# short last one
SHAPES = [(1, 1, 2), (7, 16, 33), (129, 24, 257), (300, 8, 1000)]


@pytest.fixture(params=[True, False], ids=["chunks", "one-chunk"])
def small_chunks(request, monkeypatch):
    """Chunks of 16 rows, so that small inputs take several."""
    if request.param:
        monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    return request.param


def draw(rows: int, width: int, vocabulary: int, dtype, ignored: float = 0.2, spread: float = 1.0):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, width, generator=generator).to(dtype) * spread
    weight = torch.randn(vocabulary, width, generator=generator).to(dtype)
    target = torch.randint(vocabulary, (rows,), generator=generator)
    target[torch.rand(rows, generator=generator) < ignored] = -100
    return x, weight, target


def run(x, weight, target, **options) -> list[torch.Tensor]:
    """Loss and the gradients of x and weight of 3 * loss (a backward that forgets its input
    shows).
    """
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    loss = linear_cross_entropy(x, weight, target, **options)
    return [loss.detach(), *torch.autograd.grad(3 * loss, (x, weight))]


def errors(found, exact) -> list[float]:
    return [(a.double() - b).abs().max().item() for a, b in zip(found, exact, strict=True)]


def check(shape, dtype, spread, options, backend) -> None:
    """Against the float64 reference: errors of at most twice (loss) and three times (gradients)
    plain torch's. Two roundings count beyond: of the logits themselves, which every dot product
    has of its own and which changes a probability by as much, and of the terms that a
    gradient or a logit sums, which may cancel where there are one or two columns. A logit is a
    chain of C additions, each rounded: its error grows with the root of C, and z-loss takes it into
    the gradient even where the only probability is 1.
    """
    x, weight, target = draw(*shape, dtype, spread=spread)
    exact = run(x.double(), weight.double(), target, backend="reference", **options)
    theirs = errors(run(x, weight, target, backend="reference", **options), exact)
    found = run(x, weight, target, backend=backend, **options)
    assert [a.dtype for a in found] == [torch.float32, dtype, dtype]
    logit = (x.double() @ weight.double().t()).abs().max().item()
    unit = torch.finfo(dtype).eps
    rounding = logit * torch.finfo(torch.float32).eps
    kept = max(1, int((target != -100).sum()))
    size = 3.0 if options.get("reduction") == "sum" else 3.0 / kept  # of a row's gradient
    largest = weight.double().abs().max().item(), x.double().abs().max().item()
    summed = x.double().norm(dim=1).max() * weight.double().norm(dim=1).max() / shape[1] ** 0.5
    chain = max(1.0, shape[1] ** 0.5 / 4)
    slant = 8 * options.get("z_loss", 0.0) * summed.item() * chain  # in a squared log-sum
    terms = (
        size * slant * logit,
        size * (1 + slant) * largest[0],
        size * (1 + slant) * largest[1] * kept**0.5,
    )
    for ours, plain, true, factor, term in zip(
        errors(found, exact), theirs, exact, (2, 3, 3), terms, strict=True
    ):
        slack = (8 if dtype == torch.float32 else 1) * unit + rounding / 4
        assert ours <= factor * plain + slack * true.abs().max().item() + unit / 2 * term


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("spread", [1.0, 100.0], ids=["plain", "large-logits"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", [*BACKENDS, "chunked, 16 rows"])
def test_matches_the_reference(backend, dtype, spread, options, monkeypatch):
    if backend not in BACKENDS:
        backend = "chunked"
        monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    for shape in SHAPES:
        check(shape, dtype, spread, options, backend)


@pytest.mark.long
@pytest.mark.parametrize("width", [1, 17, 64, 129, 256])
@pytest.mark.parametrize("vocabulary", [1, 2, 127, 128, 1023])
@pytest.mark.parametrize("rows", [1, 16, 129, 200])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_matches_the_reference_everywhere(backend, dtype, rows, vocabulary, width):
    """1,200 cases of every option: pytest -m long tests/pytorch_ext/test_linear_cross_entropy.py"""
    for options in OPTIONS.values():
        for spread in (0.1, 3.0):
            check((rows, width, vocabulary), dtype, spread, options, backend)


def test_gradcheck(small_chunks):
    x, weight, target = draw(21, 3, 5, torch.float64)
    x.requires_grad_(), weight.requires_grad_()
    for backend in ("chunked", "reference"):
        for options in (OPTIONS["sum"], OPTIONS["z-loss"], OPTIONS["softcap"]):
            loss = functools.partial(
                linear_cross_entropy, target=target, backend=backend, **options
            )
            assert torch.autograd.gradcheck(loss, (x, weight))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_nothing_to_learn_is_zero_not_nan(backend, reduction):
    x, weight, target = draw(10, 4, 8, torch.float32, ignored=1.1)
    for result in run(x, weight, target, backend=backend, reduction=reduction):
        assert torch.equal(result, torch.zeros_like(result))


@needs_kernels
def test_float32_gradients_are_scaled_in_place_once_the_graph_is_dropped():
    """Another copy of a gradient the size of weight would be the largest thing in memory."""
    x, weight, target = draw(40, 8, 30, torch.float32)
    x.requires_grad_(), weight.requires_grad_()
    left: list[int] = []

    def pack(saved: torch.Tensor) -> torch.Tensor:
        left.append(saved.data_ptr())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        loss = 3 * linear_cross_entropy(x, weight, target, backend="cpu")
    made = [
        torch.autograd.grad(loss, (x, weight), retain_graph=keep) for keep in (True, True, False)
    ]
    for again in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, made[0], strict=True))
    places = [[g.data_ptr() in left for g in gradients] for gradients in made]
    assert places == [[False, False], [False, False], [True, True]]


@pytest.mark.parametrize("poison", [1e4, float("inf"), float("nan")])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_rows_do_not_enter(backend, poison, small_chunks):
    if backend == "chunked" and poison != 1e4:
        pytest.skip("multiplies a zero by what is not finite")
    options = {"backend": backend, "z_loss": 0.1, "softcap": 20.0}
    x, weight, target = draw(40, 8, 30, torch.float32)
    kept = target != -100
    short = run(x[kept], weight, target[kept], **options)
    x[~kept] = poison
    long = run(x, weight, target, **options)
    assert torch.allclose(long[0], short[0], rtol=1e-6)
    assert torch.allclose(long[1][kept], short[1], atol=1e-6)
    assert torch.equal(long[1][~kept], torch.zeros_like(long[1][~kept]))
    assert torch.allclose(long[2], short[2], atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", COMPILED)
def test_a_row_that_is_not_finite_stays_its_own(backend, dtype):
    x, weight, target = draw(300, 40, 500, dtype, ignored=0)
    clean = run(x, weight, target, backend=backend)
    x[17] = float("nan")
    loss, grad_x, grad_weight = run(x, weight, target, backend=backend)
    rest = torch.arange(300) != 17
    assert loss.isnan()
    assert grad_x[17].isnan().all()
    assert grad_weight.isnan().all(), "its gradient enters every row of weight"
    assert torch.equal(grad_x[rest], clean[1][rest])


@pytest.mark.parametrize("backend", COMPILED)
def test_the_largest_bfloat16_gives_no_nan_where_the_logits_fit(backend):
    most = torch.finfo(torch.bfloat16).max
    x = torch.tensor([[most], [-most], [1.0]]).bfloat16()
    weight = torch.tensor([[0.5], [0.25], [-0.5]]).bfloat16()
    loss, grad_x, grad_weight = run(x, weight, torch.tensor([0, 2, 1]), backend=backend)
    assert torch.allclose(loss, run(x, weight, torch.tensor([0, 2, 1]), backend="reference")[0])
    assert grad_x.isfinite().all()
    assert grad_weight.isfinite().all()


def test_another_ignore_index():
    x, weight, target = draw(40, 8, 30, torch.float32)
    renamed = target.where(target != -100, 7)
    target = target.where(target != 7, -100)
    for a, b in zip(run(x, weight, renamed, ignore_index=7), run(x, weight, target), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", [None, "chunked"])
@pytest.mark.parametrize("wrong", [-1, 30, 10_000, -101])
def test_a_target_out_of_range_is_an_error(wrong, backend):
    x, weight, target = draw(40, 8, 30, torch.float32)
    target[17] = wrong
    with pytest.raises(ValueError, match=rf"target {wrong} is out of range; \[0, 30\) expected"):
        linear_cross_entropy(x, weight, target, backend=backend)


@needs_kernels
def test_the_operator_below_checks_the_range_too():
    x, weight, _ = draw(2, 8, 30, torch.float32)
    with pytest.raises(RuntimeError, match=r"target 30 is out of range; \[0, 30\) expected"):
        torch.ops.pytorch_ext.linear_cross_entropy_forward(
            x, weight, torch.tensor([30, 1]), -100, True, 0.0, 0.0, True, True, -1
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_of_another_dtype_is_cast_and_gets_its_gradient(backend):
    x, weight, target = draw(20, 8, 30, torch.float32)
    master = weight.requires_grad_()
    linear_cross_entropy(x.bfloat16(), master, target, backend=backend).backward()
    expected = run(x.bfloat16(), weight.bfloat16(), target, backend="reference")[2].float() / 3
    assert torch.allclose(master.grad, expected, atol=5e-3)
    assert master.grad.dtype == torch.float32


@pytest.mark.parametrize("backend", COMPILED)
def test_a_float32_weight_gets_a_gradient_that_was_never_rounded_to_bfloat16(backend):
    x, weight, target = draw(300, 64, 100, torch.bfloat16, ignored=0)
    exact = run(x.double(), weight.double(), target, backend="reference")[2]
    narrow = errors([run(x, weight, target, backend=backend)[2]], [exact])
    wide = run(x, weight.float(), target, backend=backend)
    assert wide[2].dtype == torch.float32
    assert errors([wide[2]], [exact])[0] < 0.7 * narrow[0]
    assert torch.equal(wide[2].bfloat16(), run(x, weight, target, backend=backend)[2])


@pytest.mark.parametrize("backend", COMPILED)
def test_only_what_is_wanted_is_differentiated(backend):
    x, weight, target = draw(40, 8, 30, torch.float32)
    both = run(x, weight, target, backend=backend)
    alone = x.clone().requires_grad_()
    (3 * linear_cross_entropy(alone, weight, target, backend=backend)).backward()
    assert torch.equal(alone.grad, both[1])
    alone = weight.clone().requires_grad_()
    (3 * linear_cross_entropy(x, alone, target, backend=backend)).backward()
    assert torch.equal(alone.grad, both[2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_retained_graph_gives_the_same_again(backend):
    x, weight, target = draw(40, 8, 30, torch.bfloat16)
    x.requires_grad_(), weight.requires_grad_()
    loss = linear_cross_entropy(x, weight, target, backend=backend)
    first = torch.autograd.grad(loss, (x, weight), torch.tensor(2.0), retain_graph=True)
    again = torch.autograd.grad(loss, (x, weight), torch.tensor(2.0))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize("shape", [(0, 8, 30), (5, 1, 30), (5, 0, 30)], ids=str)
def test_no_rows_and_hardly_a_column(shape, backend):
    x, weight, target = draw(*shape, torch.float32, ignored=0)
    found = run(x, weight, target, backend=backend)
    exact = run(x.double(), weight.double(), target, backend="reference")
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", COMPILED)
def test_any_strides(backend):
    x, weight, target = draw(40, 24, 70, torch.bfloat16)
    expected = run(x, weight, target, backend=backend)
    apart = torch.stack((x, x), dim=1)[:, 0], weight.t().contiguous().t()
    twice = torch.stack((target, target), dim=1)[:, 0]
    found = run(*apart, twice, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", COMPILED[-2:])
def test_threads_change_no_bit(backend, dtype):
    inputs = draw(700, 64, 1700, dtype)  # items that end inside a block of what is kept
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(run(*inputs, backend=backend, z_loss=1e-4))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_without_gradients_only_the_loss_is_computed():
    x, weight, target = draw(20, 8, 30, torch.float32)
    _, grad_x, grad_weight = module._chunked(x, weight, target, -100, True, 0.0, 0.0, False)
    assert grad_x.numel() == grad_weight.numel() == 0
    for backend in BACKENDS:
        with torch.no_grad():
            loss = linear_cross_entropy(x, weight.requires_grad_(), target, backend=backend)
        assert torch.equal(loss, run(x, weight, target, backend=backend)[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeats_give_the_same_bits(backend, small_chunks):
    inputs = draw(129, 24, 257, torch.bfloat16)
    first = run(*inputs, backend=backend)
    for _ in range(250 if backend == BACKENDS[-2] else 10):
        again = run(*inputs, backend=backend)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_no_tensor_of_all_logits_is_made():
    """The largest allocation, seen by a dispatch mode that looks at every tensor made."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                if isinstance(tensor, torch.Tensor):
                    self.elements = max(self.elements, tensor.numel())
            return out

    rows, width, vocabulary = 4096, 8, 8192
    x, weight, target = draw(rows, width, vocabulary, torch.float32)
    x.requires_grad_(), weight.requires_grad_()
    with Largest() as seen:
        linear_cross_entropy(x, weight, target, backend="chunked").backward()
    assert width * vocabulary <= seen.elements <= rows * vocabulary // 8


# By /proc, where a peak can be forgotten: getrusage's is no less than what pytest holds.
MEMORY = """
import ctypes, re, torch
from pathlib import Path
from pytorch_ext import linear_cross_entropy

def held(key):
    found = re.search(key + r":\\s*(\\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(found[1])

torch.set_num_threads(1)
x = torch.randn(2048, 256).bfloat16().requires_grad_()
weight = torch.randn(8192, 256).bfloat16().requires_grad_()
target = torch.randint(8192, (2048,))
for _ in range(2):
    linear_cross_entropy(x[:64], weight, target[:64]).backward()  # the library's own pages
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS")
linear_cross_entropy(x, weight, target).backward()
print(held("VmHWM") - before)
"""


@needs_kernels
def test_the_compiled_kernel_takes_a_sixteenth_of_the_logits():
    """Peak memory of a process, at the sizes that training has by default."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    gradients = 2 * 256 * (8192 + 2048)
    assert 0 < int(done.stdout) - gradients <= 2048 * 8192 * 4 / 16


@pytest.mark.parametrize("backend", [BACKENDS[-2], "chunked"])
def test_compiles_whole_and_passes_opcheck(backend):
    x, weight, target = draw(20, 8, 30, torch.bfloat16)
    options = {"backend": backend, "z_loss": 1e-3, "softcap": 30.0}
    function = torch.compile(
        lambda a, b: linear_cross_entropy(a, b, target, **options),
        fullgraph=True,
        backend="aot_eager",
    )
    leaves = x.requires_grad_(), weight.requires_grad_()
    found = torch.autograd.grad(function(*leaves), leaves)
    expected = torch.autograd.grad(linear_cross_entropy(*leaves, target, **options), leaves)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    if backend == "chunked":
        settings = (-100, True, 0.0, 30.0, True)
        torch.library.opcheck(module._chunked, (*leaves, target, *settings))
        return

    operator = torch.ops.pytorch_ext
    settings = (-100, True, 1e-3, 30.0)
    inputs = (*leaves, target, *settings, True, True, -1)
    torch.library.opcheck(operator.linear_cross_entropy_forward, inputs)
    terms = operator.linear_cross_entropy_forward(*inputs)[3]
    plain = tuple(leaf.detach() for leaf in leaves)
    torch.library.opcheck(
        operator.linear_cross_entropy_backward,
        (torch.tensor(1.0), *plain, target, terms, *settings, -1),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(2, 3, 8)}, r"x \[2, 3, 8\], weight \[30, 8\]"),
        ({"x": torch.zeros(20, 7)}, r"\[N, C\] and \[V, C\] expected"),
        (
            {"target": torch.zeros(20, dtype=torch.int32)},
            r"target is torch.int32 \[20\]; int64 \[20\] expected",
        ),
        ({"target": torch.zeros(19, dtype=torch.int64)}, r"int64 \[20\] expected"),
        ({"x": torch.zeros(20, 8, dtype=torch.int64)}, "floating point expected"),
        ({"weight": torch.zeros(30, 8, device="meta")}, "weight is on meta, x on cpu"),
        ({"reduction": "none"}, "reduction 'none' is not one of mean, sum"),
        ({"backend": "cuda"}, "backend 'cuda' is not one of cpu, cpu:portable"),
        ({"z_loss": -1.0}, "z_loss is -1.0; a number from 0 on expected"),
        ({"softcap": 0.0}, "softcap is 0.0; a number above 0 or None expected"),
    ],
    ids=[
        "rank",
        "width",
        "target-dtype",
        "target-length",
        "integers",
        "device",
        "reduction",
        "backend",
        "z-loss",
        "softcap",
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {
        "x": torch.zeros(20, 8),
        "weight": torch.zeros(30, 8),
        "target": torch.zeros(20, dtype=torch.int64),
    }
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**(arguments | changes))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x", [[0.0] * 8] * 20),
        ("weight", None),
        ("target", [0] * 20),
        ("ignore_index", 0.5),
        ("z_loss", "no"),
        ("softcap", "no"),
    ],
)
def test_what_is_no_tensor_or_number_is_named(argument, value):
    arguments = {
        "x": torch.zeros(20, 8),
        "weight": torch.zeros(30, 8),
        "target": torch.zeros(20, dtype=torch.int64),
    }
    with pytest.raises(TypeError, match=f"{argument} is a {type(value).__name__}"):
        linear_cross_entropy(**(arguments | {argument: value}))
