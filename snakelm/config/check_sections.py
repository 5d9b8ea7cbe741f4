"""The sections of checks on documents that need packages of their own (requirements-checks.txt):
the language a text is in, the personal data it holds.

YAML 1.1 reads `no` (Norwegian) and `off` as false; here they are the words that were written.
"""

from typing import Any, Literal

from pydantic import field_validator

from .section import Section, key

__all__ = ["Languages", "PersonalData"]


class Languages(Section):
    """The language of each document, told by its text. The model that tells is in a package: it
    fetches nothing.
    """

    keep: Literal["all"] | list[str] | None = key(
        None,
        "null: no document's language is told; all: it is told and everything stays; a list such "
        "as [en, it]: documents in other languages are dropped (ISO 639-1 codes, longer where "
        "there is none)",
    )
    least_confidence: float = key(
        0.6,
        "probability from which a document's language counts as told; it is a mean over four "
        "places of the text, so a document half in one language and half in another has 0.5",
        ge=0,
        le=1,
    )
    least_letters: int = key(
        20,
        "a document with fewer letters is in a language that nobody can tell",
        unit="letters",
        ge=1,
        le=1000,
    )
    unknown: Literal["keep", "drop"] = key(
        "drop",
        "what becomes of documents whose language nobody can tell (too few letters, code, tables, "
        "mixed, unsure), where `keep` is a list; they are counted by reason either way",
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _norwegian(cls, value: Any) -> Any:
        return ["no" if one is False else one for one in value] if type(value) is list else value


class PersonalData(Section):
    """E-mail addresses, telephone, IP, card and bank account numbers in documents. Rules find them
    by their form and check digits; none of what they find is written anywhere.
    """

    action: Literal["off", "count", "mask", "drop"] = key(
        "off",
        "count: say how many there are; mask: put a word such as <EMAIL> in the place of each; "
        "drop: drop documents that hold any",
    )
    kinds: list[Literal["email", "phone", "ip", "card", "iban"]] = key(
        ["email", "phone", "ip", "card", "iban"], "what to look for"
    )
    regions: list[str] = key(
        [],
        "countries (IT, US …) whose national telephone numbers count too, where a word such as tel "
        "or phone stands before them; international ones (+39 …) always do",
    )
    documentation: Literal["except", "include"] = key(
        "except",
        "addresses that are nobody's (example.com, localhost, 192.0.2.1, 127.0.0.1, private "
        "networks): left as they are and counted apart, or treated as all others",
    )

    @field_validator("action", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value
