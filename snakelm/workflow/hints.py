"""Commands to type next, as they work for this run: with its own configuration, Snakefile, folder
and profile.

A step knows its settings but not what Snakemake was called with, so the process that was called
leaves that in the environment.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from .code_digest import ROOT

__all__ = ["RUN", "chat", "options_of", "snakemake"]

RUN = "SNAKELM_RUN"  # the options, quoted for a shell
CHAT = "scripts/analysis/chat.py"

# Options of Snakemake that say which run is meant, and how many words follow them.
ONE, MANY, NONE = 1, 1000, 0
SAME_RUN = {
    **dict.fromkeys(["-s", "--snakefile", "-d", "--directory"], ONE),
    **dict.fromkeys(["--profile", "--workflow-profile"], ONE),
    **dict.fromkeys(["--configfile", "--configfiles", "-C", "--config"], MANY),
    **dict.fromkeys(["--sdm", "--software-deployment-method", "--deployment-method"], MANY),
    "--use-conda": NONE,
}


def options_of(argv: Sequence[str]) -> list[str]:
    """Those of a Snakemake command's words that another command for the same run needs too."""
    kept: list[str] = []
    wanted = 0
    for word in argv:
        name, equals, _ = word.partition("=")
        if word.startswith("-"):
            wanted = SAME_RUN.get(name, -1)
            if wanted >= 0:
                kept.append(word)
            wanted = 0 if equals else wanted
        elif wanted > 0:
            kept.append(word)
            wanted -= 1
    return kept


def snakemake(*words: str) -> str:
    """`snakemake … words` for this run. The words come first: some options take all that follow."""
    options = os.environ.get(RUN, "")
    cores = [] if "--profile" in options or "--report" in words else ["--cores", "8"]
    return " ".join(filter(None, [shlex.join(["snakemake", *cores, *words]), options]))


def chat(results: Path) -> str:
    """How to talk with the tuned model of ``results``."""
    script = CHAT if Path(CHAT).is_file() else str(ROOT / CHAT)
    elsewhere = [] if results == Path("results") else ["--results", str(results)]
    return shlex.join(["python", script, *elsewhere])
