"""Writes a trained model as people use it: a folder that transformers and others load, with a model
card.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.beside import made_from_another
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Folder, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        "export",
        "sources",
        "sft_data",
        "preferences.sources",
        "seed",
        *(f"publish.{key}" for key in ("name", "licence", "languages", "datasets")),
    ),
    shows=("sources", "sft_data", "preferences.sources"),  # their licences, for the model card
    reads={
        "model": File("final_model.pt, sft_model.pt or preference_model.pt"),
        "tokenizer": TOKENIZER,
        "evaluation": File("evaluation.json, for the model card", optional=True),
    },
    beside={
        "artefacts": File(
            "files of the run that the model card tells of",
            many=True,
            optional=True,
            verified=False,
        )
    },
    writes={
        "output": Folder(
            "folder to write",
            files=(
                "model.safetensors",
                "config.json",
                "generation_config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "model.pt",
                "README.md",
            ),
        )
    },
    published=True,
)


@STEP
def main(run: Run) -> Counts:
    run.log.say("loading torch")
    from snakelm.analysis.model_card import About, model_card
    from snakelm.evaluation.records import read_evaluation
    from snakelm.model import load_model
    from snakelm.model.export import export
    from snakelm.tokenizer import Tokenizer

    config, files = run.config, run.files
    model, record = load_model(files.model)
    tokenizer = Tokenizer.load(files.tokenizer)
    about = About(
        shape=model.shape,
        parameters=sum(p.numel() for p in model.parameters()),
        vocab_size=model.vocab_size,
        chat=bool(record.get("chat")),
        pattern=tokenizer.pattern,
        config=config,
    )

    evaluation = read_evaluation(files.evaluation) if files.evaluation else None
    card = model_card(about, list(dict.fromkeys([*files.artefacts, files.model])), evaluation)
    facts = export(files.model, tokenizer, files.output, card)
    run.log.say(
        f"{files.output}: {facts['parameters']:,} parameters in {len(facts['files'])} files"
    )
    for beside in made_from_another(files.output, files.model):
        run.log.warn(
            f"{beside}: lies beside this model and was made from another one; make it again "
            f"(snakemake --cores 8 {beside}), or delete it before the folder is published"
        )
    return {"export": facts}


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
