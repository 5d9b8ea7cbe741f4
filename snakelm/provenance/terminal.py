"""A chain of files and the origin of a token, as they are shown on a terminal."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ..files import human_bytes
from ..terminal import harmless
from .chain import Chain, FileState, Node
from .token_origin import Origin

__all__ = ["origin_lines", "show_origin", "show_tree", "wide_console"]

SIGNS: dict[FileState, tuple[str, str]] = {  # text, style
    "sound": ("✓", "green"),
    "changed": ("✗ CHANGED", "bold red"),
    "missing": ("✗ MISSING", "bold red"),
    "gone": ("not there any more", "yellow"),
}
FILES_SHOWN, PACKAGES_SHOWN = 12, 6
WIDE = 500  # columns, so that no hash is cut off: a narrow terminal breaks the lines by itself


def wide_console() -> Console:
    """Standard output, no line of it ever cut off or padded."""
    return Console(width=WIDE, highlight=False)


def show_tree(chain: Chain, console: Console) -> None:
    """The tree of inputs under each root; what was shown once is named and not unfolded again."""
    view = _TreeView(chain)
    for root in chain.roots:
        tree = Tree(view.label(root.path), guide_style="dim")
        view.unfold(tree, root)
        console.print(tree)


class _TreeView:
    """A chain as rich trees."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.shown: set[Path] = set()
        # The first claim on a file is the one to show.
        self.claims = {claim.path: claim for claim in reversed(chain.claims)}

    def label(self, path: Path) -> Text:
        """Name, hash, size, and what verification says of a file."""
        claim = self.claims.get(path)
        sha256, size = (claim.sha256, claim.size) if claim else ("?", 0)

        text = Text(harmless(_short(path)), "bold" if path in self.chain.nodes else "")
        text.append(f"  {sha256[:12]}  {human_bytes(size)}", "cyan")
        if path in self.chain.states:
            sign, style = SIGNS[self.chain.states[path]]
            text.append(f"  {sign}", style)
        return text

    def unfold(self, tree: Tree, node: Node) -> None:
        """Adds to ``tree``, whose label is that of ``node``, what it was made from."""
        label = tree.label
        assert isinstance(label, Text)
        if node.path in self.shown:
            if node.manifest:
                label.append("  (unfolded above)", "dim")
            return
        self.shown.add(node.path)
        if node.manifest is None:
            return

        label.append(f"  by {node.step}, {str(node.manifest.get('created'))[:10]}", "dim")
        for path in node.files[:FILES_SHOWN]:
            tree.add(Text("and ", "dim") + self.label(path))
        if len(node.files) > FILES_SHOWN:
            tree.add(Text(f"and {len(node.files) - FILES_SHOWN} more files", "dim"))
        for line in _from_outside(node.manifest):
            tree.add(Text(harmless(line), "dim"))
        for used in node.inputs.values():
            self.unfold(tree.add(self.label(used.path)), used)


def _short(path: Path) -> str:
    """As seen from here, where that is shorter."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def _from_outside(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What a step read that is no file of the chain: shards that are gone, packages, addresses."""
    if manifest.get("through"):
        yield f"through {len(manifest['through'])} shards, which were not kept"

    yield from _licences(manifest.get("config", {}))

    counts = manifest.get("counts", {})
    collected = counts.get("collected", {})
    sources = [one for one in counts.get("sources", []) if isinstance(one, dict)]
    for origin in [collected, *(one.get("reading", {}) for one in sources)]:
        if packages := origin.get("packages"):
            yield f"text of installed packages: {_package_names(packages)}"

    yield from (f"fetched from {url}" for url in collected.get("urls", []))
    if "generator_seed" in collected:
        yield f"generated, seed {collected['generator_seed']}"


def _licences(config: Mapping[str, Any]) -> Iterator[str]:
    """Those that the configuration of a step states, which export's does."""
    sections = (config, config.get("sft_data", {}), config.get("preferences", {}))
    for source in (one for section in sections for one in section.get("sources", [])):
        if source.get("licence"):
            name = source.get("name") or source.get("builtin") or source.get("path")
            yield f"licence of {name}: {source['licence']}"


def _package_names(packages: list[Mapping[str, Any]]) -> str:
    names = [f"{one['package']} {one['version']}" for one in packages[:PACKAGES_SHOWN]]
    more = len(packages) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def show_origin(origin: Origin, console: Console) -> None:
    """The lines of `origin_lines`, and the text around the token with the token marked."""
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
        f"document {origin.document:,} of {origin.documents:,} ({origin.document_id:016x}), its "
        f"token {origin.place:,} of {origin.length:,}",
        f"source {origin.source}: {origin.where}",
        f"there: {origin.confirmed}",
    ]
    return [harmless(line) for line in lines]
