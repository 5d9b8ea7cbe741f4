"""The token files' format: what is written is read back, and nothing damaged, foreign or half-done
is accepted.
"""

import errno
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from snakelm._text import crc32
from snakelm.data import bin_index
from snakelm.data.bin_index import HEADER, MAGIC, PLAIN
from snakelm.data.bins import (
    BinWriter,
    Meta,
    checked_index,
    idx_path,
    open_bin,
    token_dtype,
    verified_chunks,
)
from snakelm.data.tokens.prepare import gather
from snakelm.errors import DiskFullError, UserError
from snakelm.files import sha256_file
from snakelm.tokenizer import storage

ROOT = Path(__file__).resolve().parents[3]
SHA = "ab" * 32


def meta(vocab: int = 300, **more) -> Meta:
    return Meta(
        dtype=token_dtype(vocab), vocab_size=vocab, eot=vocab - 1, tokenizer_sha256=SHA, **more
    )


def documents(n: int, vocab: int = 300, seed: int = 0) -> list[np.ndarray]:
    random_ = np.random.default_rng(seed)
    return [
        np.r_[vocab - 1, random_.integers(0, vocab - 1, random_.integers(0, 50))] for _ in range(n)
    ]


def write(path, docs, m=None, expected=0) -> Path:
    with BinWriter(path, m or meta(), expected) as writer:
        for i, doc in enumerate(docs):
            writer.append(doc, np.array([doc.size]), np.array([i], np.uint64), doc.size - 1)
    return path


@pytest.mark.parametrize("vocab", [300, 65_535, 70_000], ids="vocab={}".format)
@pytest.mark.parametrize("expected", [0, 10_000], ids=["unreserved", "reserved"])
def test_written_documents_are_read_back(tmp_path, vocab, expected):
    docs = documents(40, vocab)
    b = open_bin(write(tmp_path / "a.bin", docs, meta(vocab), expected), SHA)
    assert [b.document(i).tolist() for i in range(40)] == [d.tolist() for d in docs]
    assert b.tokens.dtype.itemsize == (2 if vocab <= 65_535 else 4)
    assert b.document_ids.tolist() == list(range(40))
    assert b.meta.max_token == vocab - 1
    assert b.meta.text_bytes == sum(d.size - 1 for d in docs)
    assert not b.tokens.flags.writeable


