"""Files that `tokenizers` itself makes give its ids here; what would give others is refused; damage
is our error and no traceback.
"""

import copy
import json
import random

import pytest
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from snakelm.errors import UserError
from snakelm.tokenizer import EOT, Tokenizer, train_bpe
from snakelm.tokenizer.huggingface import byte_characters
from snakelm.tokenizer.patterns import CL100K, LLAMA3, QWEN2

SPECIAL = ["<|endoftext|>", "<|im_start|>"]


def trained(documents, pre_tokenizer, **parts) -> tokenizers.Tokenizer:
    """1,500 ids by `tokenizers`' own trainer, special tokens first, as it does."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer
    made.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(made, name, part)
    made.train_from_iterator(
        documents,
        trainers.BpeTrainer(
            vocab_size=1500,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def gpt2(documents) -> tokenizers.Tokenizer:
    return trained(documents, pre_tokenizers.ByteLevel(add_prefix_space=False))


def qwen(documents) -> tokenizers.Tokenizer:
    split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    steps = [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    made = trained(documents, pre_tokenizers.Sequence(steps), normalizer=normalizers.NFC())
    made.add_tokens([tokenizers.AddedToken("<tool_call>", normalized=False)])
    return made


def llama3(documents) -> tokenizers.Tokenizer:
    """Every way to split a token into two tokens is a merge, as conversions from ranks write it."""
    ours = train_bpe(documents, 1500, "llama3")
    table = str.maketrans(dict(enumerate(byte_characters())))
    names = {rank: t.decode("latin-1").translate(table) for t, rank in ours.mergeable_ranks.items()}
    vocab = {name: rank for rank, name in names.items()}
    merges = [
        (name[:cut], name[cut:])
        for name in vocab
        for cut in range(1, len(name))
        if name[:cut] in vocab and name[cut:] in vocab
    ]
    made = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    made.post_processor = processors.TemplateProcessing(
        single=f"{EOT} $A", special_tokens=[(EOT, made.token_to_id(EOT))]
    )
    return made


SHAPES = {"gpt2": gpt2, "qwen2": qwen, "llama3": llama3}


@pytest.fixture(scope="module", params=SHAPES.items(), ids=SHAPES)
def pair(request, documents) -> tuple[str, tokenizers.Tokenizer]:
    name, make = request.param
    return name, make(documents[:40])


def read(document, folder, **given) -> Tokenizer:
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return Tokenizer.from_huggingface(folder, **given)


def test_ids_are_the_librarys(pair, documents, nasty, tmp_path):
    name, theirs = pair
    ours = read(theirs.to_str(), tmp_path, assume_nfc=True)
    assert ours.pattern == name
    assert ours.vocab_size == theirs.get_vocab_size()
    assert {t: theirs.token_to_id(t) for t in ours.special_tokens} == ours.special_tokens

    special = ["a<|endoftext|>b <|im_start|>", "<tool_call>{}", "x<|endoftext|><|endoftext|>"]
    for text in documents[30:60] + nasty[::8] + special:
        if theirs.normalizer is not None:
            text = theirs.normalizer.normalize_str(text)
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allowed_special="all") == expected, text
        assert ours.decode(expected) == theirs.decode(expected, skip_special_tokens=False)


def test_saved_and_read_again_it_is_the_same(pair, tmp_path):
    ours = read(pair[1].to_str(), tmp_path, assume_nfc=True)
    ours.save(tmp_path / "ours")
    again = Tokenizer.from_huggingface(tmp_path / "ours" / "tokenizer.json")
    assert again.sha256 == ours.sha256 == Tokenizer.load(tmp_path / "ours").sha256


def test_merges_may_be_strings_or_pairs_and_what_is_left_out_is_said(documents, tmp_path):
    document = json.loads(llama3(documents[:3]).to_str())
    tokenizer = read(document, tmp_path)
    assert tokenizer.facts["post_processor_left_out"] == ["TemplateProcessing"]
    document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]
    assert read(document, tmp_path).sha256 == tokenizer.sha256


@pytest.fixture(scope="module")
def document(documents) -> dict:
    return json.loads(qwen(documents[:3]).to_str())


def edited(document, path, value):
    """A copy in which the place ``path`` is ``value``."""
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


FIRST_MERGED = 2 + 256  # after the special tokens and the bytes

REFUSED = {
    "model": (("model", "type"), "Unigram", "model 'Unigram'; expected"),
    "dropout": (("model", "dropout"), 0.1, "ids would be random"),
    "suffix": (("model", "end_of_word_suffix"), "</w>", "not byte-level"),
    "nfc": (("normalizer",), {"type": "NFC"}, "pass assume_nfc=True"),
    "lowercase": (
        ("normalizer",),
        {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
        r"\['Lowercase', 'NFC'\]: changes the text",
    ),
    "no-pre-tokenizer": (("pre_tokenizer",), None, r"pre_tokenizer \[\]: expected"),
    "metaspace": (("pre_tokenizer",), {"type": "Metaspace"}, r"\['Metaspace'\]: expected"),
    "prefix": (
        ("pre_tokenizer",),
        {"type": "ByteLevel", "add_prefix_space": True},
        "add_prefix_space changes the text",
    ),
    "no-split": (
        ("pre_tokenizer",),
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        "either Split or",
    ),
    "contiguous": (
        ("pre_tokenizer", "pretokenizers", 0, "behavior"),
        "Contiguous",
        "behavior Contiguous, invert False; expected Isolated",
    ),
    "string": (
        ("pre_tokenizer", "pretokenizers", 0, "pattern"),
        {"String": " "},
        "expected a Regex",
    ),
    "end-of-line": (
        ("pre_tokenizer", "pretokenizers", 0, "pattern"),
        {"Regex": CL100K},
        "is the end of a line there",
    ),
    "expression": (
        ("pre_tokenizer", "pretokenizers", 0, "pattern"),
        {"Regex": "("},
        "no regular expression",
    ),
    "decoder": (("decoder",), {"type": "Metaspace"}, "decoder .*; expected ByteLevel"),
    "strip": (("added_tokens", 0, "lstrip"), True, "lstrip and rstrip match more"),
    "two-ids": (("added_tokens", 0, "id"), 77, "has two ids"),
    "sentencepiece": (("model", "vocab", "\u2581the"), 1499, "not in GPT-2's characters"),
    "shared-id": (("model", "vocab", "!"), 3, "an id is given to two tokens"),
    "negative": (("model", "vocab", "!"), -1, "id -1; expected 0"),
    "no-merges": (("model", "merges"), [], "without ignore_merges it is none|doesn't list"),
    "stranger": (("model", "merges", 0), ["qqq", "zzz"], "of tokens that are not in model.vocab"),
    "shape": (("model", "merges", 0), 5, "merges"),
    "vocab-list": (("model", "vocab"), [1], "vocab"),
}


@pytest.mark.parametrize("seed", range(40))
def test_added_tokens_that_overlap_give_the_librarys_ids_or_are_refused(documents, tmp_path, seed):
    """That library looks for the ones that aren't normalized first, for the others in the rest."""
    random_ = random.Random(seed)
    theirs = gpt2(documents[:2])
    for _ in range(3):
        name = "".join(random_.choices("<>x", k=random_.randint(2, 4)))
        if name not in theirs.get_vocab():
            theirs.add_tokens([tokenizers.AddedToken(name, normalized=random_.random() < 0.5)])

    try:
        ours = read(theirs.to_str(), tmp_path)
    except UserError as error:
        if "tokenizers looks for the other first" in str(error):
            return
        raise
    for _ in range(200):
        text = "".join(random_.choices("<>x ", k=12))
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allowed_special="all") == expected, text


