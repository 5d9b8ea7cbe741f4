"""Lists the documents of a run that hold a phrase, as lines for `forget.documents`: the hash of
each, and where it is from.

    python scripts/analysis/find_documents.py "Anna Rossi" --show
    python scripts/analysis/find_documents.py "Anna Rossi" >> forget.txt
    python scripts/analysis/find_documents.py "Anna Rossi" --conversations >> forget-talks.txt

Looked at are the documents as they were sampled from their sources. Exits 1 when none holds it.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.errors import UserError
from snakelm.provenance.find import find_conversations, find_documents, find_preferences
from snakelm.workflow.exit_codes import exit_code, parser


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("phrase", help="text to look for")
    arguments.add_argument(
        "--results", type=Path, default=Path("results"), help="of the run (default: results)"
    )
    arguments.add_argument(
        "--regex", action="store_true", help="the phrase is a regular expression (Python's)"
    )
    arguments.add_argument(
        "--ignore-case", action="store_true", help="capitals and small letters are the same"
    )
    among = arguments.add_mutually_exclusive_group()
    among.add_argument(
        "--conversations", action="store_true", help="look among the conversations of tuning"
    )
    among.add_argument("--preferences", action="store_true", help="look among the preferences")
    arguments.add_argument(
        "--show", action="store_true", help="show what was found, with the text around it"
    )
    args = arguments.parse_args(argv)

    expression = args.phrase if args.regex else re.escape(args.phrase)
    try:
        phrase = re.compile(expression, re.IGNORECASE if args.ignore_case else 0)
    except re.error as error:
        raise UserError(f"{args.phrase!r}: no regular expression ({error})") from None
    if phrase.search(""):
        raise UserError(f"{args.phrase!r}: it is in every text; name a longer one")

    look = find_conversations if args.conversations else find_documents
    look, count = find_preferences if args.preferences else look, 0
    for found in look(args.results, phrase):
        print(found.line(args.show))
        count += 1
    print(f"{count:,} found", file=sys.stderr)
    return 0 if count else 1


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