def test_tokens_in_several_arrays_give_the_bytes_of_one(tmp_path):
    """The arrays end anywhere in documents and chunks."""
    docs = documents(40)
    tokens, lengths = np.concatenate(docs), np.array([d.size for d in docs])
    files = []
    for name, parts in (("one", [tokens]), ("several", np.split(tokens, [0, 1, 333, 334]))):
        with BinWriter(tmp_path / f"{name}.bin", meta(chunk_bytes=64)) as writer:
            writer.append_parts(parts, lengths, np.arange(40, dtype=np.uint64), 7)
        files.append((tmp_path / f"{name}.bin", idx_path(tmp_path / f"{name}.bin")))
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]
    assert open_bin(files[1][0], SHA).tokens.tolist() == tokens.tolist()


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_what_the_system_writes_in_part_is_written_to_its_end(tmp_path, monkeypatch, most):
    """Calls that write no more than some bytes."""
    written = []

    class Slow(io.FileIO):
        def write(self, data):
            written.append(len(data))
            return super().write(data[:most])

    monkeypatch.setattr(
        BinWriter, "_open_tokens", lambda self, stack: stack.enter_context(Slow(self._bin, "r+"))
    )
    tokens = np.arange(200, dtype=np.uint16)
    with BinWriter(tmp_path / "a.bin", meta()) as writer:
        writer.append_parts(np.split(tokens, 50), np.array([200]), np.array([5], np.uint64), 7)
    assert len(written) == -(-400 // most)
    assert open_bin(tmp_path / "a.bin").tokens.tolist() == tokens.tolist()


@pytest.mark.parametrize("wanted", [True, False])
def test_chunks_are_verified_in_parts(tmp_path, monkeypatch, wanted):
    """Parts end inside chunks, and a chunk with them."""
    monkeypatch.setattr("snakelm.data.bins.READ_BYTES", 24)
    docs = documents(60)
    path = write(tmp_path / "a.bin", docs, meta(chunk_bytes=64))
    index = checked_index(PLAIN, path, SHA)
    read = verified_chunks(path, index.meta, index.crcs, "again", wanted)
    found = [token for chunk in read for token in chunk.tolist()]
    assert found == (np.concatenate(docs).tolist() if wanted else [])

    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
        with pytest.raises(UserError, match=f"damaged between bytes {place // 64 * 64} and "):
            list(verified_chunks(path, index.meta, index.crcs, "again", wanted))
    for size in (0, 1, 63, 64, 65, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(UserError, match=f"damaged between bytes {size // 64 * 64} and "):
            list(verified_chunks(path, index.meta, index.crcs, "again", wanted))


def test_a_plain_memmap_reads_the_tokens(tmp_path):
    docs = documents(10)
    path = write(tmp_path / "a.bin", docs)
    assert np.memmap(path, np.uint16, "r").tolist() == np.concatenate(docs).tolist()


def test_the_format_of_plain_files_stays_as_it_is(tmp_path):
    """Files already written must be read, and a rerun must give their bytes: both are of the first
    release.
    """
    more = {
        "inputs": {"documents.parquet": "cd" * 32},
        "weights": {"docs": 1.5},
        "part": [0, 2],
        "config_hash": "c",
    }
    path = write(tmp_path / "a.bin", documents(40), meta(**more))
    assert sha256_file(path) == "9aedb48754057f5ac9597be966e5a88dd8f189e0e3289bf6dba715ad02130ff9"
    assert (
        sha256_file(idx_path(path))
        == "7013514dc397a688c54158c64c1bc0514d95c68925f00388d19ab79ba0fc9d49"
    )


def test_several_chunks_each_have_a_checksum(tmp_path):
    path = write(tmp_path / "a.bin", documents(60), meta(chunk_bytes=64))
    open_bin(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        UserError, match=f"damaged between bytes {len(data) // 64 * 64} and {len(data)}"
    ):
        open_bin(path)


@pytest.mark.parametrize("kept", [0, 1, 7, 20])
def test_another_writer_takes_over_where_one_ended(tmp_path, kept):
    """In the middle of a chunk or between two; what came behind the point is cut off."""
    docs, path, partial = documents(20), tmp_path / "a.bin", tmp_path / "partial"
    expected = write(tmp_path / "expected.bin", docs, meta(chunk_bytes=64))
    partial.mkdir()

    def add(writer, first):
        points = [writer.written()]
        for i, doc in enumerate(docs[first:], first):
            writer.append(doc, np.array([doc.size]), np.array([i], np.uint64), doc.size - 1)
            points.append(writer.written())
        return points

    with (
        suppress(KeyboardInterrupt),
        BinWriter(path, meta(chunk_bytes=64), partial=partial) as writer,
    ):
        points = add(writer, 0)
        raise KeyboardInterrupt
    with BinWriter(path, meta(chunk_bytes=64), partial=partial) as writer:
        assert writer.restore(points[kept])
        add(writer, kept)
    assert path.read_bytes() == expected.read_bytes()
    assert idx_path(path).read_bytes() == idx_path(expected).read_bytes()


def test_an_empty_bin_is_sound(tmp_path):
    b = open_bin(write(tmp_path / "a.bin", []))
    assert (b.tokens.size, b.document_offsets.tolist()) == (0, [0])


@pytest.mark.parametrize("token", [300, 70_000, -1])
def test_tokens_outside_the_vocabulary_never_wrap(tmp_path, token):
    with pytest.raises(UserError, match=f"token id {token}, expected 0 to 299"):
        write(tmp_path / "a.bin", [np.array([299, token])])
    assert os.listdir(tmp_path) == []


def test_sixteen_bits_refuse_a_vocabulary_over_65535():
    assert token_dtype(65_535, "16") == "uint16"
    assert token_dtype(65_536) == "uint32"
    with pytest.raises(UserError, match="say 32 or auto"):
        token_dtype(65_536, "16")


def _truncate(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size - size)


DAMAGE = {
    "no idx": (lambda p: idx_path(p).unlink(), "idx: missing"),
    "no bin": (lambda p: p.unlink(), "bin: missing"),
    "one token short": (lambda p: _truncate(p, 2), r"truncated or overwritten"),
    "one token more": (
        lambda p: p.write_bytes(p.read_bytes() + b"\0\0"),
        r"truncated or overwritten",
    ),
    "one byte short": (lambda p: _truncate(p, 1), r"truncated or overwritten"),
    "emptied bin": (lambda p: p.write_bytes(b""), r"truncated or overwritten"),
    "emptied idx": (lambda p: idx_path(p).write_bytes(b""), "not an index of tokens"),
    "idx short": (lambda p: _truncate(idx_path(p), 4), "damaged"),
    "another idx": (lambda p: idx_path(p).write_text("{}" * 40), "not an index of tokens"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(tmp_path, name):
    path = write(tmp_path / "a.bin", documents(20))
    damage, message = DAMAGE[name]
    damage(path)
    with pytest.raises(UserError, match=message):
        open_bin(path)


def edit_description(path: Path, **changes) -> None:
    """Changes the JSON of an idx and makes its checksum right again."""
    data = idx_path(path).read_bytes()[:-4]
    length = HEADER.unpack_from(data)[2]
    start, end = HEADER.size, HEADER.size + length
    changed = json.dumps(json.loads(data[start:end]) | changes).encode()
    changed += b" " * (-(start + len(changed)) % 8)
    head = HEADER.pack(MAGIC, 1, len(changed))
    data = head + changed + data[end:]
    idx_path(path).write_bytes(data + struct.pack("<I", zlib.crc32(data)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": "20"}, "tokens: input should be a valid integer"),
        ({"eot": True}, "eot: input should be a valid integer"),
        ({"dtype": "float64"}, "dtype: input should be 'uint16' or 'uint32'"),
        ({"inputs": ["a"]}, "inputs: input should be an object"),
        ({"weights": {"a": None}}, r"weights\.a: input should be a valid number"),
        ({"part": 3}, "part: input should be a valid"),
        ({"chunk_bytes": 0}, "negative counts"),
        ({"documents": -1}, "negative counts"),
        ({"chunk_bytes": 3}, "chunks of 3 bytes, expected a multiple of 2"),
        ({"chunk_bytes": 1 << 62}, "chunks of 4611686018427387904 bytes"),
        ({"text_bytes": 10**400}, "counts beyond all that can be"),
        ({"tokens": 1 << 63}, "counts beyond all that can be"),
        ({"documents": 1 << 61}, "its checksum does not match"),
        ({"vocab_size": 1 << 60}, "a vocabulary of 1152921504606846976 tokens"),
        ({"vocab_size": 65_537}, "too many for uint16"),
        ({"eot": 300}, "end-of-text token 300, the vocabulary 300"),
        ({"eot": -1}, "end-of-text token -1"),
        ({"part": [3]}, r"part \[3\], expected its number and how many"),
        ({"part": [2, 2]}, r"part \[2, 2\]"),
        ({"weights": {"a": -1.0}}, "weights that are no numbers from 0 on"),
        ({"tokenizer_sha256": "\x1b[31m"}, "a tokenizer that is no SHA-256"),
        ({"text_bytes": float("nan")}, "NaN is not a JSON number"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_description_of_wrong_types_is_refused(tmp_path, changes, message):
    path = write(tmp_path / "a.bin", documents(20))
    edit_description(path)
    open_bin(path)
    edit_description(path, **changes)
    with pytest.raises(UserError, match=rf"a\.idx: .*{message}.*; run prepare_data again"):
        open_bin(path)


def test_a_number_that_is_infinite_in_json_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", documents(3), meta(weights={"a": 1.0}))
    _rewrite_idx(path, b'{"a": 1.0}', b'{"a":1e999}')
    with pytest.raises(UserError, match="weights that are no numbers from 0 on"):
        open_bin(path)


@pytest.mark.parametrize(
    "wrong", [2**63, 2**64 - 1, 2**63 + 7, 0], ids=["2^63", "2^64-1", "wraps", "falls"]
)
def test_offsets_that_wrap_are_refused(tmp_path, wrong):
    """As signed numbers, or by their differences, some of these would seem to rise."""
    path = write(tmp_path / "a.bin", documents(20))
    offsets = open_bin(path).document_offsets.astype("<u8")
    for place in (1, 7, 19):
        changed = offsets.copy()
        changed[place] = wrong
        good = idx_path(path).read_bytes()
        _rewrite_idx(path, offsets.tobytes(), changed.tobytes())
        with pytest.raises(UserError, match="document offsets don't rise"):
            open_bin(path)
        idx_path(path).write_bytes(good)


def test_an_index_with_any_wrong_byte_is_refused_or_harmless(tmp_path):
    """Its checksum made right each time: no other error, and nothing that can't be read after."""
    path = write(tmp_path / "a.bin", documents(20), meta(part=[0, 1], weights={"a": 1.0}))
    good, random_ = idx_path(path).read_bytes()[:-4], random.Random(0)
    for place in random_.sample(range(len(good)), 400):
        bad = bytearray(good)
        bad[place] = random_.choice(
            [0, 1, 0x7F, 0x80, 0xFF, ord("9"), ord("-"), random_.randrange(256)]
        )
        idx_path(path).write_bytes(bad + struct.pack("<I", zlib.crc32(bad)))
        try:
            opened = open_bin(path)
        except UserError:
            continue
        assert (
            sum(opened.document(i).size for i in range(opened.meta.documents)) == opened.tokens.size
        )


def test_vocabularies_are_bounded_as_ranks_are():
    assert bin_index.MOST_VOCABULARY == storage.MAX_RANK


def test_every_flipped_bit_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", documents(20))
    random_ = random.Random(0)
    for file in (path, idx_path(path)):
        good = file.read_bytes()
        for bit in random_.sample(range(8 * len(good)), 250):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bad)
            with pytest.raises(UserError):
                open_bin(path)
        file.write_bytes(good)
    open_bin(path)


def test_every_truncation_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", documents(20))
    random_ = random.Random(0)
    for file in (path, idx_path(path)):
        good = file.read_bytes()
        for size in random_.sample(range(len(good)), 100):
            file.write_bytes(good[:size])
            with pytest.raises(UserError):
                open_bin(path)
        file.write_bytes(good)


def test_a_foreign_tokenizer_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", documents(3))
    open_bin(path, SHA)
    with pytest.raises(
        UserError, match="made with tokenizer abababababab…, this one is cdcdcdcdcdcd"
    ):
        open_bin(path, "cd" * 32)


def _rewrite_idx(path: Path, old: bytes, new: bytes) -> None:
    """An idx whose checksums are right and whose content is wrong."""
    body = idx_path(path).read_bytes()[:-4].replace(old, new)
    idx_path(path).write_bytes(body + struct.pack("<I", zlib.crc32(body)))


def test_a_token_beyond_the_vocabulary_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", documents(3))
    _rewrite_idx(path, b'"vocab_size": 300', b'"vocab_size": 200')
    with pytest.raises(UserError, match="largest token 299, the vocabulary has 200"):
        open_bin(path)


def test_a_later_version_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", documents(3))
    _rewrite_idx(path, b"SNKTOKEN\1", b"SNKTOKEN\2")
    with pytest.raises(UserError, match="version 2, this program reads 1"):
        open_bin(path)


def _shards(folder: Path, n: int, docs: list[np.ndarray]) -> list[Path]:
    cuts = [i * len(docs) // n for i in range(n + 1)]
    paths = []
    for i in range(n):
        path = folder / f"train-{i}-of-{n}.bin"
        with BinWriter(path, meta(part=[i, n], config_hash="c")) as writer:
            for j in range(cuts[i], cuts[i + 1]):
                writer.append(
                    docs[j], np.array([docs[j].size]), np.array([j], np.uint64), docs[j].size - 1
                )
        paths.append(path)
    return paths


@pytest.mark.parametrize("n", [1, 2, 3, 7, 25])
def test_gather_gives_the_same_bytes_for_any_number_of_shards(tmp_path, n):
    docs = documents(20)
    complete = write(tmp_path / "complete.bin", docs, meta(config_hash="c"))
    gather(reversed(_shards(tmp_path, n, docs)), tmp_path / "train.bin", SHA, "c")
    assert (tmp_path / "train.bin").read_bytes() == complete.read_bytes()
    assert (tmp_path / "train.idx").read_bytes() == idx_path(complete).read_bytes()


def test_a_single_shard_is_linked_and_where_that_fails_copied(tmp_path, monkeypatch):
    (shard,) = _shards(tmp_path, 1, documents(20))
    train = tmp_path / "train.bin"
    for _ in range(2):  # the second finds its own file under the name
        gather([shard], train, SHA, "c")
        assert train.samefile(shard)
    linked = [path.read_bytes() for path in (train, idx_path(train))]

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    gather([shard], train, SHA, "c")
    assert not train.samefile(shard)
    assert [path.read_bytes() for path in (train, idx_path(train))] == linked
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_single_shard_is_refused_and_the_old_bin_stays(tmp_path):
    (shard,) = _shards(tmp_path, 1, documents(20))
    train = write(tmp_path / "train.bin", documents(5))
    before = train.read_bytes()
    data = bytearray(shard.read_bytes())
    data[7] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"damaged between bytes 0 and .*run prepare_shard again"):
        gather([shard], train, SHA, "c")
    assert train.read_bytes() == before
    open_bin(train)


@pytest.mark.parametrize("folding", [True, False], ids=["products", "tables"])
def test_the_cores_checksum_is_zlibs(folding):
    data = np.random.default_rng(0).bytes(5000)
    for length in [*range(200), 255, 256, 257, 1023, 4096, 4999]:
        for first, before in ((0, 0), (1, 0xFFFF_FFFF), (13, 0x1234_5678)):
            part = memoryview(data)[first : first + length]
            assert crc32(part, before, folding) == zlib.crc32(part, before)
    assert crc32(np.arange(999, dtype=np.uint16), 5) == zlib.crc32(np.arange(999, dtype="<u2"), 5)
    with pytest.raises(ValueError, match="contiguous"):
        crc32(memoryview(data)[::2])


def test_gather_refuses_missing_repeated_and_foreign_shards(tmp_path):
    shards = _shards(tmp_path, 3, documents(9))
    out = tmp_path / "train.bin"
    with pytest.raises(UserError, match="found shards 0 of 3, 2 of 3; expected each of 0 to 2"):
        gather([shards[0], shards[2]], out, SHA, "c")
    with pytest.raises(UserError, match="expected each of 0 to 2"):
        gather([*shards, shards[1]], out, SHA, "c")
    with pytest.raises(UserError, match="made from another config"):
        gather(shards, out, SHA, "d")
    with pytest.raises(UserError, match="made with tokenizer"):
        gather(shards, out, "cd" * 32, "c")
    with pytest.raises(UserError, match="no shards"):
        gather([], out, SHA, "c")
    assert not out.exists()


def test_an_error_while_writing_leaves_the_old_bin_in_force(tmp_path):
    path = write(tmp_path / "a.bin", documents(5))
    before = path.read_bytes()
    with pytest.raises(UserError, match="token id 300"):
        write(path, [*documents(5), np.array([300])])
    assert path.read_bytes() == before
    open_bin(path)
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.idx"]


WRITER = """
import sys, numpy as np
from pathlib import Path
from snakelm.data.bins import BinWriter, Meta
path, size, expected = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("start", flush=True)
tokens = np.random.default_rng(0).integers(0, 300, 1 << 16)
tokens[0] = 299
while True:
    with BinWriter(path, Meta("uint16", 300, 299, "ab" * 32), expected) as writer:
        for i in range(size):
            writer.append(tokens, np.array([tokens.size]), np.array([i], np.uint64), tokens.size)
    print("written", flush=True)
    if expected or size > 100: break
"""


def test_killed_writers_leave_no_accepted_part(tmp_path):
    """kill -9 at random moments, over an older bin: what is accepted afterwards is always the
    complete.
    """
    path, random_, refused = tmp_path / "a.bin", random.Random(1), 0
    command = [sys.executable, "-c", WRITER, path, "20"]
    subprocess.run([*command, str(20 << 16)], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    reference = open_bin(path).tokens.tobytes()

    for _ in range(20):
        with subprocess.Popen([*command, "0"], cwd=ROOT, stdout=subprocess.PIPE) as process:
            started = process.stdout.readline()  # past its imports: the kill lands in the writing
            time.sleep(random_.random() * 0.1)
            process.send_signal(signal.SIGKILL)
        assert started == b"start\n"
        try:
            assert open_bin(path).tokens.tobytes() == reference
        except UserError:
            refused += 1
    assert refused < 20  # most kills fall between two commits


def _limited(path: Path, limit: int, expected: int) -> subprocess.CompletedProcess:
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" + WRITER
    )
    return subprocess.run(
        [sys.executable, "-c", code, path, "200", str(expected)], cwd=ROOT, capture_output=True
    )


@pytest.mark.parametrize("expected", [0, 200 << 16], ids=["unreserved", "reserved"])
@pytest.mark.parametrize("limit", [1, 4097, 17 << 20])
def test_no_room_is_one_clear_error_and_the_old_bin_stays(tmp_path, limit, expected):
    path = write(tmp_path / "a.bin", documents(5))
    done = _limited(path, limit, expected)
    assert b"DiskFullError" in done.stderr
    assert b"disk full" in done.stderr
    open_bin(path)
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.idx"]


def test_disk_full_is_a_user_error():
    assert issubclass(DiskFullError, UserError)
