"""A chain of files and the origin of a token as a person reads them on a terminal."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ..files import human_bytes
from ..terminal import harmless
from .chain import Chain, Node
from .token_origin import Origin

__all__ = ["origin_lines", "show_origin", "show_tree", "wide_console"]

SIGNS = {
    "sound": ("✓", "green"),
    "changed": ("✗ CHANGED", "bold red"),
    "missing": ("✗ MISSING", "bold red"),
}
SIGNS["gone"] = ("not there any more", "yellow")
FILES_SHOWN, PACKAGES_SHOWN = 12, 6
WIDE = 500  # columns, so that no hash is cut off: a narrow terminal breaks the lines by itself


def wide_console() -> Console:
    """Standard output, no line of it ever cut off or padded."""
    return Console(width=WIDE, highlight=False)


def show_tree(chain: Chain, console: Console) -> None:
    """The tree of inputs under each root; what was shown once is named and not unfolded again."""
    known = {claim.path: claim for claim in reversed(chain.claims)}
    sizes = {path: (claim.sha256, claim.size) for path, claim in known.items()}
    shown: set[Path] = set()
    for root in chain.roots:
        tree = Tree(_label(root.path, chain, sizes), guide_style="dim")
        _unfold(tree, root, chain, sizes, shown)
        console.print(tree)


def _unfold(
    tree: Tree, node: Node, chain: Chain, sizes: Mapping[Path, tuple[str, int]], shown: set[Path]
) -> None:
    if node.path in shown:
        if node.made:
            tree.label.append("  (unfolded above)", "dim")
        return
    shown.add(node.path)
    if node.made is None:
        return
    tree.label.append(f"  by {node.step}, {str(node.made.get('created'))[:10]}", "dim")
    for path in node.files[:FILES_SHOWN]:
        tree.add(Text("and ", "dim") + _label(path, chain, sizes))
    if len(node.files) > FILES_SHOWN:
        tree.add(Text(f"and {len(node.files) - FILES_SHOWN} more files", "dim"))
    for line in _from_outside(node.made):
        tree.add(Text(harmless(line), "dim"))
    for used in node.inputs.values():
        _unfold(tree.add(_label(used.path, chain, sizes)), used, chain, sizes, shown)


def _label(path: Path, chain: Chain, sizes: Mapping[Path, tuple[str, int]]) -> Text:
    sha256, size = sizes.get(path, ("?", 0))
    text = Text(harmless(_short(path)), "bold" if path in chain.nodes else "")
    text.append(f"  {sha256[:12]}  {human_bytes(size)}", "cyan")
    if path in chain.states:
        sign, style = SIGNS[chain.states[path]]
        text.append(f"  {sign}", style)
    return text


def _short(path: Path) -> str:
    """As seen from here, where that is shorter."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def _from_outside(made: Mapping[str, Any]) -> Iterator[str]:
    """What a step read that is no file of the chain: shards that are gone, packages, addresses."""
    if made.get("through"):
        yield f"through {len(made['through'])} shards, which were not kept"
    collected = made.get("collected", {})
    found = [
        collected,
        *(one.get("reading", {}) for one in made.get("sources", []) if isinstance(one, dict)),
    ]
    for packages in (one["packages"] for one in found if one.get("packages")):
        some = ", ".join(f"{one['package']} {one['version']}" for one in packages[:PACKAGES_SHOWN])
        more = (
            f" and {len(packages) - PACKAGES_SHOWN} more" if len(packages) > PACKAGES_SHOWN else ""
        )
        yield f"text of installed packages: {some}{more}"
    yield from (f"fetched from {url}" for url in collected.get("urls", []))
    if "generator_seed" in collected:
        yield f"generated, seed {collected['generator_seed']}"


def show_origin(origin: Origin, console: Console) -> None:
    """The lines of `origin_lines`, the token itself marked."""
    for line in origin_lines(origin):
        console.print(Text(line), soft_wrap=True)
    text = Text(harmless(origin.before), "dim")
    text.append(harmless(origin.text), "reverse bold")
    text.append(harmless(origin.after), "dim")
    console.print(text, soft_wrap=True)


def origin_lines(origin: Origin) -> list[str]:
    """Plain lines, harmless on a terminal."""
    lines = [
        f"token {origin.token:,} of {_short(origin.bin)}: id {origin.token_id}, {origin.text!r}",
        f"document {origin.document:,} of {origin.documents:,} ({origin.document_id:016x}), its token {origin.place:,} "
        f"of {origin.length:,}",
        f"source {origin.source}: {origin.where}",
        f"there: {origin.confirmed}",
    ]
    return [harmless(line) for line in lines]
