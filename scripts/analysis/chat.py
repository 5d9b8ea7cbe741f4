"""Talks with the tuned model on a terminal, or with --serve on a page of its own; its answer
appears as it is made.

/reset begins a new conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer. With --prompt it
answers once; from a pipe it takes each line as a question. Only answers go to stdout. With --serve
it says an address of this machine, which has the page, and below it the API that OpenAI's clients
speak; nothing outside this machine can reach it.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.workflow.exit_codes import parser, run


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--results", type=Path, default=Path("results"), help="folder with model and tokenizer"
    )
    arguments.add_argument(
        "--model", type=Path, help="<results>/sft_model.pt, with --base <results>/final_model.pt"
    )
    arguments.add_argument("--tokenizer", type=Path, help="<results>/tokenizer")
    arguments.add_argument("--prompt", help="answer this and end")
    arguments.add_argument("--system", help="what the model is told before the conversation")
    arguments.add_argument(
        "--base", action="store_true", help="go on with each text instead of answering it"
    )
    arguments.add_argument(
        "--temperature", type=float, default=0.3, help="0 takes the likeliest token (default 0.3)"
    )
    arguments.add_argument(
        "--top-k", type=int, default=50, help="choose among so many tokens (default 50)"
    )
    arguments.add_argument(
        "--top-p", type=float, default=1.0, help="… that have this probability together (default 1)"
    )
    arguments.add_argument(
        "--max-tokens", type=int, default=128, help="longest answer (default 128)"
    )
    arguments.add_argument(
        "--stop", action="append", default=[], help="text that ends an answer; may be repeated"
    )
    arguments.add_argument("--seed", type=int, default=0, help="of the choices (default 0)")
    arguments.add_argument(
        "--threads", type=int, help="of the processor (default: torch's choice, every core)"
    )
    arguments.add_argument(
        "--serve", action="store_true", help="a page and an API on 127.0.0.1 instead"
    )
    arguments.add_argument(
        "--port", type=int, default=8000, help="of --serve; 0 takes a free one (default 8000)"
    )
    args = arguments.parse_args(argv)
    _check(args)
    sys.stdout.reconfigure(errors="replace")
    talk = _talk(args)
    if args.serve:
        from snakelm.serve import serve

        return serve(talk, _model_path(args).stem, args.port)
    try:
        return _once(talk, args.prompt) if args.prompt is not None else _all(talk, args.base)
    except BrokenPipeError:  # whoever read the answers has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _check(args) -> None:
    for name, value, fits in (
        ("--temperature", args.temperature, args.temperature >= 0),
        ("--top-k", args.top_k, args.top_k >= 1),
        ("--top-p", args.top_p, 0 < args.top_p <= 1),
        ("--max-tokens", args.max_tokens, args.max_tokens >= 1),
        ("--stop", args.stop, all(args.stop)),
        ("--seed", args.seed, 0 <= args.seed < 2**63),
        ("--threads", args.threads, args.threads is None or args.threads >= 1),
        ("--port", args.port, 0 <= args.port <= 65535),
        ("--prompt with --serve", args.prompt, args.prompt is None or not args.serve),
    ):
        if not fits:
            raise UserError(f"{name}: found {value}; see --help")


def _model_path(args) -> Path:
    return args.model or args.results / ("final_model.pt" if args.base else "sft_model.pt")


def _talk(args):
    """A Chat, or with --base its like that goes on with texts."""
    path = _model_path(args)
    if not path.is_file():
        raise UserError(f"{path}: missing; make it first: snakemake --cores 8 {path}")
    import torch

    from snakelm.model import load_model
    from snakelm.model.chat import Chat, Continuation
    from snakelm.tokenizer import Tokenizer

    if args.threads:
        torch.set_num_threads(args.threads)
    model, record = load_model(path)
    tokenizer = Tokenizer.load(args.tokenizer or args.results / "tokenizer")
    if record["tokenizer"]["sha256"] != tokenizer.sha256:
        raise UserError(
            f"{path}: trained with another tokenizer than this one; name its own with --tokenizer"
        )
    if not args.base and not record.get("chat"):
        raise UserError(
            f"{path}: a base model, never tuned on conversations; tune it (snakemake --cores 8 results/sft_model.pt) "
            "or say --base to let it go on with your text"
        )
    how = {"most_tokens": args.max_tokens, "seed": args.seed, "stop": args.stop}
    how |= {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    return (
        Continuation(model, tokenizer, **how)
        if args.base
        else Chat(model, tokenizer, system=args.system, **how)
    )


def _once(talk, question: str) -> int:
    _show(talk, question)
    return 0


def _all(talk, base: bool) -> int:
    """Every line that is typed or piped in."""
    typed = sys.stdin.isatty()
    if typed:
        import readline  # noqa: F401 - gives input() its line editing

        _note("/reset begins anew, /quit or Ctrl-D ends, Ctrl-C stops an answer")
    for line in _lines("text: " if base else "you: ", typed):
        if line == "/quit":
            break
        if line == "/reset":
            talk.reset()
            _note("a new conversation")
        elif line.strip():
            try:
                _show(talk, line)
            except UserError as error:
                if not typed:
                    raise
                _note(str(error))
    return 0


def _lines(before: str, typed: bool) -> Iterator[str]:
    if not typed:
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    while True:
        try:
            yield input(before)
        except KeyboardInterrupt:
            _note("\n/quit or Ctrl-D ends")
        except EOFError:
            print(file=sys.stderr)
            return


def _show(talk, question: str) -> None:
    stopped, pieces = False, talk.answer(question)
    if talk.dropped:
        _note(
            f"the conversation is longer than the model looks back: its first {talk.dropped} turns went"
        )
    try:
        for piece in pieces:
            print(_harmless(piece), end="", flush=True)
    except KeyboardInterrupt:
        stopped = True
        pieces.close()
    print(flush=True)
    if stopped or talk.cut:
        _note("stopped" if stopped else "cut off: no more room, or --max-tokens reached")
    if stopped and not sys.stdin.isatty():
        raise KeyboardInterrupt


def _harmless(text: str) -> str:
    """Without control characters: what a model says must not steer the terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _note(text: str) -> None:
    dim, plain = ("\033[2m", "\033[0m") if sys.stderr.isatty() else ("", "")
    print(f"{dim}[{text}]{plain}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(run(main))
