"""final_model.pt: a model with all that is needed to use it, in plain tensors and types.

    {"format": "snakelm-model", "version": 1, "model": keys of config.Model, "weights": {name: tensor},
     "tokenizer": {"sha256", "vocab_size"}, "step": int, "fingerprint": str}

and, once its chat tokens are trained, "chat": True.

No time, no host, no path: the same training gives the same bytes. Read with `weights_only=True`,
always, so a file with code in it is refused, not run.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..config import Model, read_section
from ..errors import UserError
from ..files import atomic_path, reserve
from .decoder import Decoder

__all__ = ["load_model", "read_plain", "save_model", "write_plain"]

FORMAT, VERSION = "snakelm-model", 1


def save_model(
    path: str | Path,
    model: Decoder,
    *,
    tokenizer_sha256: str,
    step: int,
    fingerprint: str,
    chat: bool = False,
) -> None:
    """Writes the model's file, atomically. The state is cloned, so that no view drags a larger
    storage along.
    """
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
    }
    with atomic_path(path) as temporary:
        write_plain(temporary, record)


def load_model(
    path: str | Path, device: str | torch.device = "cpu", compute_dtype: torch.dtype = torch.float32
) -> tuple[Decoder, dict[str, Any]]:
    """The model, in evaluation mode, and the record without its weights; UserError for what isn't
    such a file.
    """
    record = read_plain(path)
    if record.get("format") != FORMAT or record.get("version") != VERSION:
        raise UserError(
            f"{path}: format {record.get('format')!r} version {record.get('version')!r}; "
            f"expected {FORMAT!r} version {VERSION}: train it again with this version"
        )
    weights = record.pop("weights")
    shape = read_section(Model, record["model"], f"{path}: model")
    model = Decoder(shape, record["tokenizer"]["vocab_size"], compute_dtype)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path}: weights don't fit the shape it names: {' '.join(str(error).split())}"
        ) from None
    return model.to(device).eval(), record


def write_plain(path: Path, record: Mapping[str, Any]) -> str:
    """torch.save of plain types into ``path``, and the SHA-256 of what should be there; a full disk
    is a UserError.

    Goes through memory: torch's own writer to a path puts the file's name inside (so equal content
    would give other bytes under another name) and reports a full disk as «unexpected pos».
    """
    buffer = io.BytesIO()
    torch.save(dict(record), buffer)
    reserve(path, buffer.tell())
    with open(path, "rb+") as file:
        file.write(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def read_plain(path: str | Path) -> dict[str, Any]:
    """What `write_plain` wrote, on the CPU; UserError when it can't be read or holds anything but
    plain types.
    """
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing; train a model first (snakemake --cores 8 results/final_model.pt)"
        ) from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: refused: it holds more than plain tensors and types, and may run code"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: can't be read ({' '.join(str(error).split())[:120]}); damaged or no model"
        ) from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds a {type(record).__name__}, expected a model's record")
    return record
