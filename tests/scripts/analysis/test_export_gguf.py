"""The GGUF file as the rule writes it: its manifest, its line, and what is refused."""

import pytest
import torch

from scripts.analysis.export import main as export
from scripts.analysis.export_gguf import main
from snakelm.config import Model
from snakelm.errors import UserError
from snakelm.model import Decoder, load_model, save_model
from snakelm.provenance.chain import read_chain
from snakelm.tokenizer import CHAT, EOT, Tokenizer
from snakelm.workflow.manifest import read_manifest

pytest.importorskip("gguf", reason="gguf not installed: requirements.txt has it")


@pytest.fixture
def given(tmp_path):
    """Arguments for a small untrained model."""
    special = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "cl100k", special)
    tokenizer.save(tmp_path / "tokenizer")
    model = Decoder(
        Model(layers=1, width=16, heads=1, kv_heads=1, head_dim=16, hidden=24, context=32), 261
    )
    save_model(
        tmp_path / "m.pt",
        model,
        tokenizer_sha256=tokenizer.sha256,
        step=1,
        fingerprint="0" * 16,
        chat=True,
    )
    (tmp_path / "c.yaml").write_text("seed: 7\n")
    return ["--config", str(tmp_path / "c.yaml"), "--model", str(tmp_path / "m.pt"), "--tokenizer",
            str(tmp_path / "tokenizer"), "--output", str(tmp_path / "out/model.gguf")]  # fmt: skip


def test_it_is_written_with_a_manifest_that_can_be_traced(given, tmp_path, capsys):
    assert main(given) == 0
    output = tmp_path / "out/model.gguf"
    assert output.read_bytes().startswith(b"GGUF")
    manifest = read_manifest(output)
    assert manifest["counts"]["export"]["chat"] is True
    assert manifest["seed"] is None, "nothing is left to chance"
    chain = read_chain(output)
    chain.verify()
    assert chain.problems == []
    assert [path.name for path in chain.states] == ["model.gguf", "Modelfile", "m.pt", "meta.json"]
    assert (
        f"{output}: {manifest['counts']['export']['parameters']:,} parameters"
        in capsys.readouterr().err
    )


def test_a_failure_leaves_nothing(given, tmp_path):
    (tmp_path / "m.pt").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"m\.pt"):
        main(given)
    assert list((tmp_path / "out").iterdir()) == [] if (tmp_path / "out").exists() else True


def test_an_export_says_that_the_gguf_beside_it_is_of_another_model(given, tmp_path, capsys):
    arguments = [*given[:-1], str(tmp_path / "out")]
    assert main(given) == 0
    assert export([*arguments]) == 0
    assert "model.gguf" not in capsys.readouterr().err.split("[export] loading")[1]

    model, record = load_model(tmp_path / "m.pt")
    with torch.no_grad():
        model.embedding.mul_(2)
    sha256 = record["tokenizer"]["sha256"]
    identity = {"tokenizer_sha256": sha256, "step": 2, "fingerprint": "1" * 16, "chat": True}
    save_model(tmp_path / "m.pt", model, **identity)
    assert export(arguments) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "out/model.gguf: lies beside this model and was made from another one; make it" in said
    assert main(given) == 0
    capsys.readouterr()
    assert export(arguments) == 0
    assert "lies beside" not in capsys.readouterr().err
