"""Conversations to packs, against TRL: padding, and MB of text a CPU-second from JSONL to what
training reads.

    python benchmarks/sft.py --tokenizer results/tokenizer --folder /somewhere --json sft.json
    pip install --no-deps --target /where/trl/is trl
    PYTHONPATH=/where/trl/is python benchmarks/sft.py …

Two sets: the built-in one in rows of its 256 tokens, and generated words with a long tail of
lengths (lognormal, like chats that people have had) in rows of 2048. TRL's side does what
SFTTrainer does with `packing=True` and `assistant_only_loss=True`: its chat template and mask for
each conversation, then `pack_dataset(strategy="bfd")`, which packs within batches of 1,000; "one
batch" gives it all at once. Both have the same tokenizer, one thread, and CPU time is counted, of
the process with its children; ids and masks of both are compared before anything is timed.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from snakelm.config import from_mapping
from snakelm.data.conversations.chat_template import render_batch
from snakelm.data.conversations.prepare import prepare_sft
from snakelm.data.corpora import questions
from snakelm.data.packs import best_fit
from snakelm.files import write_json
from snakelm.log import Log
from snakelm.tokenizer import Tokenizer
from snakelm.tokenizer.special import END, EOT
from snakelm.workflow.exit_codes import exit_code, parser

Messages = list[dict[str, str]]
# TRL needs the assistant's parts marked; the tokens are those of snakelm.data.chat.
TEMPLATE = (
    f"{{{{ '{EOT}' }}}}{{% for m in messages %}}{{{{ '<|' + m['role'] + '|>' }}}}"
    "{% if m['role'] == 'assistant' %}"
    f"{{% generation %}}{{{{ m['content'] + '{END}' }}}}{{% endgeneration %}}"
    f"{{% else %}}{{{{ m['content'] + '{END}' }}}}{{% endif %}}{{% endfor %}}"
)


def generated(megabytes: float, seed: int = 0) -> list[Messages]:
    """Conversations of one to four pairs of turns, lengths lognormal, words by Zipf's law, no two
    begun alike.
    """
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    words = [
        "".join(letters[random.geometric(0.13, random.integers(2, 11)) % 26]) for _ in range(20_000)
    ]
    chance = np.cumsum(1 / np.arange(3, 20_003))
    found, size = [], 0
    while size < megabytes * 1e6:
        messages = []
        for turn in range(2 * random.integers(1, 5)):
            count = int(min(1500, random.lognormal(3.2 + turn % 2, 1)) + 3)
            picks = np.searchsorted(chance, random.random(count) * chance[-1])
            text = " ".join([f"{len(found)}", *map(words.__getitem__, picks.tolist())])
            messages.append({"role": ("user", "assistant")[turn % 2], "content": text})
            size += len(text)
        found.append(messages)
    return found


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of ``work``, its children's too, and what it gave."""
    before = os.times()
    result = work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4]), result


def ours(
    file: Path, tokenizer: Tokenizer, context: int, folder: Path
) -> tuple[float, dict[str, Any]]:
    """prepare_sft_data as the workflow runs it."""
    config = from_mapping({"sft_data": {"sources": [{"path": str(file)}], "context": context}})
    with Log("prepare_sft_data", quiet=True) as log:
        return cpu(lambda: prepare_sft(config, tokenizer, folder, threads=1, log=log)[1])


def fast_tokenizer(folder: Path) -> Any:
    """The same tokenizer for TRL, from its tokenizer.json."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token=EOT
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def trl_tokenised(file: Path, tokenizer: Any, context: int, cache: Path) -> Any:
    """TRL's first half: input_ids and assistant_masks; conversations over ``context`` dropped, as
    ours are.
    """
    from datasets import load_dataset

    def tokenise(example: dict[str, Any]) -> dict[str, Any]:
        done = tokenizer.apply_chat_template(
            example["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return {"input_ids": done["input_ids"], "assistant_masks": done["assistant_masks"]}

    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(cache))
    rows = rows.map(tokenise, remove_columns=rows.column_names)
    return rows.filter(lambda example: len(example["input_ids"]) <= context)


def trl_packed(rows: Any, context: int, batch: int | None = None) -> Any:
    """TRL's second half."""
    from trl.data_utils import pack_dataset

    return pack_dataset(
        rows, context, strategy="bfd", map_kwargs={"batch_size": batch} if batch else None
    )


