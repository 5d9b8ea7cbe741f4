"""What a file was made from, and from what that, down to the user's own files: the manifests read
as one chain.

A manifest says of every file that its step read or wrote what SHA-256 it had: each of these is a
`Claim`. `verify` reads every file once and compares it with all that is claimed of it. So a changed
byte is found in any file; a swapped or remade file is found by the next step's claim, though it
agrees with a manifest of its own; and a manifest, which is sealed, is found by itself or by the
seal that the next step noted.

A run may have been moved: paths are looked for from where the artefact lies now, as far as they lay
together then.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..files import sha256_file
from ..json_files import read_json
from ..workflow.manifest import manifest_path, read_manifest

__all__ = ["Chain", "Claim", "FileState", "MovedPaths", "Node", "read_chain"]

MARK = ".manifest.json"

# gone: the user's own file, which may be cleared away when the run is done
FileState = Literal["sound", "changed", "missing", "gone"]


@dataclass(frozen=True)
class Claim:
    """What the manifest of ``by`` says of the file ``path``."""

    path: Path
    sha256: str
    size: int
    by: Path
    kind: Literal["artefact", "file", "input"]  # file: written beside the artefact


@dataclass(frozen=True)
class MovedPaths:
    """Where a manifest's paths are now: those under ``then`` are under ``now``, others where they
    were.
    """

    then: tuple[str, ...]
    now: Path

    @classmethod
    def of(cls, recorded: str, path: Path) -> "MovedPaths":
        """From an artefact's recorded and present path: what ends alike was moved together."""
        then, now = list(Path(recorded).parts), list(path.parts)
        while then and now and then[-1] == now[-1]:
            then.pop()
            now.pop()
        return cls(tuple(then), Path(*now))

    def find(self, recorded: str) -> Path:
        """The path to look at, absolute."""
        parts = Path(recorded).parts
        if parts[: len(self.then)] == self.then:
            return Path(self.now, *parts[len(self.then) :]).absolute()
        return Path(recorded).absolute()


@dataclass
class Node:
    """A file of the chain."""

    path: Path
    manifest: dict[str, Any] | None = None  # None for what was brought from outside
    files: list[Path] = field(default_factory=list)  # that its step wrote beside it
    # What it was made from, by the path in the manifest.
    inputs: dict[str, "Node"] = field(default_factory=dict)

    @property
    def step(self) -> str:
        """The step that made it, by its script's name."""
        return Path(str((self.manifest or {}).get("script", ""))).stem


@dataclass
class Chain:
    """All that some files were made from. ``problems`` are reasons to distrust it, ``notes``
    aren't. ``states`` are known after `verify`.
    """

    roots: list[Node] = field(default_factory=list)
    nodes: dict[Path, Node] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    states: dict[Path, FileState] = field(default_factory=dict)

    def named(self, name: str) -> Node:
        """The file called ``name`` that is nearest to the roots; UserError when the chain has
        none.
        """
        level, seen = list(self.roots), set[Path]()
        while level:
            match = next((node for node in level if node.path.name == name), None)
            if match:
                return match
            seen.update(node.path for node in level)
            level = [
                used for node in level for used in node.inputs.values() if used.path not in seen
            ]
        raise UserError(f"{self.roots[0].path}: no {name} among what it was made from")

    def verify(self, on_bytes: Callable[[int], None] | None = None) -> None:
        """Reads every file and compares it with each claim; ``on_bytes`` gets the bytes done."""
        done = 0
        for path, claims in self._by_path().items():
            if not path.is_file():
                self._missing(path, claims)
                continue

            size, sha256 = path.stat().st_size, sha256_file(path)
            wrong = [claim for claim in claims if (claim.sha256, claim.size) != (sha256, size)]
            self.states[path] = "changed" if wrong else "sound"
            if wrong:
                self.problems.append(_difference(path, sha256, wrong))

            done += size
            if on_bytes:
                on_bytes(done)

    def size(self) -> int:
        """Bytes that `verify` reads."""
        return sum(path.stat().st_size for path in self._by_path() if path.is_file())

    def _by_path(self) -> dict[Path, list[Claim]]:
        claims: dict[Path, list[Claim]] = {}
        for claim in self.claims:
            claims.setdefault(claim.path, []).append(claim)
        return claims

    def _missing(self, path: Path, claims: list[Claim]) -> None:
        node, by = self.nodes.get(path), claims[0].by.name
        made_here = node is None or node.manifest is not None or self._had_manifest(claims)
        if made_here:
            self.states[path] = "missing"
            self.problems.append(
                f"{path}: missing, so {by} can't be traced further; bring it back or run its step"
            )
        else:
            self.states[path] = "gone"
            self.notes.append(
                f"{path}: not there any more; {by} was made from it (SHA-256 {claims[0].sha256})"
            )

    def _had_manifest(self, claims: list[Claim]) -> bool:
        """Whether a step made the file: whoever read it then noted the seal of its manifest."""
        readers = (self.nodes[claim.by] for claim in claims if claim.by in self.nodes)
        inputs = [used for node in readers for used in (node.manifest or {}).get("inputs", [])]
        return any("manifest" in used for used in inputs if used["sha256"] == claims[0].sha256)


