"""A saved tokenizer: read back by us, tiktoken and tokenizers; anything damaged or unfinished is
refused.
"""

import base64
import errno
import json
import os
import pickle

import pytest
import tiktoken
import tiktoken.load
import tokenizers

from snakelm.errors import UserError
from snakelm.tokenizer import EOT, Tokenizer, storage, train_bpe
from snakelm.tokenizer.patterns import PATTERNS


@pytest.fixture
def folder(documents, tmp_path):
    train_bpe(documents[:20], 400, "cl100k").save(tmp_path)
    return tmp_path


def edit_meta(folder, **changes):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | changes))


def test_loads_from_the_folder_or_any_of_its_files(folder):
    first = Tokenizer.load(folder)
    for name in ("ranks.tiktoken", "tokenizer.json", "meta.json"):
        assert Tokenizer.load(folder / name).sha256 == first.sha256
    assert first.facts["bytes"] > 0
    assert first.vocab_size == 400


def test_saving_again_gives_the_same_bytes(folder, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    Tokenizer.load(folder).save(again)
    assert sorted(os.listdir(again)) == [
        "encoder.table",
        "meta.json",
        "ranks.tiktoken",
        "tokenizer.json",
    ]
    for file in again.iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes()


def test_tiktoken_reads_the_ranks(folder, documents):
    ours = Tokenizer.load(folder)
    ranks = tiktoken.load.load_tiktoken_bpe(str(folder / "ranks.tiktoken"))
    theirs = tiktoken.Encoding(
        "x", pat_str=PATTERNS["cl100k"], mergeable_ranks=ranks, special_tokens={EOT: ours.eot}
    )
    assert theirs.n_vocab == ours.vocab_size
    assert theirs.eot_token == ours.eot
    assert all(theirs.encode_ordinary(text) == ours.encode_ordinary(text) for text in documents)


def test_tokenizers_reads_its_file_and_decodes(folder, documents):
    ours = Tokenizer.load(folder)
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert theirs.get_vocab_size() == ours.vocab_size
    assert theirs.token_to_id(EOT) == ours.eot
    for text in documents:
        ids = ours.encode_ordinary(text)
        assert theirs.encode(text).ids == ids
        assert theirs.decode(ids) == text


def test_from_tiktoken_gives_the_same_ids(folder, documents):
    loaded = Tokenizer.load(folder)
    foreign = Tokenizer.from_tiktoken(
        folder / "ranks.tiktoken", pattern=PATTERNS["cl100k"], special_tokens={EOT: 399}
    )
    assert foreign.sha256 == loaded.sha256
    bare = Tokenizer.from_tiktoken(folder / "ranks.tiktoken", "cl100k")
    assert (bare.vocab_size, bare.special_tokens) == (399, {})


def test_a_gap_in_the_ranks_is_kept_through_saving(folder, tmp_path_factory):
    lines = (folder / "ranks.tiktoken").read_bytes().splitlines(keepends=True)
    token, _ = lines[-1].split()
    gapped = tmp_path_factory.mktemp("gap")
    (gapped / "p.tiktoken").write_bytes(b"".join(lines[:-1]) + token + b" 399\n")
    tokenizer = Tokenizer.from_tiktoken(gapped / "p.tiktoken", "cl100k", {EOT: 401})
    assert tokenizer.unused_ids == [398, 400]
    tokenizer.save(gapped)
    assert Tokenizer.load(gapped).unused_ids == [398, 400]
    with pytest.raises(UserError, match="id 398 stands for nothing"):
        tokenizer.decode([97, 398])


def test_the_table_says_what_the_ranks_say(folder, documents, nasty):
    fast = Tokenizer.load(folder)
    (folder / "encoder.table").unlink()
    slow = Tokenizer.load(folder)
    assert (folder / "encoder.table").is_file(), "written for the next time"
    for text in documents[:20] + nasty[:200]:
        ids = fast.encode_ordinary(text)
        assert ids == slow.encode_ordinary(text)
        assert fast.decode(ids) == slow.decode(ids)
    assert fast.mergeable_ranks == slow.mergeable_ranks
    assert list(fast.mergeable_ranks) == list(slow.mergeable_ranks)
    assert fast.merges() == slow.merges()
    assert fast.facts == slow.facts
    assert (fast.token_lengths == slow.token_lengths).all()
    again = pickle.loads(pickle.dumps(fast))  # noqa: S301 - our own bytes
    assert again.sha256 == slow.sha256


TABLES = {
    "absent": lambda good, other: None,
    "empty": lambda good, other: b"",
    "cut": lambda good, other: good[:-1],
    "longer": lambda good, other: good + b"x",
    "of-another-tokenizer": lambda good, other: other,
    "not-a-table": lambda good, other: b"x" * len(good),
    "version": lambda good, other: good[:16] + b"\xff" + good[17:],
    "byte-order": lambda good, other: good[:20] + good[23:19:-1] + good[24:],
    "checksum": lambda good, other: good[:32] + b"\x00" * 8 + good[40:],
    "a-token": lambda good, other: good[:200] + bytes([good[200] ^ 1]) + good[201:],
    "the-last-slot": lambda good, other: good[:-1] + bytes([good[-1] ^ 1]),
}


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES.keys())
def test_a_table_that_is_not_this_tokenizers_is_made_again(folder, documents, change, tmp_path):
    table = folder / "encoder.table"
    good = table.read_bytes()
    train_bpe(documents[:20], 390, "cl100k").save(tmp_path / "other")
    data = change(good, (tmp_path / "other/encoder.table").read_bytes())
    table.unlink()
    if data is not None:
        assert data != good
        table.write_bytes(data)
        pattern, sha256 = "cl100k", json.loads((folder / "meta.json").read_text())["sha256"]
        assert storage.read_table(folder, pattern, sha256) is None
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode(tokenizer.encode_ordinary(documents[0])) == documents[0]
    assert table.read_bytes() == good


