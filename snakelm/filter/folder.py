"""results/models/academic_filter/: the trained filter on disk, its one writer and its one reader.
No pickle in it.

    model.safetensors, config.json, tokenizer.json, modules.json …
                          the tuned sentence model (sentence-transformers)
    head.safetensors      weight float32 [width], bias float32 [1]: its logistic head
    static.safetensors    vectors float16 [pieces, width], weight float32 [width], bias float32 [1]:
                          the student
    filter.json           written last: threshold, doubtful band, tokens read, and the SHA-256 of
                          every file above

The folder is a sentence-transformers model too and loads as one. What filter.json doesn't vouch for
is refused.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import atomic_path, sha256_file, write_json
from ..json_files import read_json
from .base import check_sentence_model

__all__ = [
    "FILES",
    "FilterMeta",
    "LogisticHead",
    "open_folder",
    "read_tensors",
    "vouched_files",
    "write_folder",
]

FORMAT, VERSION = "snakelm academic filter", 1
FILES = (
    "filter.json",
    "head.safetensors",
    "static.safetensors",
    "model.safetensors",
    "config.json",
    "modules.json",
    "tokenizer.json",
)
AGAIN = "delete it and run setfit_train again"


@dataclass(frozen=True)
class LogisticHead:
    """A logistic regression that was fitted: `score(x)` is the logistic of x · weight + bias."""

    weight: np.ndarray  # float32 [width]
    bias: float

    def logits(self, x: np.ndarray) -> np.ndarray:
        """float32 [n] for ``x`` float32 [n, width]."""
        return (x @ self.weight + np.float32(self.bias)).astype(np.float32)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Scores between 0 and 1: float32 [n]."""
        return logistic(self.logits(x))


def logistic(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), float32; by tanh, which can't overflow."""
    return (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)


@dataclass(frozen=True)
class FilterMeta:
    """What the numbers in the folder mean."""

    threshold: float  # score from which a document is kept
    low: float  # the student's score below which it drops by itself …
    high: float  # … and above which it keeps by itself; between them the cascade runs SetFit
    max_tokens: int
    base: str
    base_sha256: str


@dataclass(frozen=True)
class StoredFilter(FilterMeta):
    """filter.json."""

    format: str
    version: int
    files: dict[str, str]  # name → SHA-256


def write_folder(
    folder: Path,
    save_body: Callable[[str], None],
    tensors: Mapping[str, Mapping[str, np.ndarray]],
    meta: FilterMeta,
) -> None:
    """Writes the filter into ``folder``; ``save_body`` saves the sentence model into the folder it
    is given, ``tensors`` are the arrays of each safetensors file.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "filter.json").unlink(missing_ok=True)  # the old one vouches for none of what follows

    files = {}
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder.parent) as scratch:
        save_body(scratch)
        for name, arrays in tensors.items():
            contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
            save_file(contiguous, f"{scratch}/{name}")

        for file in sorted(f for f in Path(scratch).rglob("*") if f.is_file()):
            name = file.relative_to(scratch).as_posix()
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(file, temporary)
            files[name] = sha256_file(file)

    record = StoredFilter(**asdict(meta), format=FORMAT, version=VERSION, files=files)
    write_json(folder / "filter.json", asdict(record))


def open_folder(folder: str | Path) -> FilterMeta:
    """Checks the folder, opening nothing that could run, and gives its meta; UserError when it
    isn't complete or not ours.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run setfit_train")
    check_sentence_model(folder)

    path = folder / "filter.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: has no filter.json, so it is unfinished or no filter; run setfit_train"
        )
    record = _read_record(path)
    if (record.format, record.version) != (FORMAT, VERSION):
        raise UserError(f"{path}: not version {VERSION} of this format; run setfit_train again")

    for name, digest in record.files.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise UserError(
                f"{folder / name}: missing or not the file that was trained; run setfit_train again"
            )
    return FilterMeta(**{field.name: getattr(record, field.name) for field in fields(FilterMeta)})


def vouched_files(folder: Path) -> list[Path]:
    """The files that filter.json of a finished ``folder`` names."""
    return [folder / name for name in _read_record(folder / "filter.json").files]


def _read_record(path: Path) -> StoredFilter:
    return read_json(path, StoredFilter, remedy=AGAIN, what="the record of a trained filter")


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file; UserError when it isn't one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: not a safetensors file ({error}); run setfit_train again"
        ) from None
