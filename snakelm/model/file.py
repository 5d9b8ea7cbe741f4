"""final_model.pt: a model with all that is needed to use it, in plain tensors and types
(`ModelFile` has the keys).

No time, no host, no path: the same training gives the same bytes. Read with `weights_only=True`,
always, so a file with code in it is refused, not run.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from ..config import Model, check_shape, read_section
from ..errors import UserError
from ..files import atomic_path, reserve
from .archive import check_archive
from .decoder import Decoder

__all__ = [
    "BaseRecord",
    "ModelRecord",
    "TokenizerIdentity",
    "first_misfit",
    "knows_chat_tokens",
    "load_model",
    "read_plain",
    "save_model",
    "weight_sizes",
    "write_plain",
]

FORMAT, VERSION = "snakelm-model", 1
Sizes = Mapping[str, tuple[int, ...]]
VocabularySize = Annotated[int, Field(gt=0, lt=2**31)]
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)  # tensors are pydantic's strangers


@with_config(STRICT)
class TokenizerIdentity(TypedDict):
    """The tokenizer that a model was trained with."""

    sha256: str
    vocab_size: VocabularySize


@with_config(STRICT)
class BaseRecord(TypedDict):
    """What is known of any model, ours or not.

    ``chat``: it is tuned, and answers. ``chat_tokens``: it has gone on with plain text since it was
    tuned, so that its chat tokens are trained, too.
    """

    tokenizer: TokenizerIdentity
    chat: NotRequired[bool]
    chat_tokens: NotRequired[bool]


class ModelRecord(BaseRecord):
    """A model's file without its weights."""

    format: Literal["snakelm-model"]
    version: Literal[1]
    model: dict[str, object]  # the keys of config.Model
    step: int
    fingerprint: str


@with_config(STRICT)
class ModelFile(ModelRecord):
    """A model's file, as it is written."""

    weights: dict[str, torch.Tensor]


def save_model(
    path: str | Path,
    model: Decoder,
    *,
    tokenizer_sha256: str,
    step: int,
    fingerprint: str,
    chat: bool = False,
    chat_tokens: bool = False,
) -> None:
    """Writes the model's file, atomically."""
    # Copied, so that no view writes the larger storage it is a part of.
    weights = {
        name: tensor.detach().to("cpu", copy=True) for name, tensor in model.named_parameters()
    }
    record = {
        "format": FORMAT,
        "version": VERSION,
        "model": model.shape.model_dump(),
        "weights": weights,
        "tokenizer": {"sha256": tokenizer_sha256, "vocab_size": model.vocab_size},
        "step": step,
        "fingerprint": fingerprint,
        **({"chat": True} if chat else {}),
        **({"chat_tokens": True} if chat_tokens and not chat else {}),
    }

    with atomic_path(path) as temporary:
        write_plain(temporary, record)


def load_model(
    path: str | Path, device: str | torch.device = "cpu", compute_dtype: torch.dtype = torch.float32
) -> tuple[Decoder, ModelRecord]:
    """The model, in evaluation mode, and the record without its weights; UserError for a file that
    isn't one.
    """
    record = read_plain(path)
    if record.get("format") != FORMAT or record.get("version") != VERSION:
        raise UserError(
            f"{path}: format {record.get('format')!r} version {record.get('version')!r}; "
            f"expected {FORMAT!r} version {VERSION}: train it again with this version"
        )
    try:
        file = TypeAdapter(ModelFile).validate_python(record)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise UserError(
            f"{path}: {where}: {fault['msg'].lower()}; damaged, or not written by snakelm"
        ) from None

    shape = read_section(Model, file["model"], f"{path}: model")
    check_shape(shape, f"{path}: model")
    vocab_size, weights = file["tokenizer"]["vocab_size"], file["weights"]
    sizes = {name: tuple(weight.shape) for name, weight in weights.items()}
    if misfit := first_misfit(sizes, weight_sizes(shape, vocab_size)):
        raise UserError(f"{path}: weights don't fit the shape it names: {misfit}")

    model = Decoder(shape, vocab_size, compute_dtype)
    model.load_state_dict(weights)
    known: Any = {key: value for key, value in file.items() if key != "weights"}
    return model.to(device).eval(), known


def knows_chat_tokens(record: Mapping[str, object]) -> bool:
    """Whether the model's chat tokens are trained, now or before."""
    return bool(record.get("chat") or record.get("chat_tokens"))


def weight_sizes(shape: Model, vocab_size: int) -> Sizes:
    """The size of each weight of such a model, by its name. Nothing is allocated: what a file says
    of its shape may be far larger than the file.
    """
    with torch.device("meta"):
        model = Decoder(shape.model_copy(update={"context": 1}), vocab_size)
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}


def first_misfit(found: Sizes, expected: Sizes) -> str | None:
    """The first weight that differs, in words."""
    for name in [*expected, *(found.keys() - expected.keys())]:
        there = f"size {found[name]}" if name in found else "none"
        wanted = f"size {expected[name]}" if name in expected else "none"
        if there != wanted:
            return f"{name}: found {there}, expected {wanted}"
    return None


def write_plain(path: Path, record: Mapping[str, Any]) -> str:
    """torch.save of plain types into ``path``; gives the SHA-256 of what should be there. A full
    disk is a UserError.

    Goes through memory: torch's own writer to a path puts the file's name inside (so equal content
    would give other bytes under another name) and reports a full disk as «unexpected pos».
    """
    buffer = io.BytesIO()
    torch.save(dict(record), buffer)

    reserve(path, buffer.tell())
    with open(path, "rb+") as file:
        file.write(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def read_plain(path: str | Path, mapped: bool = False) -> dict[str, Any]:
    """What `write_plain` wrote, on the CPU; UserError when it can't be read or holds anything but
    plain types. ``mapped``: tensors stay in the file, for who wants the rest.
    """
    try:
        check_archive(Path(path))
        record = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing; train a model first (snakemake --cores 8 results/final_model.pt)"
        ) from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: refused: it holds more than plain tensors and types, and may run code"
        ) from None
    except Exception as error:  # a damaged pickle makes torch raise anything
        raise UserError(
            f"{path}: can't be read ({' '.join(str(error).split())[:120]}); damaged or no model"
        ) from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds a {type(record).__name__}, expected a model's record")
    return record
