"""What tuning may start from: our file, an exported folder, what transformers saved; and what is
refused.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from snakelm.config import Model
from snakelm.data.conversations.jinja_template import JINJA, PLAIN_JINJA, UNMARKED_JINJA
from snakelm.errors import UserError
from snakelm.model import Decoder, save_model
from snakelm.model.export import export
from snakelm.model.pretrained import base_digest, base_files, load_base
from snakelm.tokenizer import CHAT, EOT, Tokenizer, train_bpe

SMALL = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=32)
TEXTS = [f"Sentence {i} of the {i % 7} otters, naïve or not." for i in range(200)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300, "cl100k", special_tokens=(EOT, *CHAT))


def make(folder, tokenizer, chat=False, **shape):
    """An exported folder without model.pt, as somebody else would have it; gives the model that is
    in it.
    """
    model = Decoder(SMALL.model_copy(update=shape), tokenizer.vocab_size)
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.head_weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    save_model(
        folder / "m.pt",
        model,
        tokenizer_sha256=tokenizer.sha256,
        step=1,
        fingerprint="0" * 16,
        chat=chat,
    )
    export(folder / "m.pt", tokenizer, folder / "final", "")
    (folder / "final/model.pt").unlink()
    return model.eval()


@pytest.fixture
def folder(tmp_path, tokenizer):
    make(tmp_path, tokenizer)
    return tmp_path / "final"


@pytest.mark.parametrize("chat", [False, True], ids=["base", "tuned"])
@pytest.mark.parametrize(
    "shape",
    [{}, {"qk_norm": False}, {"embedding_norm": False, "tie_embeddings": True}],
    ids=["Qwen3", "Llama", "tied"],
)
@torch.no_grad()
def test_a_folder_of_safetensors_is_the_model_it_was(tmp_path, tokenizer, shape, chat):
    model = make(tmp_path, tokenizer, chat, **shape)
    back, record = load_base(tmp_path / "final", tokenizer)
    ids = torch.arange(32)[None] * 7 % tokenizer.vocab_size
    torch.testing.assert_close(back(ids), model(ids), atol=1e-5, rtol=0)
    assert record["chat"] is chat
    assert record["tokenizer"]["sha256"] == tokenizer.sha256


@pytest.mark.parametrize("chat", [False, True], ids=["base", "tuned"])
@torch.no_grad()
def test_what_transformers_saved_is_taken(tmp_path, tokenizer, chat):
    transformers = pytest.importorskip(
        "transformers", reason="transformers not installed: requirements-dev.txt has it"
    )
    model = make(tmp_path, tokenizer, chat)
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "final").save_pretrained(
        tmp_path / "theirs"
    )
    transformers.AutoTokenizer.from_pretrained(tmp_path / "final").save_pretrained(
        tmp_path / "theirs"
    )
    back, record = load_base(tmp_path / "theirs", tokenizer)
    ids = torch.arange(32)[None]
    torch.testing.assert_close(back(ids), model(ids), atol=1e-5, rtol=0)
    assert record["chat"] is chat


@pytest.mark.parametrize("template", [JINJA, PLAIN_JINJA, UNMARKED_JINJA, "{{ messages }}", None])
@pytest.mark.parametrize("place", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_folder_is_tuned_by_any_template_that_exports_had(tmp_path, tokenizer, template, place):
    make(tmp_path, tokenizer)
    config = tmp_path / "final/tokenizer_config.json"
    if place == config.name:
        config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": template}))
    elif template is not None:
        (tmp_path / "final" / place).write_text(template)
    _, record = load_base(tmp_path / "final", tokenizer)
    assert record["chat"] is (template in (JINJA, PLAIN_JINJA, UNMARKED_JINJA))


def test_our_file_counts_where_both_are_there_and_agree(tmp_path, tokenizer, folder):
    shutil.copy(tmp_path / "m.pt", folder / "model.pt")
    assert base_files(folder) == [folder / "model.pt"]
    model, _ = load_base(folder, tokenizer)
    assert model.shape.embedding_norm, "not folded into the table"
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="hold different weights"):
        load_base(folder, tokenizer)


def test_the_digest_covers_weights_shape_and_words(folder):
    before = base_digest(folder)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(original + b" ")
        assert base_digest(folder) != before, name
        (folder / name).write_bytes(original)
    assert base_digest(folder) == before


def other_pattern(words):
    words["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "x"


def other_merge(words):
    words["model"]["merges"].reverse()


def other_token(words):
    words["model"]["vocab"]["zz"] = words["model"]["vocab"].pop(next(iter(words["model"]["vocab"])))


def other_special(words):
    words["added_tokens"].pop()


def other_kind(words):
    words["model"]["type"] = "WordPiece"


def no_merges(words):
    del words["model"]["merges"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_pattern, "differ in pattern"),
        (other_merge, "differ in merges"),
        (other_token, "differ in vocabulary"),
        (other_special, "differ in special tokens"),
        (other_kind, "differ in kind"),
        (no_merges, r"merges: field required \(expected a byte-level BPE"),
    ],
    ids=["pattern", "merges", "vocabulary", "special tokens", "kind", "no merges"],
)
def test_a_model_of_another_tokenizer_is_refused(folder, tokenizer, change, said):
    words = json.loads((folder / "tokenizer.json").read_text())
    change(words)
    (folder / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(UserError, match=said):
        load_base(folder, tokenizer)


def test_another_size_of_vocabulary_and_missing_files_are_refused(folder, tokenizer):
    fewer = Tokenizer({bytes([i]): i for i in range(256)}, "cl100k", {EOT: 256})
    with pytest.raises(UserError, match="differ in vocabulary"):
        load_base(folder, fewer)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json: missing"):
        load_base(folder, tokenizer)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"neither model\.safetensors nor"):
        load_base(folder, tokenizer)