@pytest.mark.parametrize(
    ("late", "early", "refused"),
    [
        ("<ax>", ">]b", True),
        ("<ax>]", "ax>", True),
        ("<ax>]", "<ax", True),
        ("ax>", "<ax>]", False),
    ],
    ids=["ends in it", "has it inside", "begins with it", "lies inside it"],
)
def test_the_overlaps_that_matter_are_refused(document, tmp_path, late, early, refused):
    added = [
        {"id": 1600 + i, "content": name, "normalized": normalized}
        for i, (name, normalized) in enumerate([(late, True), (early, False)])
    ]
    changed = edited(document, ("added_tokens",), document["added_tokens"] + added)
    if not refused:
        assert read(changed, tmp_path, assume_nfc=True).special_tokens[late] == 1600
        return
    with pytest.raises(UserError, match=f"added tokens '{late}' and '{early}': may overlap"):
        read(changed, tmp_path, assume_nfc=True)


@pytest.mark.parametrize("part", ["vocab", "merges"])
def test_a_model_without_its_parts_names_them(document, tmp_path, part):
    model = {name: value for name, value in document["model"].items() if name != part}
    with pytest.raises(UserError, match=part):
        read(edited(document, ("model",), model), tmp_path, assume_nfc=True)


@pytest.mark.parametrize(("path", "value", "message"), REFUSED.values(), ids=REFUSED)
def test_what_would_give_other_ids_is_refused(document, tmp_path, path, value, message):
    given = {} if path == ("normalizer",) else {"assume_nfc": True}
    with pytest.raises(UserError, match=message) as refused:
        read(edited(document, path, value), tmp_path, **given)
    assert str(refused.value).startswith(f"{tmp_path}/tokenizer.json: ")


