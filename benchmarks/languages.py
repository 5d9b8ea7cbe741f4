"""Whether languages are told right: paragraphs of manual pages whose language was checked by
reading them, and texts whose language nobody can tell.

    mkdir pages && cd pages
    apt-get download manpages manpages-{it,ru,de,fr,es,pt-br,pl,nl,sv,uk,ja}
    for package in *.deb; do dpkg -x $package .; done; cd ..
    python benchmarks/languages.py pages [--json FILE] [--show]

Of each language every paragraph of 150 to 500 characters stands in a drawing by hash; 40 are drawn.
The label is the folder's language, and they were read one by one (--show prints them; bookworm's
versions): those that aren't in it are listed below. The same paragraphs give lines (up to 80
characters of each) and texts (eight of them one after the other). Undecidable are two words, names
and options, code of this project, numbers, and two languages half and half; right of them is `und`.

CPU-seconds are the median of five passes, the model loaded; memory is what loading it and telling
all of them added to the process.
"""

import gzip
import hashlib
import re
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snakelm.config import Languages
from snakelm.data.documents.identification import UNKNOWN, Identifier
from snakelm.files import write_json
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.exit_codes import exit_code, parser

FOLDERS = {"pt": "pt_BR", "en": ""}  # where a language's pages are, if not under its own name
LANGUAGES = ["en", "it", "ru", "de", "fr", "es", "pt", "pl", "nl", "sv", "uk", "ja"]
DRAWN, LINE, TOGETHER = 40, 80, 8
PASSES = 5  # of which the median's time counts
SHORTEST, LONGEST = 150, 500  # characters of a paragraph; half of that in Japanese
CODE = ("snakelm/**/*.py", "csrc/**/*.cpp", "tests/**/*.py")

# By the beginning of the SHA-256 of a drawn paragraph, as it was read: what was left in English
# (some in pages of several languages), and what are names alone, or options.
ENGLISH = (
    "00842820 00f04803 01b82662 02699f09 0283bb96 01ab7f96 02291033 03626454 03b8616b 0432232a "
    "04e75d19 075c3d51 00798d11 00062a72 009c83d9 00c07f26 01c4aa7d 02eafe0c 00ea408f 07fcba76 "
    "0e80fa54 0f0d0f1c 0fc6b5d3 100db7c7 1184ca80 00c58da6 011d1200 01ffced4 02223dad "
    "023fbf05"
)
NAMES = "017e6770 01fd7322 03462d0a 00ac0aa2 00ca8c36 00ea131b 00fdd326"


def pages(folder: Path, language: str) -> Iterator[str]:
    """The sources of a language's pages, those that refer to another one left out."""
    below = folder / "usr/share/man" / FOLDERS.get(language, language)
    for file in sorted(below.glob("man[0-9]/*.gz")):
        if not file.is_symlink():
            text = gzip.decompress(file.read_bytes()).decode("utf-8", errors="replace")
            if not text.startswith(".so "):
                yield text


def paragraphs(page: str) -> Iterator[str]:
    """A page's running text without its markup, by paragraphs."""
    page = re.sub(r"(?ms)^\.(nf|EX|TS)\b.*?^\.(fi|EE|TE)\b", "", page)
    lines: list[str] = []
    for line in [*page.splitlines(), ".PP"]:
        plain = re.match(r"\.(?:[BI]|[BIR]{2}|SM)\s+(.*)", line)
        if line.startswith((".", "'")) and not plain:
            if lines and not line.startswith(r".\""):
                yield " ".join(" ".join(lines).split())
                lines = []
            continue
        lines.append(without_escapes(plain[1].replace('"', "") if plain else line))


def without_escapes(line: str) -> str:
    """Without roff's escapes for fonts and the like; those for characters are the characters."""
    line = re.sub(r'\\".*', "", line)
    line = re.sub(r"\\f(?:\[\w*\]|\(..|.)|\\[&/,:%|^]|\\s[+-]?\d", "", line)
    known = {"aq": "'", "dq": '"', "lq": "“", "rq": "”", "bu": "•", "em": "—", "en": "–"}
    line = re.sub(r"\\\((..)|\\\[(\w+)\]", lambda m: known.get(m[1] or m[2], ""), line)
    return line.replace(r"\-", "-").replace(r"\ ", " ").replace(r"\~", " ").replace(r"\e", "\\")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def drawn(folder: Path, language: str) -> list[str]:
    """DRAWN paragraphs, the same each time."""
    shorter = 2 if language == "ja" else 1
    found = {
        paragraph
        for page in pages(folder, language)
        for paragraph in paragraphs(page)
        if SHORTEST // shorter <= len(paragraph) <= LONGEST // shorter
    }
    return sorted(found, key=digest)[:DRAWN]