def compare(
    name: str, talks: list[Messages], context: int, given: Any, baseline: bool
) -> list[dict[str, Any]]:
    """The rows of the table for one set of conversations."""
    folder = given.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file, tokenizer = folder / "talks.jsonl", Tokenizer.load(given.tokenizer)
    file.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in talks))
    megabytes = sum(len(m["content"].encode()) for messages in talks for m in messages) / 1e6
    ids, mask, starts = render_batch(talks, tokenizer)
    fits = np.diff(starts) <= context
    lengths = np.diff(starts)[fits]
    seconds, (_, bounds) = cpu(lambda: best_fit(lengths, context))
    rows = []

    def row(who: str, packs: int, packing: float, total: float | None) -> None:
        rows.append(
            {
                "set": name,
                "context": context,
                "conversations": int(fits.sum()),
                "too_long": int((~fits).sum()),
                "mb": megabytes,
                "who": who,
                "packs": packs,
                "efficiency": float(lengths.sum() / (packs * context)),
                "packing_s": packing,
                "whole_s": total,
                "mb_per_cpu_s": megabytes / total if total else None,
            }
        )

    row("snakelm", bounds.size - 1, seconds, ours(file, tokenizer, context, folder / "out")[0])
    if baseline:
        fast = fast_tokenizer(given.tokenizer)
        first, dataset = cpu(lambda: trl_tokenised(file, fast, context, folder / "cache"))
        theirs = np.concatenate(dataset["input_ids"]), np.concatenate(dataset["assistant_masks"])
        kept = np.repeat(fits, np.diff(starts))
        if not (np.array_equal(theirs[0], ids[kept]) and np.array_equal(theirs[1], mask[kept])):
            raise SystemExit(f"{name}: ids or masks of the two differ; nothing to compare")
        second, packed = cpu(lambda: trl_packed(dataset, context))
        row("TRL", len(packed), second, first + second)
        second, packed = cpu(lambda: trl_packed(dataset, context, len(dataset)))
        row("TRL, one batch", len(packed), second, first + second)
    return rows


def why_no_baseline() -> str:
    """Why TRL can't run here; '' when it can."""
    try:
        import datasets
        import transformers
        import trl.data_utils  # noqa: F401 - only whether it is there

        datasets.disable_progress_bars()
        transformers.logging.set_verbosity_error()
    except ImportError as error:
        return f"TRL left out: {error}"
    return ""


def show(rows: list[dict[str, Any]]) -> None:
    print(f"{'set':<12} {'context':>7} {'talks':>7} {'MB':>6} {'':<15}", end=" ")
    print(f"{'packs':>7} {'filled':>7} {'pack s':>7} {'MB/CPU-s':>9}")
    for r in rows:
        print(f"{r['set']:<12} {r['context']:7} {r['conversations']:7,} ", end="")
        print(f"{r['mb']:6.1f} {r['who']:<15}", end=" ")
        print(
            f"{r['packs']:7,} {r['efficiency']:7.2%} {r['packing_s']:7.2f} {r['mb_per_cpu_s']:9.2f}"
        )


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--tokenizer", type=Path, default=Path("results/tokenizer"), help="folder of the tokenizer"
    )
    arguments.add_argument("--mb", type=float, default=10, help="size of the generated set")
    arguments.add_argument(
        "--folder", type=Path, required=True, help="where files may go; about 20 times --mb"
    )
    arguments.add_argument("--json", help="file for the figures")
    given = arguments.parse_args(argv)
    reason = why_no_baseline()
    if reason:
        print(reason)
    began = time.time()
    rows = compare("built-in", list(questions.conversations(1337)), 256, given, not reason)
    rows += compare("long tail", generated(given.mb), 2048, given, not reason)
    show(rows)
    if given.json:
        trl = metadata.version("trl") if not reason else None
        write_json(
            given.json, {"rows": rows, "trl": trl, "reason": reason, "wall_s": time.time() - began}
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
