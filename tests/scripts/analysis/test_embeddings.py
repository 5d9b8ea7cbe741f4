"""The three scripts of the map by hand: from documents to the page, mistakes in one line, and a
kill in between.
"""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.manifest import read_manifest
from tests.snakelm.evaluation.embeddings.made_run import make_run

ROOT = Path(__file__).resolve().parents[3]
GENERATE = ROOT / "scripts/analysis/generate_embeddings.py"


def main_of(name):
    return importlib.import_module(f"scripts.analysis.{name}").main


def arguments(made, **more):
    """What generate_embeddings can't do without, and ``more``."""
    config = made.folder / "my.yaml"
    config.write_text(
        yaml.safe_dump({"train": {"device": "cpu", "precision": "fp32"}, **more}), encoding="utf-8"
    )
    files = made.files
    given = {
        "config": config,
        "documents": files.documents,
        "model": files.model,
        "tokenizer": files.tokenizer,
    }
    given |= {"val": files.val, "output": files.output}
    return [word for name, path in given.items() for word in (f"--{name}", str(path))]


def test_from_documents_to_the_page(tmp_path, capsys):
    made = make_run(tmp_path)
    given = arguments(made, embeddings={"documents": 60}, tsne={"perplexity": 5})
    assert main_of("generate_embeddings")(given) == 0
    manifest = read_manifest(made.files.output)
    assert manifest["counts"]["embeddings"] == {"by": "model", "documents": 60, "width": 32}
    assert {Path(i["path"]).name for i in manifest["inputs"]} >= {
        "documents.parquet",
        "final_model.pt",
        "val.bin",
    }
    map_, page = tmp_path / "map.parquet", tmp_path / "map.html"
    figures = [str(tmp_path / f"map_{name}.svg") for name in ("source", "loss", "tokens", "score")]
    drawn = [
        "--config",
        str(tmp_path / "my.yaml"),
        "--embeddings",
        str(made.files.output),
        "--map",
        str(map_),
    ]
    assert main_of("visualize_embeddings")([*drawn, "--figures", *figures]) == 0
    assert all(Path(figure).stat().st_size > 1000 for figure in figures)
    made = read_manifest(map_)["counts"]["map"]
    how = {"method": "scikit-learn", "distinct": made["distinct"], "perplexity": 5.0}
    assert made == {"documents": 60, **how}
    assert 50 < made["distinct"] <= 60
    assert pq.read_table(map_).column_names[:3] == ["x", "y", "id"]
    given = ["--map", str(map_), "--output", str(page)]
    assert main_of("plot_tsne_interactive")([*given, "--report", str(tmp_path / "small.html")]) == 0
    assert "60 of 60 documents" in capsys.readouterr().err.replace("\n", " ")
    assert page.stat().st_size < 8_000_000
    assert (tmp_path / "small.html").stat().st_size < 100_000


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda made: made.files.model.write_bytes(b"x"), "final_model.pt"),
        (lambda made: made.files.documents.write_bytes(b"x"), "documents.parquet: damaged"),
        (lambda made: made.files.documents.unlink(), "documents.parquet: no such file"),
        (lambda made: made.retokenized(), "made with tokenizer"),
    ],
    ids=["no model", "damaged", "missing", "other tokenizer"],
)
def test_mistakes_are_a_line(spoil, message, tmp_path, capsys):
    made = make_run(tmp_path, plain=0)
    spoil(made)
    given = arguments(made)
    assert exit_code(lambda: main_of("generate_embeddings")(given)) == 2
    assert message in capsys.readouterr().err
    assert not made.files.output.exists()


def test_killed_without_warning_it_goes_on_to_the_same_bytes(tmp_path):
    made = make_run(tmp_path, plain=3000, group=20)
    command = [
        sys.executable,
        str(GENERATE),
        *arguments(made, embeddings={"documents": None}),
        "--threads",
        "1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    parts, deadline = made.files.output.parent / ".parts", time.monotonic() + 120
    while len(list(parts.glob("*/group-*.parquet"))) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not made.files.output.exists()
    again = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environment, check=True)
    assert "continues after" in again.stderr
    interrupted = made.files.output.read_bytes()
    made.files.output.unlink()
    subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environment, check=True)
    assert made.files.output.read_bytes() == interrupted
