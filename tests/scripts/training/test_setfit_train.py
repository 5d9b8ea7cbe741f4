"""setfit_train as a user runs it: what it leaves, that it is no pickle, and what it refuses
before it begins.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from snakelm.errors import UserError
from snakelm.files import sha256_file
from snakelm.filter.base import base_folder, check_sentence_model
from snakelm.filter.cascade import Filter
from snakelm.filter.folder import open_folder, read_tensors
from snakelm.filter.labels import read_labels
from snakelm.workflow.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[3]
IGNORED = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


def run(config, documents, folder, code=0, **environment):
    script = ROOT / "scripts/training/setfit_train.py"
    command = [sys.executable, script, "--config", config, "--documents", documents]
    command += ["--output", folder / "model", "--table", folder / "table.json"]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=ROOT,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def errors(said):
    """The lines of it, but for the warning that no manifest speaks of the documents."""
    return [line for line in said.splitlines() if "no manifest says" not in line]


def changed(tiny_filter, folder, **rules):
    values = yaml.safe_load(tiny_filter.config.read_text())
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**values, "classifier": {**values["classifier"], **rules}}))
    return path


def test_it_leaves_a_sentence_model_heads_and_numbers_and_no_pickle(tiny_filter):
    names = {
        f.relative_to(tiny_filter.model).as_posix()
        for f in tiny_filter.model.rglob("*")
        if f.is_file()
    }
    assert {
        "filter.json",
        "head.safetensors",
        "static.safetensors",
        "model.safetensors",
        "tokenizer.json",
    } <= names
    assert {Path(name).suffix for name in names} <= {".json", ".safetensors", ".txt"}
    record = json.loads((tiny_filter.model / "filter.json").read_text())
    assert set(record["files"]) == names - {"filter.json", "filter.json.manifest.json"}
    head = read_tensors(tiny_filter.model / "head.safetensors")
    assert head["weight"].shape == (32,)
    table = json.loads(tiny_filter.table.read_text())
    assert table["held_out"]["setfit"]["texts"] == 8
    assert [point["threshold"] for point in table["curve"]["setfit"]] == [
        i / 100 for i in range(101)
    ]
    assert set(table["documents_per_cpu_second"]) == {"setfit", "static", "cascade"}
    assert read_manifest(tiny_filter.model / "filter.json")["counts"]["band"] == table["band"]


def test_it_learns_what_the_labels_say(tiny_filter):
    table = json.loads(tiny_filter.table.read_text())
    assert table["held_out"]["setfit"]["accuracy"] == 1.0
    assert table["agreement"]["cascade"] >= 0.99
    assert 0.45 < table["kept"]["setfit"] < 0.55  # half of the documents are


def test_its_lines_are_ours_alone(tiny_filter):
    lines = [line for line in tiny_filter.said.splitlines() if line.strip()]
    assert lines
    assert all(line.startswith("[setfit_train] ") for line in lines), lines


def test_same_seed_same_files_another_seed_another_split(tiny_filter, tmp_path):
    run(tiny_filter.config, tiny_filter.documents, tmp_path)
    again, first = (
        json.loads((f / "filter.json").read_text()) for f in (tmp_path / "model", tiny_filter.model)
    )
    assert again == first
    labels = read_labels(yaml.safe_load(tiny_filter.config.read_text())["classifier"]["labels"])
    assert labels.split(0.25, 1)[1].texts != labels.split(0.25, 2)[1].texts


@IGNORED
def test_what_is_saved_scores_as_what_was_measured(tiny_filter, sentences_of):
    texts = sentences_of("academic", 40)[20:] + sentences_of("other", 40)[20:]
    kept = {
        kind: Filter.load(tiny_filter.model, kind).score(texts)[0] >= 0.5
        for kind in ("setfit", "cascade")
    }
    assert kept["setfit"][:20].mean() > 0.9
    assert kept["setfit"][20:].mean() < 0.1
    assert (kept["cascade"] == kept["setfit"]).mean() > 0.9


class Poison:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "name", ["model_head.pkl", "head.joblib", "1_Pooling/extra.pickle", "pytorch_model.bin"]
)
def test_a_poisoned_pickle_is_refused_and_not_run(name, tiny_filter, tmp_path):
    folder, trap = tmp_path / "model", tmp_path / "trap"
    shutil.copytree(tiny_filter.model, folder)
    (folder / name).write_bytes(pickle.dumps(Poison(trap)))
    for check in (open_folder, check_sentence_model):
        with pytest.raises(UserError, match="refused and not opened"):
            check(folder)
    config = changed(tiny_filter, tmp_path, base=str(folder))
    assert len(errors(run(config, tiny_filter.documents, tmp_path, code=2))) == 1
    assert not trap.exists()
    (folder / name).write_bytes(pickle.dumps(Poison(trap)))
    pickle.loads((folder / name).read_bytes()).close()  # noqa: S301 - the trap does work
    assert trap.exists()


def test_foreign_modules_are_refused(tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "os.system"}])
    )
    with pytest.raises(UserError, match=r"names os\.system"):
        check_sentence_model(folder)


@pytest.mark.parametrize("missing", ["modules.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_is_no_sentence_model(missing, tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    (folder / missing).unlink()
    with pytest.raises(UserError, match=f"has no {missing}"):
        check_sentence_model(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 10_000_000}, "num_hidden_layers: found 10000000, expected 2"),
        ({"num_hidden_layers": 3}, "num_hidden_layers: found 3, expected 2"),
        ({"num_hidden_layers": 1}, "num_hidden_layers: found 1, expected 2"),
        ({"num_hidden_layers": True}, "num_hidden_layers: found True"),
        ({"vocab_size": 10_000_000}, "vocab_size: found 10000000, expected a size that a weight"),
        ({"intermediate_size": 10**6}, "intermediate_size: found 1000000"),
        ({"hidden_size": "32"}, "hidden_size: found '32'"),
        ({"max_position_embeddings": 10**9}, "max_position_embeddings: found 1000000000"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps: found '1e-12', expected a number"),
        ({"layer_norm_eps": float("nan")}, "NaN is not a JSON number"),
        ({"layer_norm_eps": -1e-12}, "layer_norm_eps: found -1e-12"),
        ({"hidden_size": [32]}, r"hidden_size: found \[32\]"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[1:40],
)
def test_settings_that_do_not_tell_of_the_weights(change, said, tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **change}))
    with pytest.raises(UserError, match=said):
        check_sentence_model(folder)


def test_bad_rules_end_in_one_line_before_anything_is_trained(tiny_filter, tmp_path):
    one_class = tmp_path / "one.jsonl"
    one_class.write_text('{"text": "a", "label": "other"}\n{"text": "b", "label": "other"}\n')
    cases = {
        "no such folder": {"base": str(tmp_path / "nowhere")},
        "SHA-256": {"base_sha256": "00" * 32},
        "2 other and 0 academic": {"labels": str(one_class)},
        "no such file": {"labels": str(tmp_path / "none.jsonl")},
    }
    for message, rules in cases.items():
        said = run(changed(tiny_filter, tmp_path, **rules), tiny_filter.documents, tmp_path, code=2)
        (error,) = errors(said)
        assert message in error
        assert error.startswith("error: ")
    assert not (tmp_path / "model").exists()


def test_missing_packages_are_named_at_the_preflight(tiny_filter, tmp_path):
    """As in an environment without them: python finds no setfit."""
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(
        "import importlib.util as u\nreal = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'setfit' else real(name, *a)\n"
    )
    values = {
        **yaml.safe_load(tiny_filter.config.read_text()),
        "sources": [{"builtin": "synthetic"}],
    }
    config = tmp_path / "config.yaml"
    for kind, code in (("cascade", 2), ("none", 0)):
        config.write_text(yaml.safe_dump({**values, "filter": kind}))
        command = [
            sys.executable,
            str(ROOT / "scripts/preparation/preflight.py"),
            "--config",
            str(config),
        ]
        done = subprocess.run(
            [*command, "--output", str(tmp_path / "preflight.json")],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert ("pip install -r requirements-filter.txt" in done.stderr) == (kind == "cascade")
        assert "Traceback" not in done.stderr


def test_a_changed_file_is_no_longer_vouched_for(tiny_filter, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_filter.model, folder)
    data = bytearray((folder / "head.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "head.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="not the file that was trained"):
        open_folder(folder)
    (folder / "filter.json").unlink()
    with pytest.raises(UserError, match="unfinished or no filter"):
        open_folder(folder)


def test_the_base_that_comes_as_a_package_is_the_one_we_mean():
    from snakelm.config import Classifier

    folder = base_folder(Classifier())
    assert sha256_file(folder / "model.safetensors").startswith("53aa5117")


@IGNORED
def test_the_real_base_with_a_head_alone_already_tells_most_texts_apart():
    """The whole way with MiniLM takes minutes (config/runs/filtered.yaml); its vectors take
    seconds.
    """
    import torch

    from snakelm.config import Classifier
    from snakelm.filter.sentence import SentenceModel
    from snakelm.filter.train import logistic_head

    torch.set_num_threads(1)
    training, _ = read_labels("config/labels/academic.jsonl").split(0.25, 1337)
    held_out = read_labels("config/labels/academic_test.jsonl")
    model = SentenceModel.load(base_folder(Classifier()), 128)
    vectors = model.encode(training.texts)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)
    scores = logistic_head(vectors, training.academic).score(model.encode(held_out.texts))
    assert ((scores >= 0.5) == held_out.academic).mean() > 0.85
