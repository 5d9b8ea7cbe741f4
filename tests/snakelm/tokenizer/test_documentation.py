"""docs/TOKENIZER.md: its examples run, and it names what there is."""

import ast
import inspect
import re
from pathlib import Path

import tiktoken

import snakelm.tokenizer
from snakelm.tokenizer import Tokenizer, extend_vocabulary, train_bpe
from snakelm.tokenizer.patterns import PATTERNS, llamacpp_name

PAGE = (Path(__file__).resolve().parents[3] / "docs/TOKENIZER.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CALLS = {call.__name__: call for call in (train_bpe, extend_vocabulary)}


def test_the_examples_run_and_give_the_errors_that_they_state(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/TOKENIZER.md", "exec"), names)
    assert (tmp_path / "tokenizer" / "meta.json").is_file()

    stated = re.findall(r"^ {4}lambda: .*  # (.*)$", EXAMPLES[-1], re.MULTILINE)
    given = capsys.readouterr().out.splitlines()
    assert len(stated) >= 5
    for text, error in zip(stated, given, strict=True):
        assert text in error


def parameters(shown: str) -> list[tuple[str, str, object]]:
    """(name, kind, default) of each in what a signature shows."""
    (function,) = ast.parse(f"def call({shown}): ...").body
    positional, keyword = function.args.args, function.args.kwonlyargs
    filled = [None] * (len(positional) - len(function.args.defaults)) + function.args.defaults
    return [
        (argument.arg, kind, default and ast.unparse(default))
        for arguments, kind, defaults in (
            (positional, "POSITIONAL_OR_KEYWORD", filled),
            (keyword, "KEYWORD_ONLY", function.args.kw_defaults),
        )
        for argument, default in zip(arguments, defaults, strict=True)
    ]


def written(default: object) -> str | None:
    """A default as the page writes it."""
    if default is inspect.Parameter.empty:
        return None
    if default == (snakelm.tokenizer.EOT,):
        return "(EOT,)"
    return repr(dict(default) if hasattr(default, "keys") else default)


def test_signatures_are_those_of_the_code():
    """Names, order, what is by keyword only, defaults: of each call that a table shows."""
    seen = 0
    for name, shown in re.findall(r"^\| `([\w.]+)\(([^`]*)\)` \|", PAGE, re.MULTILINE):
        call = CALLS.get(name) or getattr(Tokenizer, name.removeprefix("Tokenizer."), None)
        call = Tokenizer if name == "Tokenizer" else call
        has = [
            (p.name, p.kind.name, written(p.default))
            for p in inspect.signature(call).parameters.values()
            if p.name != "self"
        ]
        assert parameters(shown) == has, name
        seen += 1
    assert seen >= 11


def test_every_public_name_is_mentioned():
    public = {name for name in dir(Tokenizer) if not name.startswith("_")}
    public |= {"pattern", "special_tokens", "facts", *snakelm.tokenizer.__all__}
    assert {name for name in public if not re.search(rf"`(Tokenizer\.)?{name}\b", PAGE)} == set()


def test_every_name_of_tiktokens_is_mentioned():
    names = {name for name in dir(tiktoken.Encoding) if not name.startswith("_")}
    missing = {name for name in names if f"`{name}" not in PAGE}
    assert missing == set()
    assert names - {"encode_with_unstable"} <= set(dir(Tokenizer)) | {"name"}


def test_a_decoder_calls_its_argument_as_tiktoken_does():
    for name in ("decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"):
        ours, theirs = (
            [*inspect.signature(getattr(encoding, name)).parameters]
            for encoding in (Tokenizer, tiktoken.Encoding)
        )
        assert ours == theirs


def test_every_pattern_is_explained_with_its_name_in_llamacpp():
    for pattern in PATTERNS:
        (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{pattern}`")]
        known = llamacpp_name(pattern)
        assert line.endswith(f"| `{known}` |" if known else "| unknown |")
