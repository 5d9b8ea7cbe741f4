"""A shard's bytes are the same on any number of threads, and however often it was interrupted."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snakelm.config import from_mapping
from snakelm.data.bins import open_bin
from snakelm.data.split import document_ids, validation_threshold
from snakelm.data.tokens import shards
from snakelm.data.tokens.ahead import ahead
from snakelm.data.tokens.journal import Journal
from snakelm.data.tokens.shards import prepare_shard
from snakelm.errors import DiskFullError, UserError
from snakelm.log import Log
from snakelm.tokenizer import Tokenizer, train_bpe

ROOT = Path(__file__).resolve().parents[4]
GROUPS, OF_A_GROUP = 12, 25
FILES = ("train-0.bin", "train-0.idx", "val-0.bin", "val-0.idx")


def write_documents(path: Path, seed: int = 0) -> None:
    """Short texts, empty ones and one of 300 kB, in row groups, as deduplicate writes them."""
    random_ = random.Random(seed)
    words = ["water", " stone", "\n\n", "né", "漢字", " 1234", "'s", " a"]
    texts = [
        "".join(random_.choices(words, k=random_.randrange(80))) for _ in range(GROUPS * OF_A_GROUP)
    ]
    texts[40] = " long text" * 30_000
    table = pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            "source": ["a"] * len(texts),
            "id": document_ids(text.encode() + b"%d" % i for i, text in enumerate(texts)),
        }
    )
    pq.write_table(table, path, row_group_size=OF_A_GROUP, write_page_checksum=True)


def settings(**prepare):
    source = {"path": "a.parquet", "name": "a", "weight": 1.5}
    return from_mapping({"sources": [source], "prepare": {"val_fraction": 0.2, **prepare}})


def run(folder: Path, output: Path, threads: int = 1, **more) -> dict[str, bytes]:
    with Log("prepare_shard", folder / "log") as log:
        prepare_shard(
            more.get("documents", folder / "documents.parquet"),
            more.get("tokenizer") or Tokenizer.load(folder / "tokenizer"),
            more.get("config") or settings(),
            shard=0,
            of=1,
            output=output,
            threads=threads,
            log=log,
        )
    return {name: (output / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_documents(folder / "documents.parquet")
    train_bpe(["water stone a long text"] * 9, 270, "gpt2").save(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def expected(made) -> dict[str, bytes]:
    return run(made, made / "expected")


def interrupt(made: Path, output: Path, after: int, monkeypatch, error=KeyboardInterrupt) -> None:
    """A run that ends with ``error`` behind its ``after``-th group."""
    commit, left = Journal.commit, [after]

    def counted(self, writers):
        if not left[0]:
            raise error
        left[0] -= 1
        commit(self, writers)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "commit", counted)
        with pytest.raises(error if isinstance(error, type) else type(error)):
            run(made, output)


def went_on_behind(made: Path) -> int:
    for line in (made / "log").read_text().splitlines():
        if "going on behind row group" in line:
            return int(line.split("row group ")[1].split()[0])
    return 0


@pytest.mark.parametrize("threads", [2, 5])
def test_the_bytes_do_not_depend_on_the_number_of_threads(made, expected, tmp_path, threads):
    assert run(made, tmp_path, threads) == expected
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)
    assert open_bin(tmp_path / "val-0.bin").meta.documents > 20


KILLS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_shards
from snakelm.data.tokens.journal import Journal

made, output = Path(sys.argv[2]), Path(sys.argv[3])
commit = Journal.commit
for place, threads in (map(int, word.split(":")) for word in sys.argv[4:]):
    left = [place // 2]
    def counted(self, writers):
        if left[0] == 0 and place % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(self, writers)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
    child = os.fork()
    if child == 0:
        Journal.commit = counted
        test_shards.run(made, output, threads)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
print(test_shards.run(made, output).keys(), test_shards.went_on_behind(made))
"""


def killed(made: Path, output: Path, places: list[tuple[int, int]]) -> int:
    """Kills one run after the other at its n-th commit (before it for even places, behind it for
    odd ones) and lets the last one finish; behind which group that one went on.
    """
    given = [f"{place}:{threads}" for place, threads in places]
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", KILLS, here, made, output, *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_kills_cost_the_group_at_work_and_change_no_byte(made, expected, tmp_path):
    places = [(0, 1), (3, 2), (4, 1), (0, 2)]  # of which 0, 2, 2 and 0 groups were finished
    assert killed(made, tmp_path, places) == 4
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == expected
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)


@pytest.mark.long
def test_two_hundred_kills_change_no_byte(made, expected, tmp_path):
    """pytest -m long tests/snakelm/data/tokens"""
    random_ = random.Random(0)
    for i in range(50):
        places = [(random_.randrange(6), random_.choice([1, 2])) for _ in range(4)]
        killed(made, tmp_path / str(i), places)
        assert {name: (tmp_path / str(i) / name).read_bytes() for name in FILES} == expected


def cut_journal(folder: Path) -> None:
    file = folder / "journal"
    file.write_bytes(file.read_bytes()[:-5])


def flip(folder: Path, name: str, place: int) -> None:
    data = bytearray((folder / name).read_bytes())
    data[place] ^= 4
    (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "groups"),
    [
        (lambda folder: None, 5),
        (cut_journal, 4),
        (lambda folder: flip(folder, "journal", -40), 4),
        (lambda folder: flip(folder, "journal", 12), 0),
        (lambda folder: flip(folder, "train-0.bin", 100), 0),
        (lambda folder: flip(folder, "val-0.documents", 9), 0),
        (lambda folder: (folder / "val-0.bin").unlink(), 0),
        (lambda folder: os.truncate(folder / "train-0.bin", 1000), 0),
        (lambda folder: (folder / "journal").write_bytes(b"\xff\n\n"), 0),
        (lambda folder: os.truncate(folder / "train-0.bin", 1 << 20), 5),
    ],
    ids=[
        *("sound", "line cut off", "last line damaged", "first line damaged", "token flipped"),
        *("document flipped", "bin missing", "bin cut off", "no journal", "unfinished group"),
    ],
)
def test_what_is_left_is_verified(made, expected, tmp_path, monkeypatch, damage, groups):
    interrupt(made, tmp_path, 5, monkeypatch)
    damage(tmp_path / ".shard-0")
    assert run(made, tmp_path) == expected
    assert went_on_behind(made) == groups
    assert sorted(os.listdir(tmp_path)) == sorted(FILES)


