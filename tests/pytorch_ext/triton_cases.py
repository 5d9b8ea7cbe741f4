"""Specialisations of the Triton kernels that tests compile: the types and constants with which
training launches them.
"""

from typing import Any, NamedTuple

import pytest

pytest.importorskip("triton", reason="triton is for Linux (requirements.txt)")

from pytorch_ext.triton_rows import tile, warps_of


class Case(NamedTuple):
    """One specialisation of a kernel: arguments' types by name, constants, warps."""

    label: str
    signature: dict[str, str]
    constants: dict[str, Any]
    warps: int
    odd: tuple[str, ...] = ()  # integers that are no multiple of 16


def types(**names: str) -> dict[str, str]:
    """types(i32="rows width") -> {"rows": "i32", "width": "i32"}; half: a pointer to bfloat16,
    single: to float32.
    """
    pointers = {"half": "*bf16", "single": "*fp32"}
    return {
        name: pointers.get(kind, kind) for kind, listed in names.items() for name in listed.split()
    }


def norm(width: int, signature: dict[str, str], absent: str = "") -> Case:
    rows, columns = tile(width, 2048)
    constants = {"ROWS": rows, "COLUMNS": columns} | dict.fromkeys(absent.split())
    kept = {name: kind for name, kind in signature.items() if name not in constants}
    return Case(f"{width} {absent}", kept, constants, warps_of(rows * columns), ("rows",))


def cross_entropy(kind: str, capped: bool, gradient: bool) -> Case:
    signature = {"logits": kind} | types(
        single="share losses", i32="vocabulary row_stride ignore_index", fp32="z_loss softcap"
    )
    constants = {"CAPPED": capped, "GRADIENT": gradient, "BLOCK": 4096}
    label = f"{kind[1:]}{' capped' * capped}{' gradient' * gradient}"
    return Case(label, signature | {"target": "*i64"}, constants, 8, ("ignore_index",))


def heads(dim: int, signature: dict[str, str]) -> Case:
    rows, columns = tile(dim // 2, 1024)
    odd = ("q_heads", "k_heads", "q_rows", "k_rows", "q_programs")
    constants = {"ROWS": rows, "COLUMNS": columns}
    return Case(str(dim), signature, constants, warps_of(rows * columns, 256), odd)


NORM_FORWARD = types(
    half="x residual out total", single="weight", i32="rows width x_row residual_row", fp32="eps"
)
NORM_BACKWARD = types(
    half="grad grad_total x grad_x", single="weight partial",
    i32="rows width grad_row total_row x_row", fp32="eps",
)  # fmt: skip
HEADS_FORWARD = types(
    half="q k out_q out_k", single="q_weight k_weight cos sin",
    i32="q_rows k_rows length q_heads k_heads half q_batch q_token q_head k_batch k_token k_head "
    "angle_batch",
    fp32="eps",
)  # fmt: skip
HEADS_BACKWARD = types(
    half="grad_q grad_k q k made_q made_k", single="q_weight k_weight cos sin partial",
    i32="q_programs q_rows k_rows length q_heads k_heads half grad_q_batch grad_q_token "
    "grad_q_head grad_k_batch grad_k_token grad_k_head q_batch q_token q_head k_batch k_token "
    "k_head angle_batch",
    fp32="eps",
)  # fmt: skip
GATE = types(half="gate up out", i32="width gate_row up_row")
GATE_BACKWARD = types(half="grad gate up grad_gate grad_up", i32="width grad_row gate_row up_row")

# By module and name. The first of each runs always, the others behind the `long` mark.
CASES: dict[str, list[Case]] = {
    "ops.linear_cross_entropy.linear_cross_entropy_triton.rows_kernel": [
        cross_entropy("*bf16", capped=False, gradient=True),
        cross_entropy("*bf16", capped=True, gradient=True),
        cross_entropy("*bf16", capped=False, gradient=False),
    ],
    "ops.rms_norm.rms_norm_triton.forward_kernel": [
        norm(768, NORM_FORWARD),
        norm(256, NORM_FORWARD, "residual total"),
        norm(768, NORM_FORWARD, "residual total weight"),
        norm(4096, NORM_FORWARD),
        norm(16384, NORM_FORWARD),
    ],
    "ops.rms_norm.rms_norm_triton.backward_kernel": [
        norm(768, NORM_BACKWARD),
        norm(256, NORM_BACKWARD, "grad_total"),
        norm(768, NORM_BACKWARD, "grad_total weight"),
        norm(4096, NORM_BACKWARD),
        norm(8192, NORM_BACKWARD),
    ],
    "ops.qk_norm_rope.qk_norm_rope_triton.forward_kernel": [
        heads(64, HEADS_FORWARD),
        heads(128, HEADS_FORWARD),
    ],
    "ops.qk_norm_rope.qk_norm_rope_triton.backward_kernel": [
        heads(64, HEADS_BACKWARD),
        heads(128, HEADS_BACKWARD),
    ],
    "ops.swiglu.swiglu_triton.forward_kernel": [Case("", GATE, {"BLOCK": 1024}, 4)],
    "ops.swiglu.swiglu_triton.backward_kernel": [Case("", GATE_BACKWARD, {"BLOCK": 1024}, 4)],
}
