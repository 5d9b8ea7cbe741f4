"""The sections about documents that are to be forgotten: which they are, and the check of a model's
memory.
"""

from typing import Literal

from .section import Section, key

__all__ = ["Forget", "Memorisation"]


class Forget(Section):
    """Takes documents, conversations and preferences out of all that is trained on: pretraining,
    tuning, and the samples that tokenizer and filter learn from.
    """

    documents: str | list[str] | None = key(
        None,
        "files, globs allowed, that name documents, one a line: the SHA-256 of a text, or its id "
        "of 16 hex digits as trace.py prints it; # begins a comment "
        "(scripts/analysis/find_documents.py writes such lines)",
    )
    conversations: str | list[str] | None = key(
        None, "the same for conversations of tuning, as `find_documents.py --conversations` has it"
    )
    preferences: str | list[str] | None = key(
        None, "the same for preferences, as `find_documents.py --preferences` has it"
    )
    text: str | None = key(
        None,
        "a regular expression (RE2, Arrow's) that is searched for in every document, and in every "
        "turn of every conversation and preference; what has a match goes",
    )
    origin: str | None = key(
        None,
        "the same, searched for in where a document is from, as source/file; of a conversation or "
        "preference in its source's path as the configuration has it",
    )
    near: bool = key(
        True,
        "documents that `deduplicate` would take for a near copy of one named in `documents` go "
        "too (its shingle, permutations and threshold hold, even where it's off)",
    )
    missing: Literal["error", "warn"] = key(
        "error",
        "a line that names nothing there is: stop, or say and count them",
    )

    @property
    def by_rule(self) -> bool:
        """Whether a rule says what goes, of documents and conversations alike."""
        return bool(self.text or self.origin)

    @property
    def of_documents(self) -> bool:
        """Whether documents are looked through."""
        return bool(self.documents) or self.by_rule


class Memorisation(Section):
    """A check of what models have by heart of some documents, as the target
    results/tables/memorisation.html.
    """

    documents: str | list[str] | None = key(
        None, "files that name the documents, as forget.documents does; null for those"
    )
    before: str | None = key(
        None,
        "an earlier model for comparison: a folder that it was exported to, or another run's "
        "final_model.pt; copy results/models/final before the run that forgets",
    )
    prefix: int = key(
        32, "tokens that a model is given to go on from", unit="tokens", ge=1, le=4096
    )
    continuation: int = key(
        32, "tokens that it must then say by itself, at temperature 0", unit="tokens", ge=1, le=4096
    )
    places: int = key(
        4, "places of each document that are tried, evenly spread", unit="places", ge=1, le=1000
    )
    near: float = key(
        0.8,
        "similarity (1 less the edit distance over the longer length, in characters) from which a "
        "continuation counts as nearly the document's",
        gt=0,
        le=1,
    )
    controls: int = key(
        1000,
        "most held-out documents that exposure ranks a document among; chosen by hash",
        unit="documents",
        ge=1,
        le=1_000_000,
    )
