"""The Tokenizer's methods: batches, Arrow, decoding, surrogates, special tokens, foreign ranks."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
import tiktoken

import snakelm.tokenizer
from snakelm import _text
from snakelm.errors import UserError
from snakelm.tokenizer import EOT, Tokenizer, train_bpe
from snakelm.tokenizer.patterns import EQUAL, PATTERNS

BYTES = {bytes([b]): b for b in range(256)}


@pytest.fixture(scope="module")
def tokenizer(documents) -> Tokenizer:
    return train_bpe(documents, 2000, "cl100k")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_batch_is_its_texts_one_by_one(tokenizer, documents, nasty, threads):
    texts = nasty[:500] + documents
    ids, offsets = tokenizer.encode_batch(texts, threads=threads)
    assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)
    assert offsets.size == len(texts) + 1
    for i, text in enumerate(texts):
        assert ids[offsets[i] : offsets[i + 1]].tolist() == tokenizer.encode_ordinary(text)


def test_a_long_text_is_cut_for_threads_and_keeps_its_ids(trained, documents, nasty):
    """Cut by the byte in tests/csrc/text/fuzz.cpp; here at the size that is used."""
    long = "".join([*documents, *nasty[:1000]])
    assert len(long.encode()) > 4 << 17
    uncut = trained.encode_ordinary(long)
    for texts, threads in (([long], 3), (["short", long, "", long], 2)):
        ids, offsets = trained.encode_batch(texts, threads=threads)
        for i, text in enumerate(texts):
            one = ids[offsets[i] : offsets[i + 1]].tolist()
            assert one == (uncut if text is long else trained.encode_ordinary(text))


@pytest.mark.parametrize("convert", [list, pa.array], ids=["list", "arrow"])
@pytest.mark.parametrize("bits", [16, 32])
def test_each_text_may_begin_with_the_end_of_text_token(tokenizer, convert, bits):
    texts = ["one", "", "two <|endoftext|>"]
    plain, _ = tokenizer.encode_batch(texts)
    ids, offsets = tokenizer.encode_batch(convert(texts), 2, bits=bits, eot=True)
    assert ids.dtype == f"uint{bits}"
    assert ids[offsets[:-1]].tolist() == [tokenizer.eot] * 3
    assert np.delete(ids, offsets[:-1]).tolist() == plain.tolist()
    assert offsets[-1] == ids.size == plain.size + 3


def test_ids_that_do_not_fit_are_refused(tokenizer):
    assert tokenizer.encode_batch([], bits=16)[0].dtype == np.uint16
    large = Tokenizer(BYTES | {b"last": 1 << 16}, "gpt2")
    assert large.encode_batch(["last"])[0].tolist() == [1 << 16]
    for one, bits in ((large, 16), (tokenizer, 8), (tokenizer, 64)):
        with pytest.raises(ValueError, match=f"{bits} bits for {one.vocab_size} tokens"):
            one.encode_batch(["a"], bits=bits)
    core = _text.Encoder([*BYTES, *(b"" for _ in range(1 << 16))], "gpt2")
    with pytest.raises(ValueError, match="too narrow for this vocabulary"):
        core.encode_strings(["a"], 1, 16)


def test_a_batch_whose_memory_is_cleared_ahead_is_that_of_one_thread(tokenizer, documents):
    """Large enough for large pages, which one of the threads has the system clear."""
    texts = documents * (24_000_000 // sum(map(len, documents)))
    ids, offsets = tokenizer.encode_batch(texts)
    for bits, threads in ((32, 2), (32, 5), (16, 3)):
        again, bounds = tokenizer.encode_batch(texts, threads, bits=bits)
        assert np.array_equal(again, ids)
        assert np.array_equal(bounds, offsets)


def test_other_threads_run_while_a_batch_is_encoded(tokenizer):
    ticks, text = 0, "some words of a text " * 2_000_000
    with ThreadPoolExecutor(1) as pool:
        encoding = pool.submit(tokenizer.encode_batch, [text])
        while not encoding.done():
            ticks += 1
    assert ticks > 1000


def test_empty_batches(tokenizer):
    for texts in ([], pa.array([], pa.string()), pa.chunked_array([], pa.large_string())):
        ids, offsets = tokenizer.encode_batch(texts)
        assert ids.tolist() == []
        assert offsets.tolist() == [0]
    assert tokenizer.encode_batch(["", ""])[1].tolist() == [0, 0, 0]
    assert tokenizer.encode_ordinary("") == []
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(
    "convert",
    [
        lambda texts: pa.array(texts),
        lambda texts: pa.array(texts, pa.large_string()),
        lambda texts: pa.array(texts, pa.string_view()),
        lambda texts: pa.array([text.encode() for text in texts]),
        lambda texts: pa.array(texts).dictionary_encode(),
        lambda texts: pa.array(["left out", *texts, "too"]).slice(1, len(texts)),
        lambda texts: pa.array(["left out", *texts, "too"], pa.large_string()).slice(1, len(texts)),
        lambda texts: pa.chunked_array([texts[:3], [], texts[3:]], pa.string()),
        lambda texts: pa.table({"text": texts})["text"],
    ],
    ids=[
        "string",
        "large",
        "view",
        "binary",
        "dictionary",
        "slice",
        "large-slice",
        "chunked",
        "column",
    ],
)
def test_arrow_arrays_encode_as_lists_do(tokenizer, convert):
    texts = ["one", "", "zwei drei", "漢字", "\x00", "ſ 'S"] * 40
    expected, found = (
        tokenizer.encode_batch(texts),
        tokenizer.encode_batch(convert(texts), threads=2),
    )
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_arrow_arrays_that_are_no_texts_say_so(tokenizer):
    with pytest.raises(UserError, match="array of int64; expected strings"):
        tokenizer.encode_batch(pa.array([1, 2]))
    with pytest.raises(UserError, match="1 of 2 are missing"):
        tokenizer.encode_batch(pa.array(["a", None]))


@pytest.mark.parametrize(
    "bounds", [[0, 9, 2], [0, 2, 9], [-1, 2, 3]], ids=["falling", "beyond", "negative"]
)
@pytest.mark.parametrize("width", [np.int32, np.int64], ids=["int32", "int64"])
def test_wrong_arrow_offsets_are_never_followed(bounds, width):
    data, offsets = np.zeros(3, np.uint8), np.array(bounds, width)
    core = _text.Encoder(list(BYTES), "gpt2")
    with pytest.raises(ValueError, match="outside its data"):
        core.encode_arrow(
            [(data.ctypes.data, data.size, offsets.ctypes.data, offsets.itemsize, 0, 2)], 1
        )


def test_arrow_offsets_may_lie_at_any_address():
    core = _text.Encoder(list(BYTES), "gpt2")
    memory = np.frombuffer(b"?" + np.array([0, 2, 3], np.int32).tobytes() + b"abc", np.uint8)
    at = memory.ctypes.data
    ids, bounds = core.encode_arrow([(at + 13, 3, at + 1, 4, 0, 2)], 1)
    assert (ids.tolist(), bounds.tolist()) == ([97, 98, 99], [0, 2, 3])
    with pytest.raises(ValueError, match="offsets of 2 bytes, expected 4 or 8"):
        core.encode_arrow([(at + 13, 3, at + 1, 2, 0, 2)], 1)


def views_beyond_their_data() -> pa.Array:
    _, views, data = pa.array(["x" * 40, "y" * 40], pa.string_view()).buffers()
    numbers = np.frombuffer(views, np.int32).copy()
    numbers[3] = 1 << 30  # where the first text begins
    return pa.Array.from_buffers(pa.string_view(), 2, [None, pa.py_buffer(numbers), data])


@pytest.mark.parametrize(
    "array",
    [
        views_beyond_their_data(),
        pa.DictionaryArray.from_arrays(pa.array([0, 7]), pa.array(["a"]), safe=False),
    ],
    ids=["views", "dictionary"],
)
def test_what_an_arrow_array_refers_to_is_checked(tokenizer, array):
    with pytest.raises(UserError, match="a damaged Arrow array"):
        tokenizer.encode_batch(array)


def test_a_damaged_arrow_stream_is_refused(tokenizer):
    """A stream that claims more rows than it has offsets for: Arrow's reader doesn't mind, we
    do.
    """
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"text": ["xy"] * 12345})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    claims = (
        sink.getvalue()
        .to_pybytes()
        .replace((12345).to_bytes(8, "little"), (99999).to_bytes(8, "little"))
    )
    with pytest.raises(UserError, match="fewer offsets than rows"):
        tokenizer.encode_batch(pa.ipc.open_stream(claims).read_next_batch()["text"])


def test_any_bytes_come_back(trained):
    source = random.Random(0)
    datas = [source.randbytes(source.randrange(40)) for _ in range(3000)]
    datas += [
        b"\xff",
        b"\xc3",
        b"\xe6\xbc",
        b"\xf0\x9f\x99",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf4\x90\x80\x80",
        b"a\xe6",
    ]
    ids, offsets = trained.encode_batch(pa.array(datas, pa.binary()))
    for i, data in enumerate(datas):
        assert trained.decode_bytes(ids[offsets[i] : offsets[i + 1]]) == data


@pytest.mark.parametrize(
    "invalid",
    [
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf0\x82\x82\xac",
        b"\xe6\xbc",
        b"\x80\xff",
    ],
    ids=[
        "surrogate",
        "overlong-2",
        "overlong-3",
        "beyond-unicode",
        "overlong-4",
        "cut-off",
        "stray",
    ],
)
def test_each_byte_that_is_no_utf8_is_a_symbol_of_its_own(invalid):
    """As one character it would be the prefix of the word: one piece."""
    assert _text.split("cl100k", invalid + b"abc") == [len(invalid), 3]


@pytest.mark.parametrize(
    ("text", "same_as"),
    [("a\ud800b", "a�b"), ("\udfff", "�"), ("\ud83d\ude42", "🙂"), ("\ude42\ud83d", "��")],
    ids=["lone-high", "lone-low", "pair", "swapped"],
)
def test_surrogates_are_joined_or_replaced_as_in_tiktoken(tokenizer, text, same_as):
    expected = tokenizer.encode_ordinary(same_as)
    assert tokenizer.encode_ordinary(text) == expected
    assert tokenizer.encode_batch([text])[0].tolist() == expected
    assert tokenizer.to_tiktoken().encode_ordinary(text) == expected


def test_names_of_special_tokens_are_ordinary_text(tokenizer):
    ids = tokenizer.encode_ordinary(f"a{EOT}b")
    assert tokenizer.eot not in ids
    assert tokenizer.decode(ids) == f"a{EOT}b"
    assert tokenizer.decode([tokenizer.eot]) == EOT


def test_token_lengths_add_up_to_bytes(tokenizer, documents):
    for text in documents[:20]:
        assert tokenizer.token_lengths[tokenizer.encode_ordinary(text)].sum() == len(text.encode())
    assert tokenizer.token_lengths.dtype == np.int32
    assert tokenizer.token_lengths.shape == (tokenizer.vocab_size,)
    assert tokenizer.token_lengths[tokenizer.eot] == 0


def test_decode_takes_arrays_and_cuts_characters_visibly(tokenizer):
    ids, _ = tokenizer.encode_batch(["naïve 漢"])
    assert (
        tokenizer.decode(ids)
        == tokenizer.decode(ids.astype(np.uint16))
        == tokenizer.decode(iter(ids))
        == "naïve 漢"
    )
    assert tokenizer.decode([0xE6, 0xBC]) == "�"
    assert tokenizer.decode_bytes([0xE6, 0xBC]) == b"\xe6\xbc"


@pytest.mark.parametrize("ids", [[-1], [2000], [2**40]], ids=["negative", "one-too-far", "huge"])
def test_decode_refuses_ids_outside_the_vocabulary(tokenizer, ids):
    with pytest.raises(
        UserError, match=f"decode: id {ids[0]} is outside the vocabulary of 2000 tokens"
    ):
        tokenizer.decode(ids)


def test_wrong_types_are_type_errors(tokenizer):
    for call in (
        lambda: tokenizer.encode_ordinary(b"bytes"),
        lambda: tokenizer.encode_ordinary(None),
        lambda: tokenizer.encode_batch("one text"),
        lambda: tokenizer.encode(b"bytes"),
        lambda: tokenizer.encode_batch(None),
        lambda: tokenizer.encode_batch(["a"], threads=1.5),
        lambda: tokenizer.encode_single_token(3),
        lambda: tokenizer.decode([0.5]),
        lambda: tokenizer.decode([[1, 2]]),
        lambda: tokenizer.decode([[1], [2, 3]]),
        lambda: tokenizer.decode("ab"),
        lambda: tokenizer.decode(None),
        lambda: Tokenizer({"a": 0}, "gpt2"),
        lambda: Tokenizer(BYTES, "gpt2", {EOT: "256"}),
        lambda: Tokenizer(BYTES, None),
    ):
        with pytest.raises(TypeError, match="expected"):
            call()


def test_a_text_that_is_none_is_named_and_the_others_are_not_shown(tokenizer):
    for texts in (["a", "secret", 3], ("a", "secret", None), iter(["a", "secret", 0.5])):
        with pytest.raises(TypeError, match=r"^encode_batch: text 2: expected str, found") as error:
            tokenizer.encode_batch(texts)
        assert "secret" not in str(error.value)


def test_a_batch_may_be_any_iterable_of_texts(tokenizer):
    expected = tokenizer.encode_batch(["a b", "c"])[0].tolist()
    for texts in (("a b", "c"), iter(["a b", "c"]), np.array(["a b", "c"])):
        assert tokenizer.encode_batch(texts)[0].tolist() == expected


def test_a_lone_surrogate_is_no_token(tokenizer):
    with pytest.raises(KeyError, match="is no token"):
        tokenizer.encode_single_token("a\ud800")


def test_threads_may_share_a_tokenizer_and_pickling_keeps_it(tokenizer, documents):
    expected = [tokenizer.encode_ordinary(text) for text in documents]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokenizer.encode_ordinary, documents)) == expected
    again = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301 - our own bytes
    assert again.sha256 == tokenizer.sha256
    assert again.encode_ordinary(documents[0]) == expected[0]


def test_complete_words_match_before_merges():
    """A token that merging never reaches: `abc` needs `ab` or `bc`, which are no tokens."""
    ranks = BYTES | {b"abc": 256, b"cd": 257}
    tokenizer = Tokenizer(ranks, "gpt2")
    assert tokenizer.encode_ordinary("abc abcd") == [256, 32, 97, 98, 257]
    assert tokenizer.encode_ordinary("abc abcd") == tokenizer.to_tiktoken().encode_ordinary(
        "abc abcd"
    )
    assert tokenizer.merges()[256] is None
    assert tokenizer.merges()[257] == (ord("c"), ord("d"))


def test_merges_of_long_tokens_are_found():
    """Rescanning the parts at each merge would be 30,000 million steps."""
    doubled = [b"a" * (1 << i) for i in range(1, 19)]
    tokenizer = Tokenizer(BYTES | {token: 256 + i for i, token in enumerate(doubled)}, "gpt2")
    assert tokenizer.merges()[256:] == [(97, 97), *((i, i) for i in range(256, 273))]


@pytest.mark.parametrize("seed", range(20))
def test_random_ranks_encode_as_in_tiktoken(seed):
    """Vocabularies that no training would give: tokens in any order, many ways to spell one,
    unreachable ones.
    """
    source = random.Random(seed)
    tokens = {bytes(source.choices(b"abc", k=source.randrange(2, 6))) for _ in range(60)}
    ranks = BYTES | {
        token: 256 + i for i, token in enumerate(source.sample(sorted(tokens), len(tokens)))
    }
    tokenizer = Tokenizer(ranks, "gpt2")
    reference = tiktoken.Encoding(
        "x", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={}
    )
    for length in (3, 10, 60, 200, 700):
        text = "".join(source.choices("abc", k=length))
        assert tokenizer.encode_ordinary(text) == reference.encode_ordinary(text)


@pytest.mark.parametrize(
    ("ranks", "special", "message"),
    [
        ({}, {}, "no ranks"),
        ({b: r for b, r in BYTES.items() if r != 65}, {}, "no token for byte 65"),
        (BYTES | {b"ab": 65}, {}, "its id 65 is another's"),
        (BYTES | {b"": 256}, {}, "token b'': empty"),
        (BYTES, {EOT: 65}, "id 65 is taken by b'A'"),
        (BYTES, {EOT: 256, "<|pad|>": 256}, "id 256 is taken"),
        (BYTES, {EOT: -1}, "ids from -1"),
        (BYTES, {EOT: 2**31}, "ids from 0 to 2147483648"),
        (BYTES, {"": 256}, "special token '': the name is empty"),
        (BYTES, {"a\ud800": 256}, "or not UTF-8; change it"),
    ],
    ids=[
        "empty",
        "missing-byte",
        "id-of-two",
        "empty-token",
        "taken-id",
        "same-id",
        "negative",
        "huge",
        "unnamed",
        "surrogate",
    ],
)
def test_ranks_that_are_no_vocabulary_say_why(ranks, special, message):
    with pytest.raises(UserError, match=message):
        Tokenizer(ranks, "gpt2", special)


def test_a_tokenizer_without_end_of_text_says_how_to_give_one():
    with pytest.raises(UserError, match="special_tokens="):
        _ = Tokenizer(BYTES, "gpt2").eot


def test_a_patterns_name_and_its_expressions_are_the_same_tokenizer():
    for regex, name in EQUAL.items():
        assert Tokenizer(BYTES, regex).sha256 == Tokenizer(BYTES, name).sha256
    assert len({Tokenizer(BYTES, name).sha256 for name in PATTERNS}) == len(PATTERNS)


def test_the_public_names():
    assert snakelm.tokenizer.__all__ == [
        *("CHAT", "EOT", "Tokenizer", "extend_vocabulary", "train_bpe")
    ]
