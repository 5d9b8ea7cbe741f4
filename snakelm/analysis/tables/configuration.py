"""configuration.html: what it takes to get the same result: settings, versions, and the hashes of
all files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ...config import as_mapping
from ...publishing import public_path, publishable
from ..changed_settings import flat_settings
from ..manifests import StepManifest
from ..pages import write_page
from ..run_record import RunRecord

__all__ = ["write_configuration"]


@dataclass(frozen=True)
class HashedFile:
    """A file that a step read or wrote; ``step`` is the one that made it, where that is known."""

    path: str
    step: str | None
    bytes: int | None
    sha256: str


def write_configuration(record: RunRecord, path: str | Path) -> None:
    """The page of settings and provenance."""
    manifests = record.manifests.values()
    write_page(
        path,
        "configuration.html",
        rerun=record.rerun,
        versions=_versions(manifests, record.commit),
        files=_files(manifests, Path(path).parent.parent),
        settings=list(flat_settings(publishable(as_mapping(record.config)))),
    )


def _versions(manifests: Iterable[StepManifest], commit: str | None) -> list[tuple[str, str]]:
    """Of the code, the packages and the host, as the newest manifest has them."""
    newest = max(manifests, key=lambda manifest: manifest.created, default=StepManifest())
    code = {"git commit": commit} if commit else {}
    host = {f"host: {key}": str(value) for key, value in newest.host.items()}
    return sorted({**code, **newest.versions, **host}.items())


def _files(manifests: Iterable[StepManifest], results: Path) -> list[HashedFile]:
    """Every file that a step read or wrote, once, by path; shown as far as it is below
    ``results``.
    """
    files: dict[str, HashedFile] = {}
    for manifest in manifests:
        for file in manifest.inputs:
            files.setdefault(file.path, HashedFile(file.path, None, file.bytes, file.sha256))

        made = manifest.artefact  # counts before what a later step says of it as its input
        files[made.path] = HashedFile(made.path, manifest.step, made.bytes, made.sha256)

    return [replace(files[path], path=public_path(path, results)) for path in sorted(files) if path]
