"""A row of a test set as question, choices and answer, by the columns that known benchmarks have.

    HellaSwag     ctx, endings, label              number from 0
    ARC, OpenBookQA, CommonsenseQA                 labels beside the choices
                  question(_stem), choices {text, label}, answerKey
    MMLU          question, choices, answer        number from 0
    PIQA          goal, sol1, sol2, label          number from 0
    SIQA          context, question, answerA …, label               number from 1
    WinoGrande    sentence with a _, option1, option2, answer       number from 1
    COPA          premise, question (cause or effect), choice1, choice2, label     number from 0
    BoolQ         passage, question, answer: true or false, or label 0 or 1
    TruthfulQA    question, mc1_targets {choices, labels}
    any other     the first of QUESTION, CHOICES and ANSWER that says something

A passage (PASSAGE) stands in front of its question. An answer as a number of JSON or parquet counts
from 0, as class labels do; digits in a text may mean anything (gold.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..parquet import BadFile

__all__ = ["ANSWER", "ParsedRow", "answer_of", "parsed_row", "question_of"]

QUESTION = (
    "question",
    "query",
    "ctx",
    "context",
    "prompt",
    "text",
    "input",
    "goal",
    "question_stem",
)
PASSAGE = ("passage", "article", "context")
CHOICES = ("choices", "endings", "options")
ANSWER = ("answer", "gold", "label", "answerKey", "target")
BECAUSE = {"cause": " because", "effect": " so"}

Row = Mapping[str, object]


@dataclass(frozen=True)
class ParsedRow:
    """``labels`` are those given beside the choices; ``convention`` is the reading of the answer
    that the columns stand for (gold.READINGS), None where they don't tell.
    """

    question: str
    choices: tuple[str, ...]
    labels: tuple[str, ...]
    answer: object
    convention: str | None


def parsed_row(row: Row) -> ParsedRow:
    """A row with choices; BadFile for one that lacks a part."""
    if isinstance(stem := row.get("question"), Mapping):  # as ARC and CommonsenseQA publish it
        row = {**row, "question": stem.get("stem"), "choices": stem.get("choices")}

    for names, known in KNOWN.items():
        if all(row.get(name) is not None for name in names):
            return known(row)
    if _is_boolq(row):
        return _boolq(row)

    question = question_of(row)
    choices_column, choices = _first(row, CHOICES)
    texts, labels = _choices(choices)
    answer_column, answer = answer_of(row)

    convention: str | None = None
    if labels:
        convention = "label"
    elif answer_column == "answerKey":
        convention = "letter_or_from_1"
    elif (answer_column, choices_column) == ("label", "endings") or (
        isinstance(answer, int | float) and not _are_numbers(choices)
    ):
        convention = "from_0"
    return ParsedRow(question, texts, labels, answer, convention)


def _are_numbers(choices: object) -> bool:
    return isinstance(choices, list) and not isinstance(choices[0], str)


def question_of(row: Row) -> str:
    """The question, behind its passage if it has one."""
    name, question = _first(row, QUESTION)
    if not isinstance(question, str):
        raise BadFile(f"the question is a {type(question).__name__}, expected text")

    passages = [row[passage] for passage in PASSAGE if passage != name and row.get(passage)]
    if name in ("question", "query") and passages and isinstance(passages[0], str):
        return f"{passages[0]}\n{question}"
    return question


def answer_of(row: Row) -> tuple[str, object]:
    """The column of the answer, and what it says."""
    return _first(row, ANSWER)


def _first(row: Row, names: tuple[str, ...]) -> tuple[str, object]:
    found = next((name for name in names if row.get(name) is not None), None)
    if found is None:
        raise BadFile(
            f"none of {', '.join(names)} says anything; columns are "
            f"{', '.join(map(str, row)) or 'none'}"
        )
    return found, row[found]


def _choices(value: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(texts, labels) of a list of texts or of objects, of lists side by side, or of an object of
    texts by their labels.
    """
    given: object = value
    labels: object = None
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        given = [one.get("text") if isinstance(one, Mapping) else None for one in value]
        labels = [one.get("label") if isinstance(one, Mapping) else None for one in value]
    elif isinstance(value, Mapping) and "text" in value:
        given, labels = value["text"], value.get("label")
    elif isinstance(value, Mapping):
        present = {label: text for label, text in value.items() if text is not None}
        given, labels = list(present.values()), list(present)

    texts = [_text(one) for one in given] if isinstance(given, list) else []
    if len(texts) < 2 or not all(texts):
        raise BadFile(f"the choices are {str(value)[:60]!r}; expected a list of at least two texts")
    return tuple(texts), _labels(labels, len(texts))


