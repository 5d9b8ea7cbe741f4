"""results/models/final/: a model as people use it, in the form that transformers and others load.

    model.safetensors  config.json  generation_config.json    the network
    tokenizer.json  tokenizer_config.json                     the tokenizer; the chat template, if
                                                              the model is tuned
    model.pt                                                  the same model in our own form
    README.md                                                 the model card

Each file is written atomically, config.json last: a folder without it loads nowhere.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import TypedDict

import torch

from ..data.conversations.chat_template import JINJA, chat_tokens
from ..errors import UserError
from ..files import atomic_path, reserve, write_json, write_text
from ..model_folders import CHAT_TOKENS_TRAINED
from ..tokenizer import EOT, Tokenizer
from ..tokenizer.huggingface import tokenizer_json
from ..tokenizer.special import END
from .file import knows_chat_tokens, load_model
from .generate import usual_temperature
from .huggingface import Ends, huggingface_config, huggingface_weights

__all__ = ["FILES", "ExportSummary", "export"]

FILES = (
    "model.safetensors",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.pt",
    "README.md",
    "config.json",
)


class ExportSummary(TypedDict):
    """What a manifest says of the folder."""

    parameters: int
    chat: bool
    files: dict[str, str]  # name → SHA-256


def export(model_file: Path, tokenizer: Tokenizer, folder: Path, card: str) -> ExportSummary:
    """Writes all FILES into ``folder``; ``card`` is the model card's text."""
    model, record = load_model(model_file)
    if record["tokenizer"]["sha256"] != tokenizer.sha256:
        raise UserError(f"{model_file}: trained with another tokenizer than this one; name its own")

    chat = bool(record.get("chat"))
    end = chat_tokens(tokenizer)[END] if chat else tokenizer.eot
    ends = Ends(tokenizer.eot, sorted({tokenizer.eot, end}))
    weights = huggingface_weights(model)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    _write_safetensors(folder / "model.safetensors", weights)
    write_json(folder / "generation_config.json", _generation(ends, chat))

    with atomic_path(folder / "tokenizer.json") as temporary:
        temporary.write_text(
            json.dumps(tokenizer_json(tokenizer), ensure_ascii=False), encoding="utf-8"
        )
    write_json(
        folder / "tokenizer_config.json",
        _tokenizer_config(model.shape.context, chat, knows_chat_tokens(record)),
    )

    with atomic_path(folder / "model.pt") as temporary:
        shutil.copyfile(model_file, temporary)
    write_text(folder / "README.md", card)
    write_json(folder / "config.json", huggingface_config(model.shape, model.vocab_size, ends))

    return {
        "parameters": sum(w.numel() for w in weights.values()),
        "chat": chat,
        "files": _hashes(folder),
    }


def _write_safetensors(path: Path, weights: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save

    data = save(weights, metadata={"format": "pt"})  # transformers looks for this
    with atomic_path(path) as temporary:
        reserve(temporary, len(data))
        temporary.write_bytes(data)


def _generation(ends: Ends, chat: bool) -> dict[str, object]:
    return {
        "bos_token_id": ends.begin,
        "do_sample": True,
        "eos_token_id": ends.stop,
        "pad_token_id": ends.begin,
        "temperature": usual_temperature(chat),
        "top_k": 50,
    }


def _tokenizer_config(context: int, chat: bool, chat_tokens: bool) -> dict[str, object]:
    """As transformers' fast tokenizers read it; only a tuned model has the chat template. A key of
    our own says of another one that it was tuned once: what comes next won't start those anew.
    """
    config: dict[str, object] = {
        "bos_token": EOT,
        "clean_up_tokenization_spaces": False,
        "eos_token": END if chat else EOT,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": context,
        "pad_token": EOT,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if chat:
        return {**config, "chat_template": JINJA}
    return {**config, CHAT_TOKENS_TRAINED: True} if chat_tokens else config


def _hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