def test_merges_out_of_order_are_refused(document, tmp_path):
    merges = document["model"]["merges"]
    with pytest.raises(UserError, match="ids in another order than the merges"):
        read(edited(document, ("model", "merges"), merges[::-1]), tmp_path, assume_nfc=True)
    fewer = merges[:200] + merges[201:]
    with pytest.raises(UserError, match=r"which model.merges doesn't list|in model.vocab"):
        read(edited(document, ("model", "merges"), fewer), tmp_path, assume_nfc=True)
    vocab = {name: i for name, i in document["model"]["vocab"].items() if i != 100}
    with pytest.raises(UserError, match=r"no token for byte|not in model\.vocab"):
        read(edited(document, ("model", "vocab"), vocab), tmp_path, assume_nfc=True)


def places(value, path=()):
    """Every path in a JSON value; of long lists and objects the first entries."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for step, child in list(inside)[:9]:
        yield (*path, step)
        if isinstance(child, dict | list):
            yield from places(child, (*path, step))


def test_damage_is_our_error(document, tmp_path):
    """Any value anywhere, and any cut or changed byte: a tokenizer, or a UserError of one line."""
    source = random.Random(0)
    small = copy.deepcopy(document)
    vocab, merges = small["model"]["vocab"], small["model"]["merges"]
    kept = FIRST_MERGED + 20
    small["model"]["vocab"] = {name: i for name, i in vocab.items() if i < kept}
    small["model"]["merges"] = merges[:20]
    small["added_tokens"] = small["added_tokens"][:2]
    assert read(small, tmp_path, assume_nfc=True).vocab_size == kept

    junk = [None, True, -1, 2**70, 1e300, "", "Ġ", "\ud800", [], [[]], {}, "x" * 99]
    junk += [{"type": "Sequence"}, {"type": ["BPE"]}]
    damaged = [json.dumps(edited(small, path, value)) for path in places(small) for value in junk]
    whole = json.dumps(small)
    for _ in range(150):
        at = source.randrange(len(whole))
        damaged += [whole[:at], whole[:at] + chr(source.randrange(32, 300)) + whole[at + 1 :]]

    refused = 0
    for text in source.sample(damaged, 250):
        try:
            read(text, tmp_path, assume_nfc=True)
        except UserError as error:
            refused += "\n" not in str(error)
    assert refused > 125