def _labels(given: object, count: int) -> tuple[str, ...]:
    if not isinstance(given, list) or not any(label is not None for label in given):
        return ()
    labels = tuple(map(str, given))
    if len(set(labels)) != count:
        raise BadFile(f"the labels are {str(given)[:60]!r}; expected {count} different ones")
    return labels


def _text(choice: object) -> str:
    """A choice as text; a number as it is written; "" for anything else."""
    number = isinstance(choice, int | float) and not isinstance(choice, bool)
    return choice if isinstance(choice, str) else str(choice) if number else ""


def _texts(row: Row, *names: str) -> tuple[str, ...]:
    texts = tuple(_text(row[name]) for name in names)
    if not all(texts):
        empty = names[texts.index("")]
        raise BadFile(f"{empty} is {str(row[empty])[:60]!r}, expected text")
    return texts


def _winogrande(row: Row) -> ParsedRow:
    """Each choice goes on to the end of the sentence, so that the words after the gap count."""
    sentence, *options = _texts(row, "sentence", "option1", "option2")
    before, gap, after = sentence.partition("_")
    if not gap or not before.strip():
        raise BadFile(f"the sentence {sentence[:60]!r} has no _ that the options could stand for")
    choices = tuple(option + after for option in options)
    return ParsedRow(before, choices, (), row["answer"], "from_1")


def _piqa(row: Row) -> ParsedRow:
    goal, *solutions = _texts(row, "goal", "sol1", "sol2")
    return ParsedRow(goal, tuple(solutions), (), row["label"], "from_0")


def _siqa(row: Row) -> ParsedRow:
    answers = _texts(row, "answerA", "answerB", "answerC")
    return ParsedRow(question_of(row), answers, (), row["label"], "from_1")


def _copa(row: Row) -> ParsedRow:
    premise, *choices = _texts(row, "premise", "choice1", "choice2")
    asked = BECAUSE.get(str(row["question"]))
    if asked is None:
        raise BadFile(f"the question is {str(row['question'])[:60]!r}, expected cause or effect")
    question = premise.rstrip().removesuffix(".") + asked
    return ParsedRow(question, tuple(choices), (), row["label"], "from_0")


def _is_boolq(row: Row) -> bool:
    if row.get("passage") is None or any(row.get(name) is not None for name in CHOICES):
        return False
    return next((row[name] for name in ANSWER if row.get(name) is not None), None) in (0, 1)


def _boolq(row: Row) -> ParsedRow:
    _, answer = answer_of(row)
    return ParsedRow(question_of(row), ("no", "yes"), (), int(answer == 1), "from_0")


def _truthfulqa(row: Row) -> ParsedRow:
    targets = row["mc1_targets"]
    targets = targets if isinstance(targets, Mapping) else {}
    marks = targets.get("labels")
    if not isinstance(marks, list) or marks.count(1) != 1:
        raise BadFile(f"mc1_targets is {str(targets)[:60]!r}, expected one right choice")
    texts, _ = _choices(targets.get("choices"))
    return ParsedRow(question_of(row), texts, (), marks.index(1), "from_0")


KNOWN = {
    ("sentence", "option1", "option2", "answer"): _winogrande,
    ("goal", "sol1", "sol2", "label"): _piqa,
    ("context", "question", "answerA", "answerB", "answerC", "label"): _siqa,
    ("premise", "choice1", "choice2", "question", "label"): _copa,
    ("question", "mc1_targets"): _truthfulqa,
}
