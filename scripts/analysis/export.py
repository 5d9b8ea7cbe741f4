"""Writes a trained model as people use it: a folder that transformers and others load, with a model
card.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import as_mapping, load_config
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
    arguments.add_argument(
        "--artefacts", nargs="*", default=[], help="files of the run that the model card tells of"
    )
    arguments.add_argument("--evaluation", type=Path, help="evaluation.json, for the model card")
    arguments.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER", help="folder to write"
    )
    arguments.add_argument("--log", type=Path, help="log file")
    args = arguments.parse_args(argv)
    with Log("export", args.log) as log:
        log.say("loading torch")
        facts = _export(args)
        log.say(f"{args.output}: {facts['parameters']:,} parameters in {len(facts['files'])} files")
    return 0


def _export(args) -> dict:
    from snakelm.analysis.model_card import About, model_card
    from snakelm.evaluation.records import read_evaluation
    from snakelm.model import load_model
    from snakelm.model.export import FILES, export
    from snakelm.tokenizer import Tokenizer

    model, record = load_model(args.model)
    config, tokenizer = load_config(args.config), Tokenizer.load(args.tokenizer)
    about = About(
        shape=model.shape,
        parameters=sum(p.numel() for p in model.parameters()),
        vocab_size=model.vocab_size,
        chat=bool(record.get("chat")),
        pattern=tokenizer.pattern,
        config=config,
    )
    evaluation = read_evaluation(args.evaluation) if args.evaluation else None
    card = model_card(about, dict.fromkeys([*args.artefacts, args.model.as_posix()]), evaluation)
    facts = export(args.model, tokenizer, args.output, card)
    weights = args.output / "model.safetensors"
    write_manifest(
        weights,
        inputs=[
            args.model,
            args.tokenizer / "meta.json",
            *([args.evaluation] if args.evaluation else []),
        ],
        files=[args.output / name for name in FILES if name != weights.name],
        config=as_mapping(config, ("export",), cosmetic=False),
        script=__file__,
        seed=config.seed,
        extra={"export": facts},
    )
    return facts


if __name__ == "__main__":
    raise SystemExit(run(main))
