"""Files in the Hugging Face hub (`hf://`) and in buckets (`s3://`, `gs://`), as this machine has
them.

`snakelm.workflow.remote` fetches what the configuration names, before the first job, and lists it
here. From then on an address stands for local files, on every node that sees the folder: no step
asks the network. The folder is the user's, not a run's: what one run fetched, others find.
"""

import hashlib
import os
import re
from pathlib import Path

from .errors import UserError
from .json_files import read_json
from .json_record import JsonRecord

__all__ = ["FOLDER", "Listing", "RemoteFile", "is_address", "listing_file", "local_files", "place"]

FOLDER = "SNAKELM_CACHE"  # environment variable; else where programs keep what they can fetch again
ADDRESS = re.compile(r"(hf|s3|gs)://")


class RemoteFile(JsonRecord):
    """A file of a listing. ``version`` changes when its content does, by the server's word."""

    path: str  # below the folder
    size: int
    version: str


class Listing(JsonRecord):
    """What an address stood for when it was last asked for."""

    address: str
    files: list[RemoteFile]


def is_address(path: str) -> bool:
    """Whether a path of the configuration is one of these."""
    return ADDRESS.match(path) is not None


def folder() -> Path:
    """Where fetched files are."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "snakelm")
    return Path(os.environ.get(FOLDER) or usual)


def place(path: str) -> Path:
    """Where a file of a listing is."""
    return folder() / "files" / path


def listing_file(address: str) -> Path:
    """Where it is written what an address stands for."""
    return folder() / "listings" / f"{hashlib.sha256(address.encode()).hexdigest()[:20]}.json"


def local_files(address: str, where: str) -> list[Path]:
    """The files that were fetched for an address; UserError where they weren't."""
    written = listing_file(address)
    files: list[Path] = []
    if written.is_file():
        listing = read_json(written, Listing, remedy="delete it; the next run fetches anew")
        files = [place(file.path) for file in listing.files]
    if not files or not all(file.is_file() for file in files):
        raise UserError(
            f"{where}: {address}: not fetched yet, in {folder()}; snakemake does so when it starts"
        )
    return files
