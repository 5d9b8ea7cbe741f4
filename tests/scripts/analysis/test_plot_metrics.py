"""The script by hand: everything given, nothing but what must be, and mistakes in one line."""

import importlib
import json

import numpy as np
import pytest

from snakelm.data.bins import BinWriter, Meta
from snakelm.workflow.exit_codes import exit_code


def script(name):
    return importlib.import_module(f"scripts.analysis.{name}")


@pytest.fixture
def given(tmp_path):
    """The arguments that can't be left out."""
    (tmp_path / "my.yaml").write_text("train: {steps: 10}\n", encoding="utf-8")
    (tmp_path / "metrics.csv").write_text(
        "step,tokens,loss\n5,100,3.0\n10,200,2.0\n", encoding="utf-8"
    )
    with BinWriter(tmp_path / "train.bin", Meta("uint16", 10, 9, "00")) as writer:
        writer.append(np.array([9, 1, 2, 9, 3]), np.array([3, 2]), np.array([1, 2]), 3)
    paths = {
        "config": "my.yaml",
        "metrics": "metrics.csv",
        "train-bin": "train.bin",
        "figures": "f",
        "tables": "t",
    }
    return {f"--{name}": str(tmp_path / path) for name, path in paths.items()}


def arguments(given, **more):
    return [
        word
        for pair in {**given, **{f"--{k}": v for k, v in more.items()}}.items()
        for word in pair
    ]


def test_bare_run_writes_all_figures_and_tables(given, tmp_path, capsys):
    assert script("plot_metrics").main(arguments(given)) == 0
    assert len(list((tmp_path / "f").glob("*.svg"))) == 7
    assert {file.stem for file in (tmp_path / "t").glob("*.html")} == {"samples", "sources"}
    assert "2 rows → 9 figures and tables" in capsys.readouterr().err.replace("\n", " ")


def test_files_that_are_not_there_yet_are_left_out(given, tmp_path):
    absent = str(tmp_path / "absent")
    more = {"samples": absent, "baseline": absent, "artefacts": absent, "training-log": absent}
    assert script("plot_metrics").main(arguments(given, **more)) == 0


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("metrics", None, "No such file"),
        ("metrics", "a,b\n1,2\n", "no column `step`"),
        ("baseline", "{", "not JSON"),
        ("config", "trian: 1\n", "train"),
    ],
    ids=["no metrics", "another csv", "torn baseline", "wrong key"],
)
def test_mistakes_are_one_line_and_exit_code_2(option, text, said, given, tmp_path, capsys):
    path = tmp_path / "given"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert (
        exit_code(lambda: script("plot_metrics").main(arguments(given, **{option: str(path)}))) == 2
    )
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_option_names_are_not_guessed(given):
    with pytest.raises(SystemExit):
        script("plot_metrics").main([*arguments(given), "--base", "x"])


def test_baseline_writes_its_table_and_manifest(tmp_path, capsys):
    from snakelm.tokenizer import train_bpe

    texts = [f"{i} lines of text are not much, {i * i} are" for i in range(50)]
    tokenizer = train_bpe(texts, 280)
    tokenizer.save(tmp_path / "tokenizer")
    for name, some in (("train", texts[:40]), ("val", texts[40:])):
        ids = [np.array([tokenizer.eot, *tokenizer.encode_ordinary(text)]) for text in some]
        with BinWriter(
            tmp_path / f"{name}.bin", Meta("uint16", 280, tokenizer.eot, tokenizer.sha256)
        ) as writer:
            writer.append(
                np.concatenate(ids), np.array([i.size for i in ids]), np.arange(len(ids)), 1
            )
    np.save(tmp_path / "val_overlap.npy", np.zeros(10, np.float32))
    (tmp_path / "my.yaml").write_text("", encoding="utf-8")
    paths = {
        "config": "my.yaml",
        "processed": ".",
        "tokenizer": "tokenizer",
        "output": "t/baseline.json",
    }
    assert (
        script("baseline").main(
            [w for k, v in paths.items() for w in (f"--{k}", str(tmp_path / v))]
        )
        == 0
    )
    table = json.loads((tmp_path / "t/baseline.json").read_text())
    assert 0 < table["ppmd"]["bpb"] == table["ppmd"]["bpb_clean"] < table["unigram"]["bpb"]
    assert (tmp_path / "t/baseline.json.manifest.json").is_file()
    assert "primed PPMd" in capsys.readouterr().err
