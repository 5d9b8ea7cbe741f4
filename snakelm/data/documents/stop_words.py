"""Words that hardly a text of the language does without: eight for each, of which Gopher wants two.

Gopher has the English ones. The others are among the commonest words of the language's own manual
pages. Which language a text is in is known by then, so a word may be another language's too.
"""

__all__ = ["STOP_WORDS"]

STOP_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the be to of and that have with",
        "it": "di la è per non il che un",
        "ru": "и в не на с для или это",
    }.items()
}
