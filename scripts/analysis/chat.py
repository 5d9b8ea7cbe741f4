"""Talks with the tuned model on a terminal, or with --serve on a page of its own; its answer
appears as it is generated.

/reset begins a new conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer. With --prompt it
answers once; from a pipe it takes each line as a question. Only answers go to stdout. With --serve
it prints an address of this machine, which has the page, and below it the API that OpenAI's clients
speak; nothing outside this machine can reach it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.workflow.exit_codes import exit_code, parser
from snakelm.workflow.tuned_model import tuned_model
from snakelm.workflow.verification import check_files


def main(argv: list[str] | None = None) -> int:
    args = _arguments().parse_args(argv)
    _check(args)
    own = args.results / "final_model.pt" if args.base else tuned_model(args.results)
    path = args.model or own
    if not path.is_file():
        raise UserError(f"{path}: missing; make it first: snakemake --cores 8 {path}")

    tokenizer = args.tokenizer or args.results / "tokenizer"
    check_files([path, tokenizer], lambda message: print(f"warning: {message}", file=sys.stderr))

    import torch

    from snakelm.model.chat import load_responder
    from snakelm.model.generate import usual_temperature
    from snakelm.model.terminal_chat import converse

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.temperature is None:
        args.temperature = usual_temperature(not args.base)
    names = ("base", "system", "max_tokens", "seed", "stop", "temperature", "top_k", "top_p")
    responder = load_responder(path, tokenizer, **{name: getattr(args, name) for name in names})

    if args.serve:
        from snakelm.serve import serve

        return serve(responder, path.stem, args.port)
    converse(responder, args.prompt)
    return 0


def _arguments() -> argparse.ArgumentParser:
    flags = parser(__doc__)
    add = flags.add_argument
    add("--results", type=Path, default=Path("results"), help="folder with model and tokenizer")
    add(
        "--model",
        type=Path,
        help="by default <results>/preference_model.pt where it was made from the sft_model.pt "
        "there, else <results>/sft_model.pt; with --base <results>/final_model.pt",
    )
    add("--tokenizer", type=Path, help="<results>/tokenizer")

    add("--prompt", help="answer this and end")
    add("--system", help="instructions that precede the conversation")
    add("--base", action="store_true", help="continue each text instead of answering it")

    add("--temperature", type=float, help="0: the likeliest token (default 0.3; 0.8 with --base)")
    add("--top-k", type=int, default=50, help="choose among this many tokens (default 50)")
    add("--top-p", type=float, default=1.0, help="… of this total probability (default 1)")
    add("--max-tokens", type=int, default=128, help="longest answer (default 128)")
    add("--stop", action="append", default=[], help="text that ends an answer; may be repeated")
    add("--seed", type=int, default=0, help="of the random choices (default 0)")

    add("--threads", type=int, help="CPU threads (default: torch's choice, every core)")

    add("--serve", action="store_true", help="a page and an API on 127.0.0.1 instead")
    add("--port", type=int, default=8000, help="of --serve; 0 takes a free one (default 8000)")
    return flags


def _check(args: argparse.Namespace) -> None:
    for name, value, valid in (
        ("--temperature", args.temperature, args.temperature is None or args.temperature >= 0),
        ("--top-k", args.top_k, args.top_k >= 1),
        ("--top-p", args.top_p, 0 < args.top_p <= 1),
        ("--max-tokens", args.max_tokens, args.max_tokens >= 1),
        ("--stop", args.stop, all(args.stop)),
        ("--seed", args.seed, 0 <= args.seed < 2**63),
        ("--threads", args.threads, args.threads is None or args.threads >= 1),
        ("--port", args.port, 0 <= args.port <= 65535),
        ("--prompt with --serve", args.prompt, args.prompt is None or not args.serve),
    ):
        if not valid:
            raise UserError(f"{name}: found {value}; see --help")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