def labelled(read: dict[str, list[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Each paragraph once, under the language that it was found to be in; and those of names."""
    told: dict[str, dict[str, None]] = {language: {} for language in [*LANGUAGES, UNKNOWN]}
    for language, texts in read.items():
        for text in texts:
            begun = digest(text)[:8]
            own = UNKNOWN if begun in NAMES else "en" if begun in ENGLISH else language
            told[own][text] = None
    return {language: list(told[language]) for language in LANGUAGES}, list(told[UNKNOWN])


def undecidable(told: dict[str, list[str]], names: list[str]) -> dict[str, list[str]]:
    """Texts that are in no language, or in two, by why."""
    code = []
    for pattern in CODE:
        some = sorted(ROOT.glob(pattern), key=lambda file: digest(file.name))[:20]
        code += [without_words(file.read_text(encoding="utf-8")) for file in some]
    spaced = [told[language] for language in LANGUAGES if language != "ja"]
    words = [" ".join(text.split()[:2]) for texts in spaced for text in texts[:10]]
    numbers = [" ".join(f"{i * n * n % 9973}" for i in range(1, 200)) for n in range(1, 41)]
    pairs = [(one, LANGUAGES[(i + 1) % 11]) for i, one in enumerate(LANGUAGES[:11])]
    mixed = [
        "\n".join([*told[one][i : i + 4], *told[other][i : i + 4]])
        for one, other in pairs
        for i in range(0, 16, 4)
    ]
    return {
        "two words": words,
        "names": names,
        "code": code,
        "numbers": numbers,
        "two languages": mixed,
    }


def without_words(source: str) -> str:
    """Code without its comments and docstrings, which are in English."""
    source = re.sub(r'(?s)""".*?"""', "", source)
    return re.sub(r"(?m)(#(?!include)|//).*$", "", source)


def lines_of(texts: list[str]) -> list[str]:
    return [text[:LINE].rpartition(" ")[0] or text[:LINE] for text in texts]


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("folder", type=Path, help="with usr/share/man of the packages")
    arguments.add_argument("--show", action="store_true", help="print the paragraphs, to be read")
    arguments.add_argument("--json", type=Path, metavar="FILE")
    args = arguments.parse_args(argv)

    read = {language: drawn(args.folder, language) for language in LANGUAGES}
    if args.show:
        for language, texts in read.items():
            for text in texts:
                print(f"{language} {digest(text)[:8]} {text}")
        return 0

    told, names = labelled(read)
    before, identifier = peak(), Identifier(Languages(keep="all"))
    identifier.tell("The model is loaded with the first text.")
    kinds = {
        "lines": {language: lines_of(texts) for language, texts in told.items()},
        "paragraphs": told,
        "texts": {
            language: ["\n".join(texts[i : i + TOGETHER]) for i in range(0, len(texts), TOGETHER)]
            for language, texts in told.items()
        },
    }
    head = f"{'right':>8}{'unknown':>9}{'wrong':>8}{'MB a CPU-s':>12}  wrong ones"
    print(f"{'':<12}{'texts':>7}{head}")
    rows = {kind: measured(kind, texts, identifier) for kind, texts in kinds.items()}
    for kind, texts in undecidable(told, names).items():
        rows[kind] = measured(kind, {UNKNOWN: texts}, identifier)

    memory = peak() - before
    print(f"memory: {memory / 1e6:.0f} MB\nright of each language: {', '.join(kinds)}")
    for language in LANGUAGES:
        shares = (f"{rows[kind]['of_each'][language]:.0%}" for kind in kinds)
        print(f"{language}: {', '.join(shares)}")
    if args.json:
        write_json(args.json, {"memory": memory, "kinds": rows})
    return 0


def measured(kind: str, texts: dict[str, list[str]], identifier: Identifier) -> dict[str, Any]:
    """Prints a line of the table and gives it; ``texts`` by what is right of them."""
    pairs = [(language, text) for language, some in texts.items() for text in some]
    times = []
    for _ in range(PASSES):
        before = time.process_time()
        found = [identifier.tell(text).language for _, text in pairs]
        times.append(time.process_time() - before)
    seconds = statistics.median(times)

    rate = sum(len(text.encode()) for _, text in pairs) / 1e6 / seconds
    results = [(expected, told) for (expected, _), told in zip(pairs, found, strict=True)]
    right = sum(expected == told for expected, told in results) / len(pairs)
    unknown = found.count(UNKNOWN) / len(pairs)
    wrong = Counter(
        f"{expected} as {told}" for expected, told in results if told not in (expected, UNKNOWN)
    )
    most = ", ".join(f"{what} {count}" for what, count in wrong.most_common(6))
    shares = f"{right:>8.1%}{unknown:>9.1%}{sum(wrong.values()) / len(pairs):>8.1%}"
    print(f"{kind:<12}{len(pairs):>7}{shares}{rate:>12.2f}  {most}", flush=True)
    of_each = {
        language: results.count((language, language)) / max(1, len(some))
        for language, some in texts.items()
    }
    row = {"texts": len(pairs), "right": right, "unknown": unknown, "wrong": dict(wrong)}
    return {**row, "mb_per_cpu_second": rate, "of_each": of_each}


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
