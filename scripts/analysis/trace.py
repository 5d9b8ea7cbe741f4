"""Shows what a file, or all that is in a folder, was made from, down to your own files, and
verifies every byte of it.

    python scripts/analysis/trace.py results/models/final
    python scripts/analysis/trace.py results/final_model.pt --token 12345

Every file is read and its SHA-256 compared with what the manifests of the steps that wrote and read
it say. Exits 1 when one differs or is missing. With --token it names the document, source file and
row that a token came from.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.files import human_bytes
from snakelm.log import Log
from snakelm.provenance.chain import Chain, read_chain
from snakelm.provenance.terminal import show_origin, show_tree, wide_console
from snakelm.provenance.token_origin import BINS, token_origin
from snakelm.terminal import harmless
from snakelm.workflow.exit_codes import exit_code, parser


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "target", type=Path, metavar="FILE_OR_FOLDER", help="something that the workflow made"
    )
    arguments.add_argument(
        "--no-verify", action="store_true", help="read the manifests alone, no file"
    )
    arguments.add_argument(
        "--token", type=int, metavar="N", help="say where token N came from (the first is 0)"
    )
    arguments.add_argument(
        "--bin",
        choices=BINS,
        default="train",
        help="of which token file: train (default), val or sft",
    )
    args = arguments.parse_args(argv)

    chain, console = read_chain(args.target), wide_console()
    if args.token is not None:
        with _whoever_reads():
            show_origin(token_origin(chain, args.bin, args.token), console)
        return 0

    with Log("trace") as log:
        if not args.no_verify:
            with log.progress(chain.size(), "bytes") as bar:
                chain.verify(lambda done: bar.update(done))

    with _whoever_reads():
        show_tree(chain, console)
        _verdict(chain, args.no_verify)
        sys.stdout.flush()
    return 1 if chain.problems else 0


@contextmanager
def _whoever_reads() -> Iterator[None]:
    """Ends quietly when `| head` has enough; the exit code still says what was found."""
    try:
        yield
    except (BrokenPipeError, SystemExit):  # rich makes the one into the other
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _verdict(chain: Chain, unread: bool) -> None:
    for note in chain.notes:
        print(harmless(f"note: {note}"), file=sys.stderr)
    for problem in chain.problems:
        print(harmless(f"problem: {problem}"), file=sys.stderr)
    if chain.problems:
        count = len(chain.problems)
        print(f"NOT SOUND: {count} problem{'s' if count > 1 else ''}", file=sys.stderr)
        return
    files = f"{len(chain.states):,} files, {human_bytes(chain.size())}"
    print(
        "NOT VERIFIED: no file was read"
        if unread
        else f"VERIFIED {files}: every byte as it was when it was used"
    )


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