def test_what_other_inputs_left_is_thrown_away(made, expected, tmp_path, monkeypatch):
    write_documents(tmp_path / "other.parquet", seed=1)
    changes = {
        "documents": tmp_path / "other.parquet",
        "tokenizer": train_bpe(["water of stones"] * 9, 265, "gpt2"),
        "config": settings(token_bits="32"),
    }
    for name, value in changes.items():
        output = tmp_path / name
        interrupt(made, output, 5, monkeypatch)
        found = run(made, output, **{name: value})
        assert went_on_behind(made) == 0
        assert found == run(made, tmp_path / "fresh", **{name: value}) != expected


def test_one_process_at_a_time_has_a_shard(made, tmp_path):
    with (
        Journal(tmp_path / ".shard-0", {}),
        pytest.raises(UserError, match="another process is at work on this shard"),
    ):
        run(made, tmp_path)


@pytest.mark.parametrize(
    ("error", "stays"), [(DiskFullError("full"), True), (UserError("mistake"), False)]
)
def test_a_full_disk_keeps_what_is_done_and_a_mistake_nothing(
    made, expected, tmp_path, monkeypatch, error, stays
):
    interrupt(made, tmp_path, 5, monkeypatch, error)
    assert os.listdir(tmp_path) == ([".shard-0"] if stays else [])
    assert run(made, tmp_path) == expected
    assert went_on_behind(made) == (5 if stays else 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_damaged_in_its_middle_says_where(made, tmp_path, threads):
    damaged, good = tmp_path / "damaged.parquet", (made / "documents.parquet").read_bytes()
    damaged.write_bytes(good[: len(good) // 2] + b"\0" * 100 + good[len(good) // 2 + 100 :])
    with pytest.raises(UserError, match="damaged"):
        run(made, tmp_path / "out", threads, documents=damaged)
    damaged.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match="damaged"):
        run(made, tmp_path / "out", threads, documents=damaged)
    assert not list((tmp_path / "out").glob("**/*"))


@pytest.mark.long
def test_a_document_of_100_mb(made, tmp_path):
    """pytest -m long tests/snakelm/data/tokens"""
    text = "some words of a long text, " * 4_000_000
    table = pa.table(
        {
            "text": pa.array([text, "a"], pa.large_string()),
            "source": ["a", "a"],
            "id": document_ids([text.encode(), b"a"]),
        }
    )
    pq.write_table(table, tmp_path / "documents.parquet")
    run(made, tmp_path / "out", 2, documents=tmp_path / "documents.parquet")
    sizes = [open_bin(tmp_path / "out" / f"{split}-0.bin").meta for split in ("train", "val")]
    assert sum(meta.documents for meta in sizes) in (2, 3)  # one may be trained on twice
    assert sum(meta.text_bytes for meta in sizes) >= len(text)


@pytest.mark.parametrize("threads", [1, 2])
def test_values_come_in_order_and_errors_in_their_place(threads):
    def values():
        yield from range(1, 5)
        raise ValueError("after four")

    with ahead(values(), threads) as coming:
        assert [next(coming) for _ in range(4)] == [1, 2, 3, 4]
        with pytest.raises(ValueError, match="after four"):
            next(coming)


def test_any_number_of_sources_may_meet_in_a_slice(made, tmp_path):
    """A hundred of them, with weights of their own."""
    texts = [f"water {i} stone" for i in range(1000)]
    names = [f"s{i % 100}" for i in range(1000)]
    table = pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            "source": names,
            "id": document_ids(text.encode() for text in texts),
        }
    )
    pq.write_table(table, tmp_path / "documents.parquet", write_page_checksum=True)
    sources = [{"path": f"{i}.parquet", "name": f"s{i}", "weight": 1 + i % 3} for i in range(100)]
    config = from_mapping({"sources": sources, "prepare": {"val_fraction": 0.2}})
    run(made, tmp_path, documents=tmp_path / "documents.parquet", config=config)

    train, val = (open_bin(tmp_path / f"{split}-0.bin") for split in ("train", "val"))
    held_out = set(val.document_ids.tolist())
    numbers = table["id"].to_pylist()
    expected = sum(
        1 + int(name[1:]) % 3
        for name, number in zip(names, numbers, strict=True)
        if number not in held_out
    )
    assert train.meta.documents == expected


@pytest.mark.parametrize("fraction", [0.5, 0.2, 1e-9])
def test_the_threshold_is_that_of_all_documents(made, fraction, monkeypatch):
    """And no more of them are read than decide."""
    read = []

    def counted(path, columns):
        for batch in read_documents(path, columns):
            read.append(batch.column("id").to_numpy())
            yield batch

    read_documents = shards.read_documents
    monkeypatch.setattr(shards, "read_documents", counted)
    config = settings(val_fraction=fraction)
    found = shards._threshold(made / "documents.parquet", config)
    groups = len(read)
    every = pq.read_table(made / "documents.parquet", columns=["id"])["id"].to_numpy()
    assert found == validation_threshold(every, fraction, config.seed)
    assert groups == (1 if fraction > 0.1 else GROUPS)
