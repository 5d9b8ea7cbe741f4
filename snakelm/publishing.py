"""What may be shown of addresses and paths.

An address may hold a password (`https://user:password@host/…`) or a key (`?X-Amz-Signature=…`):
who fetches needs them, and nothing that is written or printed has them. A path tells of a machine
and of who works on it: what is made to be published has names of files, and paths below the
results.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

__all__ = [
    "has_secrets",
    "is_after_folder",
    "public_command",
    "public_path",
    "public_url",
    "publishable",
    "without_secrets",
]

SECRET = re.compile(r"token|sig|key|pass|pwd|secret|cred|auth|session|expires", re.IGNORECASE)
ADDRESS = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`\\^{|}]+")
# Of this system or another, of this user or another; no text with white space in front of a slash.
ABSOLUTE = re.compile(r"(/|\.\.[/\\]|~[\w.-]*(/|$)|[A-Za-z]:[\\/]|\\\\|file:)[^\n]*")


def public_url(url: str) -> str:
    """An address without user and password, and without the parameters that are keys."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # a bracket that is never closed
        return re.sub(r"//[^/]*@", "//", url).partition("?")[0]

    kept = [one for one in parts.query.split("&") if not SECRET.search(one.partition("=")[0])]
    fragment = "" if SECRET.search(parts.fragment) else parts.fragment
    return urlunsplit((parts.scheme, host, parts.path, "&".join(kept), fragment))


def without_secrets(text: str) -> str:
    """``text`` with each address in it as `public_url` has it."""
    return ADDRESS.sub(lambda match: public_url(match[0]), text) if "://" in text else text


def has_secrets(url: str) -> bool:
    """Whether `public_url` leaves something out."""
    return public_url(url) != urlunsplit(urlsplit(url))


def public_path(path: str | Path, root: str | Path | None = None) -> str:
    """A path below ``root`` as `results/…`, whatever ``root`` is called; of any other absolute one
    the name. Relative ones stay, but for steps upwards and what they lead to.
    """
    if root is not None:
        absolute, above = Path(path).absolute(), Path(root).absolute()
        if absolute.is_relative_to(above):
            return Path("results", absolute.relative_to(above)).as_posix()

    text = str(path)
    if ABSOLUTE.match(text) or ".." in Path(path).parts:
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1].lstrip("~")
    return Path(path).as_posix()


def is_after_folder(name: str | None, paths: object) -> bool:
    """Whether ``name`` was made from a folder that absolute ``paths``, a text or a list of them, go
    through, and so tells of a machine or its owner. Names are made of the letters and digits before
    the first dot, with a number behind the second of one name.
    """
    some = [paths] if isinstance(paths, str) else paths if isinstance(paths, list) else []
    parts = {part for path in some if ABSOLUTE.match(path) for part in Path(path).parts[:-1]}
    stems = {_letters(part.split(".")[0]) for part in parts} - {""}
    return bool(name) and not stems.isdisjoint(
        {_letters(str(name)), _letters(re.sub(r"-\d+$", "", str(name)))}
    )


def _letters(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "", text)


def public_command(command: str) -> str:
    """A shell's command line with names for its absolute paths."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that is never closed
        words = command.split()
    # `key=value` too.
    shown = ["=".join(map(publishable, word.split("=", 1))) for word in words]
    return command if shown == words else shlex.join(shown)


def publishable(value: Any) -> Any:
    """Plain JSON values as they may be published: absolute paths by their names, addresses without
    their secrets.
    """
    if isinstance(value, Mapping):
        shown = {key: publishable(one) for key, one in value.items()}
        if is_after_folder(value.get("name"), value.get("path")):
            shown["name"] = None
        return shown
    if isinstance(value, list | tuple):
        return [publishable(one) for one in value]
    if isinstance(value, str):
        return public_path(value) if ABSOLUTE.fullmatch(value) else without_secrets(value)
    return value
