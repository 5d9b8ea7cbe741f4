"""What a step's flags take: files, folders, values. A step declares them by name (step.py), and the
name is the flag.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["File", "Folder", "Value"]


@dataclass(frozen=True)
class File:
    """A flag that takes a file, or with ``many`` several; ``optional`` ones may be left out.

    ``at``: where in the results folder it is when its flag is left out. A step with such files has
    a flag `--results`, which is all that its rule gives for them. ``leaves``: names of what the
    step writes beside an output, without flags of their own. ``users``: the user's own files, for
    which the step looks where the configuration says; the flag is for runs by hand, and no rule
    passes it. ``verified``: whether what is read is compared with the manifests beside it before
    the step begins; not where only manifests are read, nor where the files may be the user's own.
    """

    help: str
    many: bool = False
    optional: bool = False
    at: str = ""
    leaves: tuple[str, ...] = ()
    users: bool = False
    verified: bool = True

    def add_to(self, parser: argparse.ArgumentParser, flag: str) -> None:
        """Declares the flag, called ``flag``, to ``parser``."""
        # An optional flag may also stand without a value: a rule whose run lacks the file passes
        # none.
        nargs = {
            (True, True): "*",
            (True, False): "+",
            (False, True): "?",
            (False, False): None,
        }[self.many, self.optional]
        parser.add_argument(
            flag,
            type=Path,
            nargs=nargs,
            required=not (self.optional or self.at),
            default=[] if self.many else None,
            help=f"<results>/{self.at}" if self.at else self.help,
        )

    def inputs(self, given: Any) -> list[Path]:
        """The files of ``given``, this flag's value, that a manifest names as inputs."""
        return list(given) if self.many else [given] if given else []

    def read_from(self, given: Any) -> list[Path]:
        """The files of ``given`` that are compared with their manifests."""
        return self.inputs(given) if self.verified and not self.users else []


@dataclass(frozen=True)
class Folder(File):
    """A flag that takes a folder, by its own name or by the files in it, as a rule passes them.

    ``files``: names of what it holds. ``vouched``: those of them that have a manifest of their own,
    and so stand as inputs in others'; the first when left out.
    """

    files: tuple[str, ...] = ()
    vouched: tuple[str, ...] = ()

    def add_to(self, parser: argparse.ArgumentParser, flag: str) -> None:
        names, of = self.files, flag

        class OneFolder(argparse.Action):
            """`folder` or `folder/a folder/b` → `folder`."""

            def __call__(self, parser, namespace, values, option_string=None):
                paths = [Path(value) for value in values]
                one = len(paths) == 1 and (paths[0].is_dir() or paths[0].name not in names)
                folders = set(paths) if one else {path.parent for path in paths}
                if len(folders) > 1 or (not one and any(path.is_dir() for path in paths)):
                    parser.error(f"argument {of}: expected one folder, found {len(folders)}")
                setattr(namespace, self.dest, folders.pop() if folders else None)

        parser.add_argument(
            flag,
            nargs="*" if self.optional else "+",
            metavar="FOLDER",
            action=OneFolder,
            required=not (self.optional or self.at),
            help=f"<results>/{self.at}" if self.at else self.help,
        )

    def inputs(self, given: Any) -> list[Path]:
        return [given / name for name in self.vouched or self.files[:1]] if given else []

    def read_from(self, given: Any) -> list[Path]:
        return [given / name for name in self.files] if given and self.verified else []


@dataclass(frozen=True)
class Value:
    """A flag that takes a word or a number, which a rule has from its wildcards (``wildcard``, the
    flag's own name when left out) or, with ``param``, from its params.
    """

    help: str
    type: Callable[[str], Any] = str
    wildcard: str = ""
    param: bool = False

    def add_to(self, parser: argparse.ArgumentParser, flag: str) -> None:
        """Declares the flag, called ``flag``, to ``parser``."""
        parser.add_argument(flag, type=self.type, required=not self.param, help=self.help)
