"""Generation, tokens a second: ours with a cache, ours without, and transformers' `generate`, on
the same weights.

    python benchmarks/generate.py --model results/final_model.pt [--threads N] [--json FILE]
    python benchmarks/generate.py --preset gpt2-124m          # that shape with random weights

All three take the likeliest token, in float32, after the same prompts of random ids, one
conversation at a time as in chat; transformers gets the exported weights, its own cache and torch's
SDPA. Their ids are compared before anything is timed: where they differ, nothing is shown for it.
They take turns in one process; each figure is a median. With one thread the clock is CPU time, with
more it is wall time (a waiting thread burns CPU time too).
"""

import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from snakelm.config import Model, from_mapping
from snakelm.errors import UserError
from snakelm.files import write_json
from snakelm.model import Cache, Decoder, load_model, model_size
from snakelm.model.generate import stream
from snakelm.model.huggingface import Ends, huggingface_config, huggingface_weights
from snakelm.workflow.exit_codes import exit_code, parser

Ids = list[int]


def random_model(preset: str) -> Decoder:
    """The preset's shape; every weight drawn, so that the likeliest token is no tie."""
    config = from_mapping({"preset": preset})
    model = Decoder(config.model, config.tokenizer.vocab_size).initialize(
        torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        for layer in model.layers:
            for weight in (layer.attention.o, layer.mlp.down):
                weight.normal_(
                    0,
                    weight.shape[1] ** -0.5,
                    generator=torch.Generator().manual_seed(weight.numel()),
                )
        model.head_weight.normal_(
            0, config.model.width**-0.5, generator=torch.Generator().manual_seed(1)
        )
    return model.eval()


def transformers_model(model: Decoder):
    """The same weights in transformers, or why not."""
    try:
        import transformers
    except ImportError:
        return None, "transformers left out: not installed (requirements-filter.txt)"
    transformers.logging.set_verbosity_error()
    settings = huggingface_config(model.shape, model.vocab_size, Ends(0, [0]))
    config = transformers.AutoConfig.for_model(**settings)
    theirs = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    missing = theirs.load_state_dict(huggingface_weights(model), strict=False).missing_keys
    assert not [
        name for name in missing if not model.shape.tie_embeddings or "lm_head" not in name
    ], missing
    return theirs.eval(), f"transformers {transformers.__version__}"


def contestants(model: Decoder, theirs, prompt: Ids, length: int) -> dict[str, Callable[[], Ids]]:
    """Name → what gives ``length`` ids after ``prompt``; a new cache each time."""

    def cached() -> Ids:
        return list(stream(model, prompt, length, temperature=0, cache=Cache(model)))

    def plain() -> Ids:
        return list(stream(model, prompt, length, temperature=0))

    def transformers() -> Ids:
        given = torch.tensor([prompt])
        with torch.no_grad():
            ids = theirs.generate(
                given, attention_mask=torch.ones_like(given), do_sample=False,
                max_new_tokens=length, min_new_tokens=length, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
        return ids[0, len(prompt) :].tolist()

    calls = {"ours, cache": cached, "ours, no cache": plain}
    return calls if theirs is None else {**calls, "transformers": transformers}


def clock(call: Callable[[], object]) -> float:
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = now()
    call()
    return now() - began


def measure(
    model: Decoder, theirs, prompts: list[Ids], length: int, repeats: int
) -> dict[str, dict[str, float | int]]:
    """For each contestant: tokens a second (median over repeats), and of how many prompts the ids
    are the same.
    """
    seconds: dict[str, list[float]] = {}
    agreed: dict[str, int] = {}
    for prompt in prompts:
        calls = contestants(model, theirs, prompt, length)
        ids = {name: call() for name, call in calls.items()}
        for name in calls:
            agreed[name] = agreed.get(name, 0) + (ids[name] == ids["ours, cache"])
        for _ in range(repeats):
            for name, call in calls.items():
                seconds.setdefault(name, []).append(clock(call))
    return {
        name: {"tokens_per_s": length / statistics.median(taken), "same_ids": agreed[name]}
        for name, taken in seconds.items()
    }


def cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "CPU"


def describe(shape: Model, model: Decoder) -> str:
    return (
        f"{model_size(shape, model.vocab_size).total / 1e6:.1f} M parameters "
        f"({shape.layers} layers of {shape.width}, {shape.heads}/{shape.kv_heads} heads of "
        f"{shape.head_dim}, {model.vocab_size} ids, context {shape.context})"
    )


def show(rows: dict, prompts: int, theirs: str) -> None:
    best = rows["ours, cache"]["tokens_per_s"]
    print(f"{'':<16} {'tokens/s':>9} {'ours, cache is':>15} {'same ids':>9}")
    for name, row in rows.items():
        ratio = f"{best / row['tokens_per_s']:.2f} × as fast"
        print(
            f"{name:<16} {row['tokens_per_s']:9.1f} {ratio:>15} {row['same_ids']:>5} of {prompts}"
        )
    print(theirs)


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--model", type=Path, default=Path("results/final_model.pt"), help="a trained model"
    )
    arguments.add_argument(
        "--preset", help="a preset's shape with random weights instead of --model"
    )
    arguments.add_argument(
        "--prompt-tokens", type=int, default=16, help="ids of each prompt (default 16)"
    )
    arguments.add_argument("--tokens", type=int, default=200, help="ids generated (default 200)")
    arguments.add_argument("--prompts", type=int, default=3, help="how many (default 3)")
    arguments.add_argument(
        "--repeats", type=int, default=3, help="measurements a prompt (default 3)"
    )
    arguments.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    arguments.add_argument("--json", help="file for the figures")
    given = arguments.parse_args(argv)
    torch.set_num_threads(given.threads)
    model = random_model(given.preset) if given.preset else load_model(given.model)[0]
    if given.prompt_tokens + given.tokens > model.shape.context:
        raise UserError(
            f"--tokens: {given.prompt_tokens} + {given.tokens} ids, the model's context is "
            f"{model.shape.context}; past it transformers goes on where ours slides the window, "
            "and the two aren't comparable"
        )
    draw = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(model.vocab_size, (given.prompt_tokens,), generator=draw).tolist()
        for _ in range(given.prompts)
    ]
    theirs, why = transformers_model(model)
    about = {
        "cpu": cpu_name(),
        "threads": given.threads,
        "torch": torch.__version__,
        "transformers": why,
    }
    about |= {
        "model": describe(model.shape, model),
        "prompt_tokens": given.prompt_tokens,
        "tokens": given.tokens,
    }
    print(
        f"{about['model']}; {given.tokens} ids after {given.prompt_tokens}, "
        f"{given.threads} threads, {about['cpu']}"
    )
    rows = measure(model, theirs, prompts, given.tokens, given.repeats)
    show(rows, given.prompts, why)
    if given.json:
        write_json(
            given.json,
            {"about": about, "rows": rows, "prompts": given.prompts, "repeats": given.repeats},
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
