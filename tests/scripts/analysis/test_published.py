"""What is made to be published says nothing of the machine it was made on, or of who made it: a
run with a home, a host, passwords and absolute paths, exported, and every byte searched.
"""

import json
import platform
import re
import socket

import pytest
import torch
import yaml

from scripts.analysis import export, export_gguf
from snakelm.config import Model, load_config
from snakelm.errors import UserError
from snakelm.model import Decoder, save_model
from snakelm.provenance.chain import read_chain
from snakelm.tokenizer import CHAT, EOT, train_bpe
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.manifest import read_manifest, write_manifest
from snakelm.workflow.settings import settings_file, shown_file
from snakelm.workflow.step import load_steps

pytest.importorskip("gguf", reason="gguf not installed: requirements.txt has it")

TEXTS = [f"Sentence {i} of the {i % 7} otters." for i in range(100)]
OWNER, PASSWORD, KEY = "dear-alice", "hunter2pass", "c0ffee5ecret"
SHAPE = Model(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=32)


@pytest.fixture
def home(tmp_path):
    """A folder named by its owner, which every path of the run goes through."""
    made = tmp_path / "home" / OWNER
    made.mkdir(parents=True)
    return made


@pytest.fixture
def config(home):
    """Everything in it that tells of somebody."""
    address = f"https://{OWNER}:{PASSWORD}@files.example/notes.parquet?page=3&X-Amz-Signature={KEY}"
    made = {
        "results": str(home / "runs/results-of-alice"),
        "sources": [
            {"path": f"{home}/*.parquet", "licence": "CC BY 4.0"},
            {"url": address, "sha256": "00" * 32, "licence": "MIT"},
        ],
        "sft_data": {
            "sources": [
                {"path": f"{home}/talks/private.jsonl", "licence": "CC0"},
                {"path": [f"{home}/a.jsonl", f"{home}/b*.jsonl"]},
            ]
        },
    }
    path = home / "my.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


def manifest_of(artefact, script, inputs=(), config=None, **counts):
    artefact.parent.mkdir(parents=True, exist_ok=True)
    artefact.write_text(artefact.name)
    write_manifest(
        artefact, inputs=inputs, config=config or {}, script=ROOT / script, seed=1, counts=counts
    )
    return artefact


@pytest.fixture
def exported(home, config, tmp_path, monkeypatch):
    """models/final of such a run, by a process at home in that home."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", OWNER)
    monkeypatch.chdir(tmp_path)
    results = home / "runs/results-of-alice"
    tokenizer = train_bpe(TEXTS, 300, "cl100k", special_tokens=(EOT, *CHAT))
    tokenizer.save(results / "tokenizer")
    model = Decoder(SHAPE, tokenizer.vocab_size).initialize(torch.Generator().manual_seed(1))
    about = {"tokenizer_sha256": tokenizer.sha256, "step": 1, "fingerprint": "0" * 16, "chat": True}
    save_model(results / "sft_model.pt", model, **about)

    text = home / "diary.parquet"
    text.write_text("dear diary")
    sampled = manifest_of(
        results / f"data/sampled/{OWNER}.parquet", "scripts/preparation/sample_data.py", [text],
        taken=7, kept=7,
    )  # fmt: skip
    sources = load_config([config]).sft_data.sources
    names = [", ".join([s.path] if isinstance(s.path, str) else s.path) for s in sources]
    talks = manifest_of(
        results / "data/processed/train_sft_packed.bin",
        "scripts/preparation/prepare_sft_data.py",
        sources=[{"name": name, "kept": 3} for name in names],
    )
    write_manifest(
        results / "sft_model.pt", inputs=[talks, sampled], config={}, seed=1,
        script=ROOT / "scripts/training/train_sft.py",
    )  # fmt: skip
    common = ["--model", results / "sft_model.pt", "--tokenizer", results / "tokenizer"]
    final = results / "models/final"
    export.main([*common, "--config", config, "--artefacts", sampled, talks, "--output", final])
    export_gguf.main([*common, "--config", config, "--output", final / "model.gguf"])
    return final


def traces():
    """What nobody is to read."""
    host = socket.gethostname()
    return {
        "owner": OWNER,
        "results": "results-of-alice",
        "password": PASSWORD,
        "key": KEY,
        "kernel": platform.release(),
        "host": host if len(host) > 3 else "no such host",
        "processors": '"cpus"',
        "temporary folder": "/tmp/",
        "diary": "diary.parquet",
    }


@pytest.mark.parametrize("what", traces())
def test_nothing_in_the_exported_folder_tells_of_it(exported, what):
    for file in exported.rglob("*"):
        assert traces()[what].encode() not in file.read_bytes(), file.name


def test_the_card_still_says_what_it_was_trained_on(exported):
    card = (exported / "README.md").read_text()
    for said in ("source 1 (1 file)", "CC BY 4.0", "conversations of private.jsonl", "CC0"):
        assert said in card
    assert "conversations of a.jsonl, b*.jsonl" in card


def test_its_manifest_still_leads_to_the_run(exported, tmp_path):
    manifest = read_manifest(exported / "model.safetensors")
    assert manifest["artefact"]["path"] == "results/models/final/model.safetensors"
    assert manifest["inputs"][0]["path"] == "results/sft_model.pt"
    assert manifest["config"]["sources"][0]["path"] == "*.parquet"
    assert manifest["config"]["sources"][1]["url"] == "https://files.example/notes.parquet?page=3"
    chain = read_chain(exported)
    chain.verify()
    assert not chain.problems
    names = {path.name for path, state in chain.states.items() if state == "sound"}
    assert {"sft_model.pt", "train_sft_packed.bin", "diary.parquet"} <= names


def test_no_settings_file_has_a_password_or_a_key(config, tmp_path):
    loaded = load_config([config])
    assert PASSWORD in loaded.sources[1].url, "who fetches has it"
    for step in load_steps().values():
        values = {"source": "notes"} if step.depends_on_values else None
        settings_file(tmp_path / "r", loaded, step, values)
        shown_file(tmp_path / "r", loaded, step)
    written = [file.read_text() for file in (tmp_path / "r").rglob("*.yaml")]
    assert any("files.example/notes.parquet?page=3" in text for text in written)
    assert not [text for text in written if PASSWORD in text or KEY in text]


@pytest.mark.parametrize(
    "wrong",
    [{"sha256": None}, {"sha256": 5}, {"format": "https://u:hunter2pass@h/"}, {"limit": 0}],
    ids=["no hash", "number", "address for a format", "limit"],
)
def test_no_message_has_a_password_or_a_key(config, tmp_path, wrong):
    values = yaml.safe_load(config.read_text())
    values["sources"][1] |= wrong
    (tmp_path / "wrong.yaml").write_text(json.dumps(values))
    with pytest.raises(UserError) as refused:
        load_config([tmp_path / "wrong.yaml"])
    assert not re.search(f"{PASSWORD}|{KEY}", str(refused.value))
