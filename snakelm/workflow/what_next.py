"""What a person can do with a run that has just ended: printed once, with commands that work for
this very run.
"""

from pathlib import Path

from . import hints
from .code_digest import ROOT

__all__ = ["what_next"]

MODEL, TUNED = "final_model.pt", "sft_model.pt"
EXPORTED, GGUF, DRAWN = "models/final/config.json", "models/final/model.gguf", "tables/summary.html"
GUIDE = "docs/PUBLISHING.md"


def what_next(results: Path) -> str:
    """The lines, for what there is in ``results``; empty before there is a model."""
    there = {name: (results / name).is_file() for name in (MODEL, TUNED, EXPORTED, GGUF, DRAWN)}
    if not (there[MODEL] or there[TUNED]):
        return ""

    lines = []
    if not (there[EXPORTED] and there[DRAWN]):
        lines.append(("the rest", hints.snakemake(), "tuning, evaluation, export, figures"))
    lines.append(("report", hints.snakemake("--report"), "report.html, one page"))
    if there[TUNED]:
        lines.append(("chat", hints.chat(results), "--serve for a page and an API"))
    else:
        lines.append(("try it", f"{hints.chat(results)} --base", "goes on with what you write"))

    folder = (results / EXPORTED).parent
    if there[EXPORTED]:
        lines.append(("model", f"{folder}/", "loads in transformers; README.md is its card"))
    if there[GGUF]:
        command = f"ollama create my-model -f {folder}/Modelfile"
        lines.append(("Ollama", command, "or model.gguf in llama.cpp"))
    if there[EXPORTED]:
        guide = GUIDE if Path(GUIDE).is_file() else str(ROOT / GUIDE)
        lines.append(("publish", guide, "what to check first, and how"))

    width = max(len(name) for name, _, _ in lines)
    shown = [f"  {name:<{width}}  {what}    ({why})" for name, what, why in lines]
    return "\n".join(["", "What next?", *shown, ""])
