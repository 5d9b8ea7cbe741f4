"""Fetches what the configuration names in the Hugging Face hub and in buckets, before the first
job.

fsspec knows the protocols, and where each one's credentials are: HF_TOKEN or `hf auth login`, the
variables and files of AWS and Google. It is asked each time a run is planned what the address
stands for, which takes one request; a file is fetched when its version (a hash by the server's
word) is not the one that is there. What broke off goes on where it was. Where nobody answers, what
was fetched before is taken, with a warning.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DiskFullError, UserError
from ..files import human_bytes, renamed_when_done, sha256_file, write_json, write_text
from ..remote_files import Listing, RemoteFile, is_address, listing_file, local_files, place
from .lock import locked

__all__ = ["fetch"]

CHUNK = 1 << 22  # bytes
NEEDED = {"hf": "huggingface_hub", "s3": "s3fs", "gs": "gcsfs"}
ACCESS = {
    "hf": "set HF_TOKEN or run hf auth login, and accept the data set's terms on its page",
    "s3": "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket "
    "FSSPEC_S3='{\"anon\": true}'",
    "gs": "run gcloud auth application-default login; for a public bucket "
    'FSSPEC_GS=\'{"token": "anon"}\'',
}
VERSIONS = ("ETag", "etag", "md5Hash", "blob_id")
# In the names of errors, whichever library's: nobody answers, or breaks off. So does a server that
# answers with a status from 500 on.
UNREACHED = (
    *("Connect", "Timeout", "Unreachable", "OfflineMode", "Disconnected", "Proxy"),
    *("ProtocolError", "ReadError", "WriteError", "IncompleteRead"),
)


def fetch(addresses: Iterable[str], where: str, say: Callable[[str], None]) -> None:
    """Fetches what is new of the files of those of ``addresses`` that are `is_address`; UserError
    for what isn't there or isn't allowed.
    """
    for address in filter(is_address, addresses):
        try:
            _fetch(address, say)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # of whatever library speaks the protocol
            _explain(error, address, where, say)


def _fetch(address: str, say: Callable[[str], None]) -> None:
    import fsspec

    protocol = address.partition("://")[0]
    system, path = fsspec.core.url_to_fs(address)
    system.invalidate_cache()
    found: dict[str, dict[str, Any]] = system.glob(path, detail=True)
    infos = {name: info for name, info in found.items() if info["type"] == "file"}
    if not infos:
        raise FileNotFoundError(address)

    files = [_remote(system, protocol, name, infos[name]) for name in sorted(infos)]
    names = {file.path: name for file, name in zip(files, sorted(infos), strict=True)}
    new = [file for file in files if not _is_there(file)]
    _check_disk(new, address)
    with locked(listing_file(address).parent, "another run that fetches"):
        for number, file in enumerate(new, 1):
            say(f"{address}: fetching {number} of {len(new)}, {human_bytes(file.size)}")
            _download(system, names[file.path], file, infos[names[file.path]])
        write_json(listing_file(address), Listing(address=address, files=files).as_json())


def _remote(system: Any, protocol: str, name: str, info: dict[str, Any]) -> RemoteFile:
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), None)
    path = f"{protocol}/{name.strip('/')}"
    if ".." in path.split("/"):
        raise UserError(f"{name}: found .. in a name; nothing is fetched by such a one")
    return RemoteFile(path=path, size=info["size"], version=version or system.ukey(name))


def _version_file(file: RemoteFile) -> Path:
    """Beside the file: the version that it is of."""
    path = place(file.path)
    return path.with_name(f".{path.name}.version")


def _is_there(file: RemoteFile) -> bool:
    path, version = place(file.path), _version_file(file)
    same = path.is_file() and path.stat().st_size == file.size
    return same and version.is_file() and version.read_text() == file.version


def _check_disk(files: list[RemoteFile], address: str) -> None:
    needed = sum(file.size for file in files)
    folder = listing_file(address).parent
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"{address}: disk full before it is fetched (need {human_bytes(needed)}, have "
            f"{human_bytes(free)}); free some space, or name another folder in SNAKELM_CACHE"
        )


def _download(system: Any, name: str, file: RemoteFile, info: dict[str, Any]) -> None:
    """Gets a file, from where an earlier try at this version of it broke off."""
    path, version = place(file.path), _version_file(file)
    part, begun = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.begun")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (begun.is_file() and begun.read_text() == file.version):
        part.unlink(missing_ok=True)
        write_text(begun, file.version)

    done = part.stat().st_size if part.exists() else 0
    with system.open(name, "rb") as theirs, open(part, "ab") as ours:
        theirs.seek(done)
        while data := theirs.read(CHUNK):
            ours.write(data)

    found = part.stat().st_size
    promised = (info.get("lfs") or {}).get("sha256")
    if found != file.size or (promised and sha256_file(part) != promised):
        part.unlink()
        raise UserError(
            f"{name}: fetched {found:,} bytes that aren't the {file.size:,} promised (or their "
            "SHA-256); start again, and it is fetched anew"
        )
    version.unlink(missing_ok=True)
    with renamed_when_done(part, path):
        pass
    write_text(version, file.version)
    with suppress(FileNotFoundError):
        os.unlink(begun)


def _explain(error: Exception, address: str, where: str, say: Callable[[str], None]) -> None:
    """UserError for what went wrong; a warning where it may be done without."""
    protocol = address.partition("://")[0]
    kind, text = type(error).__name__, " ".join(str(error).split())[:200]
    if isinstance(error, ImportError):
        raise UserError(
            f"{where}: {address}: {NEEDED[protocol]} isn't installed: "
            "pip install -r requirements-remote.txt"
        ) from None
    if isinstance(error, FileNotFoundError) or "NotFound" in kind:
        # The hub says so too of what one may not see.
        private = f"; if it is private, {ACCESS[protocol]}" if protocol == "hf" else ""
        raise UserError(
            f"{where}: {address}: no such file there; look at its name and the revision{private}"
        ) from None

    status = getattr(getattr(error, "response", None), "status_code", 0)
    if any(word in kind for word in UNREACHED) or status >= 500:
        with suppress(UserError):
            local_files(address, where)
            say(f"{where}: {address}: can't be reached ({kind}); taken as it was fetched before")
            return
    raise UserError(
        f"{where}: {address}: can't be fetched ({kind}: {text}); {ACCESS[protocol]}"
    ) from None