def test_a_tokenizer_loads_where_no_table_can_be_written(folder, documents):
    (folder / "encoder.table").unlink()
    (folder / "encoder.table").mkdir()  # no rename replaces a folder by a file
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode(tokenizer.encode_ordinary(documents[0])) == documents[0]
    assert sorted(os.listdir(folder)) == [
        "encoder.table",
        "meta.json",
        "ranks.tiktoken",
        "tokenizer.json",
    ]


def swap_two_tokens(folder):
    lines = (folder / "ranks.tiktoken").read_bytes().splitlines()
    tokens = [line.split()[0] for line in lines]
    tokens[300], tokens[301] = tokens[301], tokens[300]
    (folder / "ranks.tiktoken").write_bytes(
        b"".join(b"%s %d\n" % (token, i) for i, token in enumerate(tokens))
    )


def cut_ranks(folder):
    data = (folder / "ranks.tiktoken").read_bytes()
    (folder / "ranks.tiktoken").write_bytes(data[: len(data) // 2])


def repeat_a_token(folder):
    with open(folder / "ranks.tiktoken", "ab") as file:
        file.write(base64.b64encode(b"a") + b" 399\n")


DAMAGE = {
    "ranks-swapped": (swap_two_tokens, "does not belong to meta.json"),
    "ranks-cut": (cut_ranks, r"ranks\.tiktoken"),
    "ranks-missing": (
        lambda folder: (folder / "ranks.tiktoken").unlink(),
        "ranks.tiktoken: missing",
    ),
    "token-twice": (repeat_a_token, "is there already, with rank 97"),
    "json-changed": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "changed since it was written",
    ),
    "meta-missing": (
        lambda folder: (folder / "meta.json").unlink(),
        "no meta.json, so no finished tokenizer",
    ),
    "meta-cut": (lambda folder: (folder / "meta.json").write_text('{"format":'), "not JSON"),
    "meta-foreign": (
        lambda folder: edit_meta(folder, format="another"),
        "not a «snakelm tokenizer» of version 1",
    ),
    "meta-newer": (lambda folder: edit_meta(folder, version=2), "of version 1"),
    "meta-field": (
        lambda folder: edit_meta(folder, pattern=None),
        "pattern: input should be a valid string",
    ),
    "meta-not-an-object": (
        lambda folder: (folder / "meta.json").write_text("[]"),
        "meta.json: found a list, expected an object",
    ),
    "meta-nested": (lambda folder: (folder / "meta.json").write_text("[" * 10**5), "too deeply"),
    "meta-id-a-string": (
        lambda folder: edit_meta(folder, special_tokens={EOT: "399"}),
        r"special_tokens\.<\|endoftext\|>: input should be a valid integer",
    ),
    "meta-unused-strings": (
        lambda folder: edit_meta(folder, unused_ids=["3"]),
        r"unused_ids\.0: input should be a valid integer",
    ),
    "meta-size-true": (lambda folder: edit_meta(folder, vocab_size=True), "vocab_size: input"),
    "other-pattern": (
        lambda folder: edit_meta(folder, pattern="gpt2"),
        "does not belong to meta.json",
    ),
    "other-special": (
        lambda folder: edit_meta(folder, special_tokens={EOT: 500}),
        "does not belong to meta.json",
    ),
    "other-size": (lambda folder: edit_meta(folder, vocab_size=401), "found 400 ids"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_does_not_verify_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message):
        Tokenizer.load(folder)


def test_a_path_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="no tokenizer here; run train_tokenizer"):
        Tokenizer.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"YQ== 0 1\n", ":1: found b'YQ== 0 1'"),
        (b"YQ== 0\n\xff\xff 1\n", ":2: found"),
        (b"YQ== 0\nYg== x\n", ":2: found"),
        (b"YQ== -1\n", "rank -1"),
        (b"YQ== 99999999999\n", "rank below"),
        (b"YQ== 0\nYg== 0\n", "given to two tokens"),
        (b"YQ== 0\nYg== 1\n", "no token for byte 0"),
    ],
    ids=[
        "empty",
        "three-fields",
        "not-base64",
        "not-a-number",
        "negative",
        "huge",
        "same-rank",
        "missing-bytes",
    ],
)
def test_a_ranks_file_that_is_none_says_where(tmp_path, content, message):
    (tmp_path / "x.tiktoken").write_bytes(content)
    with pytest.raises(UserError, match=message):
        Tokenizer.from_tiktoken(tmp_path / "x.tiktoken", "gpt2")


def test_a_save_that_breaks_off_leaves_no_tokenizer_that_loads(folder, monkeypatch):
    tokenizer = train_bpe(["abab"], 258)

    def fail(path, value):
        raise OSError("pulled the plug")

    monkeypatch.setattr("snakelm.tokenizer.storage.write_json", fail)
    with pytest.raises(UserError, match=r"can be saved there \(pulled the plug\)"):
        tokenizer.save(folder)
    with pytest.raises(UserError, match="no finished tokenizer"):
        Tokenizer.load(folder)


def test_a_full_disk_is_not_taken_for_a_wrong_name(folder, monkeypatch):
    def fail(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("snakelm.tokenizer.storage.write_json", fail)
    with pytest.raises(OSError, match="No space left"):
        train_bpe(["abab"], 258).save(folder)


def test_a_place_where_nothing_can_be_saved_says_so(folder):
    with pytest.raises(UserError, match=r"meta\.json: no tokenizer can be saved there .* another"):
        Tokenizer.load(folder).save(folder / "meta.json")
