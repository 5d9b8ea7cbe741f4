"""Finding a configured source by its name."""

import difflib

from ...config import Config, Source
from ...errors import UserError

__all__ = ["source_named"]


def source_named(config: Config, name: str) -> Source:
    """The source called ``name``; a UserError that lists the names there are."""
    sources = {source.name: source for source in config.sources}
    if name not in sources:
        near = difflib.get_close_matches(name, sources, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"--source: no source {name!r}; sources are {', '.join(sources)}{hint}")
    return sources[name]
