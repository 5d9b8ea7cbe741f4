"""Writes a trained model as one GGUF file, the form that llama.cpp, Ollama and LM Studio load, and
beside it Ollama's Modelfile.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.artefacts import TOKENIZER
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import Counts, File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("export", "publish"),
    reads={
        "model": File("final_model.pt, sft_model.pt or preference_model.pt"),
        "tokenizer": TOKENIZER,
    },
    writes={"output": File("GGUF file to write", leaves=("Modelfile",))},
    published=True,
)


@STEP
def main(run: Run) -> Counts:
    run.log.say("loading torch")
    from snakelm.files import human_bytes, write_text
    from snakelm.model.gguf import write_gguf
    from snakelm.model.ollama import modelfile
    from snakelm.tokenizer import Tokenizer

    files, publish = run.files, run.config.publish
    facts = write_gguf(files.model, Tokenizer.load(files.tokenizer), files.output, publish)
    text = modelfile(files.output.name, facts["chat"], facts["context"])
    write_text(files.output.with_name("Modelfile"), text)
    size = human_bytes(files.output.stat().st_size)
    run.log.say(f"{files.output}: {facts['parameters']:,} parameters, {size}")
    return {"export": facts}


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
