"""The quality rules beside datatrove's on the same documents: which documents each drops, and how
many a CPU-second.

    python -m venv elsewhere && elsewhere/bin/pip install datatrove spacy numpy pyarrow pyyaml rich
    elsewhere/bin/python benchmarks/quality.py \\
        --documents results/data/deduplicated/documents.parquet

One rule at a time with the papers' bounds, then all of them. datatrove brings spaCy (180 MB), so it
is not a requirement of the project. Its words are spaCy's tokens; the column "same words" has it
count ours, so what is left there are differences of the rules themselves. Without datatrove only
our own columns are filled.
"""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.parquet as pq

from snakelm.config import Quality
from snakelm.data.documents.quality_rules import bounds_of, drop_lines, judge
from snakelm.files import write_json
from snakelm.workflow.exit_codes import exit_code, parser

GOPHER = "gopher_quality_filter.GopherQualityFilter"
REPETITION = "gopher_repetition_filter.GopherRepetitionFilter"
C4 = "c4_filters.C4QualityFilter"
OFF = {
    GOPHER: {
        f"{most}_{what}": None
        for most in ("min", "max")
        for what in ("doc_words", "avg_word_length")
    }
    | {
        f"max_{what}_ratio": None
        for what in ("symbol_word", "bullet_lines", "ellipsis_lines", "non_alpha_words")
    }
    | {"min_stop_words": None},
    REPETITION: {f"dup_{what}_frac": None for what in ("line", "para", "line_char", "para_char")}
    | {"top_n_grams": (), "dup_n_grams": ()},
    C4: {
        f"filter_{what}": False
        for what in ("no_terminal_punct", "lorem_ipsum", "javascript", "curly_bracket", "policy")
    }
    | {
        "remove_citations": False,
        "min_num_sentences": -1,
        "min_words_per_line": -1,
        "max_word_length": -1,
    },
}
# Our key, its bound, datatrove's filter and what is switched on there.
RULES = [
    ("min_words", 50, GOPHER, {"min_doc_words": 50}),
    ("max_words", 1000, GOPHER, {"max_doc_words": 1000}),  # Gopher's 100,000 drops nothing anywhere
    ("min_word_length", 3.0, GOPHER, {"min_avg_word_length": 3}),
    ("max_word_length", 10.0, GOPHER, {"max_avg_word_length": 10}),
    ("max_symbol_ratio", 0.1, GOPHER, {"max_symbol_word_ratio": 0.1}),
    ("max_bullet_lines", 0.9, GOPHER, {"max_bullet_lines_ratio": 0.9}),
    ("max_ellipsis_lines", 0.3, GOPHER, {"max_ellipsis_lines_ratio": 0.3}),
    ("min_alphabetic_words", 0.8, GOPHER, {"max_non_alpha_words_ratio": 0.8}),
    ("min_stop_words", 2, GOPHER, {"min_stop_words": 2}),
    ("max_duplicate_lines", 0.3, REPETITION, {"dup_line_frac": 0.3}),
    ("max_duplicate_paragraphs", 0.3, REPETITION, {"dup_para_frac": 0.3}),
    ("max_top_ngram", 0.2, REPETITION, {"top_n_grams": ((2, 0.2),)}),
    ("max_duplicate_ngrams", 0.15, REPETITION, {"dup_n_grams": ((5, 0.15),)}),
    ("min_sentences", 5, C4, {"min_num_sentences": 5}),
    ("no_curly_bracket", True, C4, {"filter_curly_bracket": True}),
    ("no_lorem_ipsum", True, C4, {"filter_lorem_ipsum": True}),
    ("terminal_punctuation", True, C4, {"filter_no_terminal_punct": True, "min_words_per_line": 3}),
    ("no_javascript", True, C4, {"filter_javascript": True}),
]
COLUMNS = (
    f"{'rule':<26} {'dropped':>8} {'its':>8} {'agree %':>8} {'same words %':>13} "
    f"{'docs/CPU-s':>11} {'its':>8}"
)


def ours(text: str, rules: Quality) -> str | None:
    """What is left of the text; None when the document goes."""
    left = drop_lines(text, rules)
    return left if left.strip() and judge(left, bounds_of(rules)) is None else None


