"""Texts and tokenizers that the tokenizer's tests share. Nothing here is downloaded."""

import pydoc_data.topics
import random

import pytest

from snakelm.tokenizer import Tokenizer, train_bpe

# One or more characters of every class and of every rule of the three patterns.
ALPHABET = (
    " \u00a0\u3000\u0085\n\r\t'sStTrReEvVlLdDmMſ1١½²aAéʰªǅßİ"
    "\u0301\u0345\u200d漢あ한!/.-_\x00\u00ad🙂🇩\u0903\U000e0101"
)
CODE_POINTS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def random_text(source: random.Random, length: int) -> str:
    return "".join(source.choice(ALPHABET) for _ in range(length))


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """The standard library's help texts (0.5 MB), and random text of many scripts so that other
    bytes merge too.
    """
    source = random.Random(0)
    return [*pydoc_data.topics.topics.values(), *(random_text(source, 2000) for _ in range(30))]


@pytest.fixture(scope="session")
def alphabet() -> str:
    return ALPHABET


@pytest.fixture(scope="session")
def code_points() -> list[str]:
    """Every Unicode scalar value."""
    return CODE_POINTS


@pytest.fixture(scope="session", params=["gpt2", "cl100k", "o200k"])
def trained(request, documents) -> Tokenizer:
    """A tokenizer of 3,000 ids, once a pattern."""
    return train_bpe(documents, 3000, request.param)


@pytest.fixture(scope="session")
def nasty(alphabet) -> list[str]:
    """Texts that splitters get wrong."""
    source = random.Random(1)
    fixed = [
        "",
        "\x00",
        "a\x00b",
        "'store 'STORE 'ſtore don't DON'T they'LL we'Ve x'ſ 're'",
        "it''s '' 's's'll'd'",
        "a  b   c    ",
        "  ",
        " \n \n x",
        "x\n\n",
        "x \r\n\r\n  y\r\n",
        "x  \n  ",
        "\t\tx\u00a0\u00a0y\u3000z",
        "12345678 1234 ½²١٢٣٤",
        "HTMLParser camelCase ABCdef ABʰCD ǅabc ǄABC",
        "e\u0301a\u0301\u0301 \u0301x \u0301\u0301A !\u0301A",
        "!!!\n\n/// \n/ http://a/b//\r\n/",
        "漢字かな交じり文。한국어 텍스트",
        "🙂🙂 👩‍👩‍👧 🇩🇪",
        "<|endoftext|> <|fim_prefix|>",
        "\ufeff\u00ad\u200b\u200dx",
        "\U0010ffff\ufffe\uffff",
    ]
    return fixed + [random_text(source, source.randrange(1, 16)) for _ in range(4000)]


@pytest.fixture(scope="session")
def every_code_point(code_points) -> list[tuple[str, str]]:
    """(context, text): all code points in each context, in one long text a context."""
    contexts = {
        " x": " %s",
        "x": "%s",
        "'x": "'%s",
        "1x": "1%s",
        "ax": "a%s",
        "xA": "%sA",
        "x's": "%s's",
        "!x": "!%s",
    }
    separators = {
        " x": " z",
        "x": "\n",
        "'x": "\x00",
        "1x": " ",
        "ax": "\n",
        "xA": "",
        "x's": "B",
        "!x": "\u0301",
    }
    return [
        (name, separators[name].join(context.replace("%s", c) for c in code_points))
        for name, context in contexts.items()
    ]
