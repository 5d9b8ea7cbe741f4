"""Writes a trained model as one GGUF file, the form that llama.cpp, Ollama and LM Studio load."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
from snakelm.files import human_bytes
from snakelm.log import Log
from snakelm.workflow.exit_codes import parser, run
from snakelm.workflow.manifest import write_manifest


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--config", nargs="+", required=True, help="settings, later files over earlier ones"
    )
    arguments.add_argument(
        "--model", required=True, type=Path, help="final_model.pt or sft_model.pt"
    )
    arguments.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer")
    arguments.add_argument("--output", required=True, type=Path, help="GGUF file to write")
    arguments.add_argument("--log", type=Path, help="log file")
    args = arguments.parse_args(argv)
    config = load_config(args.config)
    with Log("export_gguf", args.log) as log:
        log.say("loading torch")
        from snakelm.model.gguf import write_gguf
        from snakelm.tokenizer import Tokenizer

        facts = write_gguf(args.model, Tokenizer.load(args.tokenizer), args.output, "snakelm")
        write_manifest(
            args.output,
            inputs=[args.model, args.tokenizer / "meta.json"],
            config=as_mapping(config, ("export",), cosmetic=False),
            script=__file__,
            seed=config.seed,
            extra={"export": facts},
        )
        log.say(
            f"{args.output}: {facts['parameters']:,} parameters, {human_bytes(args.output.stat().st_size)}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