def theirs(filters: list, text: str) -> str | None:
    """The same, by datatrove's filters one after the other."""
    from datatrove.data import Document

    document = Document(text=text, id="")
    for one in filters:
        answer = one.filter(document)
        if (
            answer[0] if isinstance(answer, tuple) else answer
        ) is False or not document.text.strip():
            return None
    return document.text


def made(switched: list[tuple[str, dict]]) -> list | None:
    """datatrove's filters with only that switched on; None where datatrove is missing."""
    try:
        from datatrove.pipeline import filters as package
    except ImportError:
        return None

    filters = []
    for name, options in switched:
        module, kind = name.split(".")
        filters.append(getattr(getattr(package, module), kind)(**{**OFF[name], **options}))
    return filters


def timed(call: Callable[[str], str | None], texts: list[str]) -> tuple[list[str | None], float]:
    """(what is left of each text, CPU-seconds)."""
    began = time.process_time()
    left = [call(text) for text in texts]
    return left, time.process_time() - began


def same(a: str | None, b: str | None) -> bool:
    """Both dropped, or both kept with the same lines; datatrove strips lines and drops blank
    ones.
    """
    if a is None or b is None:
        return a is b
    return [line for line in map(str.strip, a.split("\n")) if line] == [
        line for line in map(str.strip, b.splitlines()) if line
    ]


def compare(rule: str, rules: Quality, switched: list[tuple[str, dict]], texts: list[str]) -> dict:
    mine, seconds = timed(lambda text: ours(text, rules), texts)
    row = {
        "rule": rule,
        "dropped": mine.count(None),
        "documents_per_cpu_s": len(texts) / max(seconds, 1e-6),
    }
    filters = made(switched)
    if filters is None:
        return row
    words = {
        module: vars(sys.modules[module]) for module in {type(one).__module__ for one in filters}
    }
    its, its_seconds = timed(lambda text: theirs(filters, text), texts)
    row |= {"its_dropped": its.count(None), "its_documents_per_cpu_s": len(texts) / its_seconds}
    row["agreement"] = sum(map(same, mine, its)) / len(texts)
    before = {
        module: names["split_into_words"]
        for module, names in words.items()
        if "split_into_words" in names
    }
    for module in before:
        words[module]["split_into_words"] = lambda text, language: text.split()
    row["agreement_same_words"] = sum(
        map(same, mine, (theirs(filters, text) for text in texts))
    ) / len(texts)
    for module, function in before.items():
        words[module]["split_into_words"] = function
    return row


def show(row: dict) -> None:
    print(f"{row['rule']:<26} {row['dropped']:8,} ", end="")
    if "its_dropped" in row:
        print(f"{row['its_dropped']:8,} {100 * row['agreement']:8.2f} ", end="")
        print(f"{100 * row['agreement_same_words']:13.2f} ", end="")
    else:
        print(" " * 32, end="")
    print(
        f"{row['documents_per_cpu_s']:11,.0f} {row.get('its_documents_per_cpu_s', 0):8,.0f}",
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--documents", type=Path, default=Path("results/data/deduplicated/documents.parquet")
    )
    arguments.add_argument("--limit", type=int, default=3000, help="documents, at even distances")
    arguments.add_argument("--json", help="file for the figures")
    given = arguments.parse_args(argv)
    warnings.simplefilter("ignore")
    texts = pq.read_table(given.documents, columns=["text"]).column("text").to_pylist()
    texts = texts[:: max(1, len(texts) // given.limit)][: given.limit]
    print(f"{len(texts):,} documents, {sum(map(len, texts)) / 1e6:.1f} MB\n{COLUMNS}")
    rows = []
    for name, bound, kind, options in RULES:
        rows.append(compare(name, Quality(**{name: bound}), [(kind, options)], texts))
        show(rows[-1])
    for kinds in ((GOPHER,), (REPETITION,), (C4,), (C4, GOPHER, REPETITION)):
        chosen = [rule for rule in RULES if rule[2] in kinds]
        options = {kind: {} for kind in kinds}
        for _, _, kind, more in chosen:
            options[kind] |= more
        name = "all" if len(kinds) > 1 else kinds[0].split(".")[1]
        rows.append(
            compare(name, Quality(**{r[0]: r[1] for r in chosen}), list(options.items()), texts)
        )
        show(rows[-1])
    if given.json:
        write_json(given.json, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
