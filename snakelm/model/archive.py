"""What is looked at in a torch file before it is loaded: that loading it takes no more memory than
the file takes of the disk, and that its pickle names nothing but tensors.

torch's format is a zip. torch writes its entries as they are, but reads compressed ones too, and a
file of 3 MB can unpack to 3 GB that way. `weights_only` runs no foreign code, but does build what
else a pickle asks for, as a bytearray of any length.
"""

import pickletools
import re
import zipfile
import zlib
from pathlib import Path

from ..errors import UserError

__all__ = ["check_archive"]

PICKLE = "/data.pkl"
TENSORS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch [A-Z][A-Za-z0-9]*Storage"
)
BY_NAME = {"GLOBAL", "STACK_GLOBAL", "INST"}  # the pickle operations that look something up


def check_archive(path: Path) -> None:
    """UserError unless ``path`` is a torch file as `write_plain` writes them; FileNotFoundError and
    other OSErrors pass.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_sizes(path, entries)
            (name,) = [one.filename for one in entries if one.filename.endswith(PICKLE)]
            foreign = _foreign_name(archive.read(name))
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: can't be read ({reason}); damaged or no model") from None

    if foreign:
        raise UserError(
            f"{path}: refused: it holds more than plain tensors and types ({foreign}), and may run "
            "code"
        )


def _check_sizes(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    size = path.stat().st_size
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UserError(
            f"{path}: refused: compressed, {size:,} bytes unpack to {unpacked:,}; save it with "
            "torch, which compresses nothing"
        )


def _foreign_name(data: bytes) -> str | None:
    """The first name in a pickle that no tensor needs; ValueError for what is no pickle."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in BY_NAME and not TENSORS.fullmatch(str(argument)):
            return str(argument or operation.name)[:80]
    return None