def _difference(path: Path, sha256: str, wrong: list[Claim]) -> str:
    own = next((claim for claim in wrong if claim.kind != "input"), None)
    claim = own or wrong[0]
    hashes = f"SHA-256 {sha256[:12]}…, expected {claim.sha256[:12]}…"
    if own:
        return f"{path}: changed since it was written ({hashes}); run the step that makes it again"
    return (
        f"{path}: not what {claim.by} was made from ({hashes}): changed, swapped, or made again "
        "since; bring back the one it was made from, or run the workflow again"
    )


def read_chain(target: str | Path) -> Chain:
    """The chain of a file, or of all artefacts in a folder, from manifests alone; UserError when
    there are none.
    """
    chain = Chain()
    for artefact in _artefacts(Path(target).absolute()):
        chain.roots.append(_follow(chain, artefact))

    manifests = ((node.path.name, node.manifest) for node in chain.nodes.values())
    unsealed = [name for name, manifest in manifests if manifest and "seal" not in manifest]
    if unsealed:
        chain.notes.append(
            f"{len(unsealed)} manifests are of an older version, which names fewer files and has "
            f"no seal: {', '.join(unsealed)}"
        )
    return chain


def _artefacts(target: Path) -> list[Path]:
    """The artefacts whose manifests name ``target``."""
    if target.is_dir():
        manifests = [path for path in sorted(target.rglob(f"*{MARK}")) if not _is_foreign(path)]
    elif target.name.endswith(MARK):
        manifests = [target]
    elif manifest_path(target).is_file():
        manifests = [manifest_path(target)]
    elif target.is_file():
        manifests = list(_manifests_naming(target))
    else:
        raise UserError(f"{target}: no such file or folder; name something that the workflow made")

    if not manifests:
        raise UserError(
            f"{target}: no manifest speaks of it, so nobody can say what it was made from"
        )
    return [path.with_name(path.name.removesuffix(MARK)) for path in manifests]


def _is_foreign(path: Path) -> bool:
    """Whether a file is called like a manifest and isn't one: JSON without a version number. What
    is damaged counts as ours, so that it is told of.
    """
    try:
        return not isinstance(read_json(path, remedy="").get("manifest"), int)
    except UserError:
        return False


def _manifests_naming(target: Path) -> Iterator[Path]:
    """The manifest, here or a folder higher, whose step wrote ``target`` beside its artefact."""
    for path in (path for folder in target.parents[:2] for path in sorted(folder.glob(f"*{MARK}"))):
        artefact = path.with_name(path.name.removesuffix(MARK))
        try:
            manifest = read_manifest(artefact)
        except UserError:
            continue
        paths = MovedPaths.of(manifest["artefact"]["path"], artefact)
        if any(paths.find(file["path"]) == target for file in manifest.get("files", [])):
            yield path
            return


def _follow(chain: Chain, path: Path) -> Node:
    """The node of ``path``, with all that it was made from; each file becomes one node however
    often it was used.
    """
    if path in chain.nodes:
        return chain.nodes[path]

    node = chain.nodes[path] = Node(path)
    if not manifest_path(path).is_file():
        return node
    try:
        node.manifest = read_manifest(path)
        _add_claims(chain, node, node.manifest)
    except UserError as error:
        chain.problems.append(str(error))
    except (KeyError, TypeError, AttributeError):
        chain.problems.append(
            f"{manifest_path(path)}: not as a step writes it; delete {path} and run its step again"
        )
    return node


def _leaf(chain: Chain, path: Path) -> Node:
    """The node of a file that no step made."""
    return chain.nodes.setdefault(path, Node(path))


def _add_claims(chain: Chain, node: Node, manifest: Mapping[str, Any]) -> None:
    """What the manifest of ``node`` says of itself, of the files beside it and of its inputs."""
    own = manifest["artefact"]
    if Path(own["path"]).name != node.path.name:
        chain.problems.append(
            f"{manifest_path(node.path)}: is the manifest of {own['path']}, not of "
            f"{node.path.name}: swapped or renamed"
        )
    paths = MovedPaths.of(own["path"], node.path)
    chain.claims.append(Claim(node.path, own["sha256"], own["bytes"], node.path, "artefact"))

    for file in manifest.get("files", []):
        path = paths.find(file["path"])
        node.files.append(path)
        chain.claims.append(Claim(path, file["sha256"], file["bytes"], node.path, "file"))

    for used in manifest["inputs"]:
        path = paths.find(used["path"])
        chain.claims.append(Claim(path, used["sha256"], used["bytes"], node.path, "input"))
        # Beside a file of the user's may lie something that is called a manifest, too.
        made = "manifest" in used or "seal" not in manifest
        node.inputs[used["path"]] = _follow(chain, path) if made else _leaf(chain, path)
        _check_seal(chain, node, node.inputs[used["path"]], used.get("manifest"))


def _check_seal(chain: Chain, node: Node, used: Node, seal: str | None) -> None:
    """Whether ``used`` still has the manifest that it had when ``node`` was made from it, whose
    ``seal`` was noted then; None: it had none.
    """
    if seal is None or seal == (used.manifest or {}).get("seal"):
        return

    manifest = manifest_path(used.path)
    if used.manifest is None:
        if used.path.is_file() and not manifest.is_file():
            chain.problems.append(
                f"{manifest}: missing, so what {used.path.name} was made from is unknown"
            )
    elif str(used.manifest.get("created")) > str((node.manifest or {}).get("created")):
        chain.notes.append(f"{used.path}: made again after {node.path.name} was made from it")
    else:
        chain.problems.append(
            f"{manifest}: not the manifest that was there when {node.path.name} was made; swapped?"
        )
