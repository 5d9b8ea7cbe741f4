"""final_model.pt: the same bytes for the same model, nothing but plain types, errors that say what
to do.
"""

import os
import pickle
import random
import zipfile

import pytest
import torch

from snakelm.config import Model
from snakelm.errors import UserError
from snakelm.model import Decoder, load_model, save_model

TINY = Model(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, hidden=24, context=8)


@pytest.fixture
def model():
    return Decoder(TINY, 31).initialize(torch.Generator().manual_seed(0))


def write(path, model):
    save_model(path, model, tokenizer_sha256="ab" * 32, step=7, fingerprint="f" * 16)
    return path


def test_comes_back_as_it_was(tmp_path, model):
    loaded, record = load_model(write(tmp_path / "m.pt", model))
    assert record["tokenizer"] == {"sha256": "ab" * 32, "vocab_size": 31}
    assert (record["step"], record["fingerprint"], loaded.shape) == (7, "f" * 16, TINY)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name


def test_bytes_depend_on_the_model_alone(tmp_path, model):
    (tmp_path / "elsewhere").mkdir()
    a = write(tmp_path / "one.pt", model).read_bytes()
    assert a == write(tmp_path / "elsewhere/other_name.pt", model).read_bytes()


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_model_file_is_refused_and_not_run(tmp_path, model):
    canary = tmp_path / "executed"
    path = tmp_path / "m.pt"
    torch.save({"format": "snakelm-model", "version": 1, "weights": Canary(canary)}, path)
    with pytest.raises(UserError, match="refused"):
        load_model(path)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))  # noqa: S301 - the canary does sing when it is run
    assert canary.exists()


def repack(path, compression=zipfile.ZIP_STORED, **replaced):
    """The zip written anew; ``replaced``: what `pickle` becomes instead."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            change = replaced.get("pickle") if name.endswith("data.pkl") else None
            archive.writestr(name, change(data) if change else data)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_file_is_refused_unopened(tmp_path, model, monkeypatch, compression):
    path = write(tmp_path / "m.pt", model)
    repack(path)
    load_model(path)
    repack(path, compression)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(
        UserError, match=r"m\.pt: refused: compressed, [\d,]+ bytes unpack to [\d,]+"
    ):
        load_model(path)


def test_entries_that_share_their_bytes_are_refused_unopened(tmp_path, model, monkeypatch):
    """A directory may name the same megabyte a thousand times."""
    path = write(tmp_path / "m.pt", model)
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist += [archive.getinfo("archive/data/0")] * 1000
        archive._didModify = True
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match="compressed"):
        load_model(path)


class Bytes:
    def __reduce__(self):
        return bytearray, (10**11,)


def test_what_a_pickle_builds_beside_tensors_is_refused_unopened(tmp_path, model, monkeypatch):
    path = write(tmp_path / "m.pt", model)
    repack(path, pickle=lambda data: pickle.dumps({"format": Bytes()}, protocol=2))
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match=r"m\.pt: refused: .* bytearray\)"):
        load_model(path)


def test_a_size_that_its_storage_has_not_is_refused(tmp_path, model):
    path = write(tmp_path / "m.pt", model)

    def enlarged(data):
        assert b"K\x1fK\x10" in data, "31 rows of 16"
        return data.replace(b"K\x1fK\x10", b"J\x00\xca\x9a\x3bK\x10", 1)

    repack(path, pickle=enlarged)
    with pytest.raises(UserError, match="can't be read"):
        load_model(path)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"width": 65_536, "hidden": 1_000_000, "layers": 200}, r"found size \(31, 16\), expected"),
        ({"layers": 3}, r"layers\.1\.attention_norm: found none, expected size \(16,\)"),
        ({"context": 2**20, "head_dim": 512}, r"context: found 1,048,576, allowed .* are 262,144"),
        ({"kv_heads": 3, "heads": 4}, r"model\.kv_heads: 3 does not divide"),
        ({"head_dim": 7}, "is odd"),
    ],
    ids=["large", "more layers", "long", "heads", "odd"],
)
def test_a_shape_larger_than_the_file_is_refused(tmp_path, model, said, expected):
    path = write(tmp_path / "m.pt", model)
    record = torch.load(path, weights_only=True)
    record["model"] |= said
    torch.save(record, path)
    with pytest.raises(UserError, match=expected):
        load_model(path)


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # torch, of a damaged name
def test_no_damage_is_more_than_an_error(tmp_path, model, count):
    """Bytes of the file, and of the pickle inside a sound zip."""
    path, chance = write(tmp_path / "m.pt", model), random.Random(count)
    sound = path.read_bytes()

    def damaged(data):
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)

    refused = 0
    for i in range(count):
        path.write_bytes(sound if i % 2 else damaged(sound))
        if i % 2:
            repack(path, pickle=damaged)
        try:
            load_model(path)
        except UserError:
            refused += 1
    assert refused > count / 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be read"),
        (b"hello", "refused|can't be read"),
        (b"PK\x03\x04 cut", "can't be read"),
    ],
    ids=["empty", "text", "torn_zip"],
)
def test_what_is_no_model_is_refused(tmp_path, content, says):
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        load_model(path)


def test_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="train a model first"):
        load_model(tmp_path / "m.pt")


def test_weights_of_another_shape_are_refused(tmp_path, model):
    path = write(tmp_path / "m.pt", model)
    record = torch.load(path, weights_only=True)
    record["model"]["width"] = 24
    torch.save(record, path)
    with pytest.raises(UserError, match="don't fit"):
        load_model(path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("tokenizer", {}, r"tokenizer\.sha256: field required; damaged"),
        ("tokenizer", {"sha256": "ab", "vocab_size": "31"}, r"tokenizer\.vocab_size: input should"),
        (
            "tokenizer",
            {"sha256": "ab", "vocab_size": 2**70},
            r"tokenizer\.vocab_size: input should",
        ),
        ("tokenizer", {"sha256": "ab", "vocab_size": 2**31 - 1}, "don't fit the shape"),
        ("weights", {"norm": 3}, r"weights\.norm: input should be an instance of tensor"),
        ("step", None, "step: input should be a valid integer"),
    ],
    ids=["no_sha256", "text", "huge", "large", "no_tensor", "no_step"],
)
def test_a_damaged_record_says_where(tmp_path, model, key, value, says):
    path = write(tmp_path / "m.pt", model)
    torch.save({**torch.load(path, weights_only=True), key: value}, path)
    with pytest.raises(UserError, match=says):
        load_model(path)


def test_holds_no_path_and_no_time(tmp_path, model):
    path = write(tmp_path / "m.pt", model)
    with zipfile.ZipFile(path) as archive:
        assert {info.date_time for info in archive.infolist()} <= {
            (1980, 0, 0, 0, 0, 0),
            (1980, 1, 1, 0, 0, 0),
        }
    assert str(tmp_path).encode() not in path.read_bytes()
