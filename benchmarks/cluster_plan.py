"""A run on several GPUs planned on paper: memory of each process, and what travels between them,
by train.sharding and train.activation_checkpointing.

    python benchmarks/cluster_plan.py [--preset 1b] [--processes 16] [--rows 8] [--json FILE]

Computed, nothing is measured: memory by the estimate that PREFLIGHT says (training/plan.py), for
bfloat16. Communication counts the bytes that each process sends in an optimizer step by rings, as
NCCL has them: an all-reduce of n bytes 2 n (S - 1) / S, a gathering or a reduce-scatter half of it,
for S processes. Seconds are those bytes at --gbps gigabits a second for each process, not hidden
behind any computation, beside the seconds of computation that PREFLIGHT would say.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from snakelm.config import Config, from_mapping
from snakelm.device import GPU_PEAKS, Device
from snakelm.files import write_json
from snakelm.model import model_size
from snakelm.training.plan import make_plan
from snakelm.workflow.exit_codes import exit_code, parser

GPU = Device(torch.device("cuda"), torch.bfloat16, 1)
COLUMNS = (
    f"{'sharding':<9} {'again':<6} {'rows':>4} {'memory GB':>10} {'sent GB/step':>13} "
    f"{'s sending':>10} {'s computing':>12}"
)


def sent(config: Config, sharded: bool, passes: int, size: int) -> float:
    """Bytes that each process sends in a step of so many forward and backward ``passes``."""
    numbers = model_size(config.model, config.tokenizer.vocab_size)
    once = (size - 1) / size
    if not sharded:
        return 2 * 4 * numbers.total * once

    tables = numbers.embedding + numbers.head
    # Each pass gathers the blocks twice in bfloat16 and the tables once in float32, and sums the
    # gradients of all in float32. Gradients go to Muon's owners and weights come back.
    each = 2 * 2 * numbers.matrices + 4 * tables + 4 * (numbers.matrices + tables)
    return passes * each * once + 2 * 4 * numbers.matrices / size * once


def row(config: Config, sharded: bool, again: bool, rows: int, size: int, gbps: float) -> dict:
    """One line of the table."""
    keys = {"activation_checkpointing": again, "sharding": "fsdp" if sharded else "none"}
    train, vocab_size = config.train.model_copy(update=keys), config.tokenizer.vocab_size
    plan = make_plan(
        config.model,
        vocab_size,
        train.batch_tokens,
        1.0,
        rows,
        GPU,
        GPU_PEAKS["H100"],
        size,
        train.eval_tokens or 0,
        train=train,
    )
    passes = -(-train.batch_tokens // (config.model.context * size * rows))
    bytes_sent = sent(config, sharded, passes, size)
    return {
        "sharding": "fsdp" if sharded else "none",
        "again": again,
        "rows": rows,
        "memory": plan.memory,
        "sent": bytes_sent,
        "sending": bytes_sent * 8 / (gbps * 1e9),
        "computing": plan.seconds,
    }


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--preset", default="1b", help="of the configuration (default: 1b)")
    arguments.add_argument("--processes", type=int, default=16, help="GPUs of all hosts")
    arguments.add_argument("--rows", type=int, nargs="+", default=[8, 32], help="of one pass")
    arguments.add_argument("--gbps", type=float, default=400, help="of the network, for each GPU")
    arguments.add_argument("--json", type=Path, help="file for the figures")
    options = arguments.parse_args(argv)

    config = from_mapping({"preset": options.preset})
    lines = [
        row(config, sharded, again, rows, options.processes, options.gbps)
        for rows in options.rows
        for sharded in (False, True)
        for again in (False, True)
    ]
    print(COLUMNS)
    for line in lines:
        print(
            f"{line['sharding']:<9} {'yes' if line['again'] else 'no':<6} {line['rows']:>4} "
            f"{line['memory'] / 1e9:>10.1f} {line['sent'] / 1e9:>13.1f} {line['sending']:>10.2f} "
            f"{line['computing']:>12.2f}"
        )
    if options.json:
        write_json(options.json, {"rows": lines})
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
