"""docs/TOKENIZER.md: its example runs, and it names what there is."""

import inspect
import re
from pathlib import Path

import tiktoken

from snakelm.tokenizer import Tokenizer, extend_vocabulary, train_bpe
from snakelm.tokenizer.patterns import PATTERNS, llamacpp_name

PAGE = (Path(__file__).resolve().parents[3] / "docs/TOKENIZER.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/TOKENIZER.md", "exec"), {})
    assert (tmp_path / "tokenizer" / "meta.json").is_file()


def test_signatures_are_those_of_the_code():
    for call in (train_bpe, extend_vocabulary):
        shown = re.search(rf"`{call.__name__}\((.*?)\)` \|", PAGE).group(1)
        names = re.findall(r"(?:^|, )(\w+)", re.sub(r"\([^)]*\)", "", shown))
        parameters = [*inspect.signature(call).parameters]
        assert [name.replace("texts_or_parquet_paths", "texts") for name in parameters] == names


def test_every_name_of_tiktokens_is_mentioned():
    names = {name for name in dir(tiktoken.Encoding) if not name.startswith("_")}
    missing = {name for name in names if f"`{name}" not in PAGE}
    assert missing == set()
    assert names - {"encode_with_unstable"} <= set(dir(Tokenizer)) | {"name"}


def test_every_pattern_is_explained_with_its_name_in_llamacpp():
    for pattern in PATTERNS:
        (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{pattern}`")]
        known = llamacpp_name(pattern)
        assert line.endswith(f"| `{known}` |" if known else "| unknown |")
