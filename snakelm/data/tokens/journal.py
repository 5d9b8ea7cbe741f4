"""What an interrupted shard leaves for the next start: a folder with its unfinished bins and a
journal, which has a line for each finished row group.

The journal's first line says what the tokens depend on (text, tokenizer, settings, code); where
that differs, or the bins are not what the last line says (their checksums are compared), the folder
is emptied and the shard begins anew. A line that a kill cut off ends the journal. Lines are not
synced to the disk one by one: after a power cut the checksums tell.
"""

import fcntl
import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...errors import DiskFullError, UserError
from ..bin_writer import BinWriter, Written

__all__ = ["Journal"]


class Journal:
    """The folder ``folder`` of one shard; a context manager that removes it at the end, and after a
    user's mistake, but not after a full disk or a kill. One process at a time has it: UserError for
    a second one.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._identity = json.loads(json.dumps(identity))
        self._path = folder / "journal"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(
                f"{self.folder}: another process is at work on this shard; wait for it or end it"
            ) from None
        except OSError:
            pass  # a file system without locks
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        mistake = isinstance(error, UserError) and not isinstance(error, DiskFullError)
        if kind is None or mistake:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._file.close()  # the lock goes last

    def resume(self, writers: Mapping[str, BinWriter]) -> int:
        """How many groups are done: the writers, opened in this folder, stand behind them."""
        lines = self._lines()
        if lines and lines[0] == self._identity and len(lines) > 1:
            points = {name: Written(**point) for name, point in lines[-1].items()}
            if all([writers[name].restore(point) for name, point in points.items()]):
                return len(lines) - 1

        for writer in writers.values():
            writer.restore(Written())
        self._file.truncate(0)
        self._append(self._identity)
        return 0

    def commit(self, writers: Mapping[str, BinWriter]) -> None:
        """Notes that one more group is in the writers' files."""
        self._append({name: vars(writer.written()) for name, writer in writers.items()})

    def _append(self, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, sort_keys=True).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()

    def _lines(self) -> list[dict[str, Any]]:
        """The lines up to the first that is damaged, where the file is cut off."""
        self._file.seek(0)
        lines, sound = [], 0
        for line in self._file:
            crc, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
                break
            lines.append(json.loads(text))
            sound += len(line)
        self._file.truncate(sound)
        return lines
