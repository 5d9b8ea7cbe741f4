"""Mixtures of one train.bin: what is in them, and what can't be mixed."""

import numpy as np
import pytest

from snakelm.config import from_mapping
from snakelm.data.bins import open_bin
from snakelm.data.documents.sources import source_numbers
from snakelm.data.tokens import mixtures
from snakelm.data.tokens.mixtures import draw_shares, largest_shares, mix_sources
from snakelm.errors import UserError
from snakelm.log import Log
from snakelm.workflow.source_ablation import mixture_names
from tests.three_sources import DOCUMENTS, PROCESSED, SOURCES, make

NAMES = [source["name"] for source in SOURCES]


@pytest.fixture
def mixed(tmp_path, capsys):
    """Makes token files and mixes them; gives the plan, a reader of mixtures and what was said."""

    def mix(study, counts=None, steps=20, regime="auto", **source):
        study = {"seeds": [1, 2], **study}
        train = {"steps": 10_000, "batch_tokens": 1024, "regime": regime}
        sources = [{**one, **source} for one in SOURCES]
        given = {"preset": "smoke", "sources": sources, "train": train, "source_ablation": study}
        given["source_ablation"].setdefault("proxy", {"train.steps": steps})
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        tokenizer = make(folder, **(counts or {}))
        files = {
            name: folder / "source_ablation" / name / "train.bin"
            for name in mixture_names(NAMES, study.get("mixtures", 0))
        }
        config, bins = from_mapping(given), folder / PROCESSED
        with Log("mix_sources") as log:
            plan = mix_sources(
                config, bins / "train.bin", bins / "val.bin", folder / DOCUMENTS, tokenizer,
                list(files.values()), log,
            )  # fmt: skip
        return plan, lambda name: open_bin(files[name], tokenizer.sha256), capsys.readouterr().err

    return mix


def sources_in(folder, made):
    (numbers,) = source_numbers(folder / DOCUMENTS, NAMES, made.document_ids)
    return numbers


def test_a_left_out_source_is_gone_and_the_rest_is_as_it_was(mixed, tmp_path):
    plan, read, _ = mixed({})
    whole = open_bin(tmp_path / "run-0" / PROCESSED / "train.bin")
    full = read("full")
    assert np.array_equal(full.tokens, whole.tokens)
    assert np.array_equal(full.document_ids, whole.document_ids)
    assert full.meta.text_bytes == whole.meta.text_bytes > 0

    number = sources_in(tmp_path / "run-0", whole)
    for place, name in enumerate(NAMES):
        rest = read(f"without~{name}")
        assert np.array_equal(rest.document_ids, whole.document_ids[number != place])
        for i, j in enumerate(np.flatnonzero(number != place)):
            assert np.array_equal(rest.document(i), whole.document(j))
        assert plan.mixture(f"without~{name}").shares[name] == 0
        assert rest.meta.weights[name] == 0
    assert plan.tokens == {
        name: int(np.diff(whole.document_offsets)[number == place].sum())
        for place, name in enumerate(NAMES)
    }


def test_blocks_do_not_change_a_byte(mixed, monkeypatch):
    bins = []
    for block in (64, 1 << 20):
        monkeypatch.setattr(mixtures, "BLOCK", block)
        _, read, _ = mixed({"mixtures": 6})
        bins.append(read("mixture~2"))
    assert sorted(bins[0].document_ids) == sorted(bins[1].document_ids)
    assert bins[0].meta.text_bytes == bins[1].meta.text_bytes
    monkeypatch.setattr(mixtures, "AT_ONCE", 2)
    _, read, _ = mixed({"mixtures": 6})
    assert np.array_equal(read("mixture~2").tokens, bins[1].tokens)


def test_random_shares_come_out_and_stay_when_more_are_asked_for(mixed):
    plan, read, _ = mixed({"mixtures": 6}, steps=200)
    more, _, _ = mixed({"mixtures": 9}, steps=200)
    assert plan.mixtures == more.mixtures[: len(plan.mixtures)]
    random = plan.mixtures[4:]
    shares = np.array([[one.shares[name] for name in NAMES] for one in random])
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert shares.std(axis=0).min() > 0.05, "they differ"
    for one in random:
        assert abs(one.tokens - sum(plan.tokens.values())) < 0.15 * one.tokens
        assert read(one.name).meta.tokens == one.tokens
        assert one.epochs == pytest.approx(200 * 1024 / one.tokens, abs=1e-3)


def test_a_mixture_holds_no_more_than_a_few_times_what_is_read(mixed):
    plan, _, said = mixed({}, steps=2)
    for one in plan.mixtures:
        assert one.tokens == pytest.approx(4 * 2 * 1024, rel=0.15)
    assert "warning" not in said


def test_shares_are_bounded_and_whole():
    tokens = np.array([1_000_000, 50_000, 2_000])
    often = largest_shares(tokens, 20_000_000)
    assert often.tolist() == pytest.approx((2 * tokens / tokens.sum()).clip(max=1).tolist())
    largest = largest_shares(tokens, 1_000_000)
    assert largest.tolist() == pytest.approx([1.0, 0.2, 0.008])
    generator = np.random.default_rng(0)
    drawn = np.array([draw_shares(tokens, largest, generator) for _ in range(500)])
    assert np.allclose(drawn.sum(axis=1), 1)
    assert (drawn <= largest + 1e-9).all()
    assert (drawn >= 0).all()


def test_repetition_is_said(mixed):
    _, _, said = mixed({}, counts={"noise": 400}, steps=40)
    assert "a proxy reads 40,960 tokens: " in said
    assert "without~noise has" in said
    assert "a part of what it loses is repetition" in said.replace("\n", " ")
    assert "without~manual" not in said.replace("without~noise", "")


def test_very_much_repetition_wants_another_regime(mixed):
    _, _, said = mixed({}, steps=400)
    assert "text is read more than four times; add train.regime: repeated" in said
    repeated = {"proxy": {"train.steps": 400, "train.regime": "repeated"}}
    _, _, said = mixed(repeated)
    assert "add train.regime" not in said


@pytest.mark.parametrize(
    ("run", "proxy", "wanted"),
    [("repeated", {}, False), ("fresh", {}, True), ("repeated", {"train.regime": "auto"}, True)],
)
def test_a_regime_that_proxies_have_from_the_run_is_not_asked_for(mixed, run, proxy, wanted):
    """`auto` is `fresh` in a study."""
    _, _, said = mixed({"proxy": {"train.steps": 400, **proxy}}, regime=run)
    assert ("add train.regime" in said) == wanted


@pytest.mark.parametrize(
    ("counts", "study", "said"),
    [
        ({"noise": 0}, {}, r"source 'noise' has no document in train\.bin"),
        (
            {"manual": 300, "market": 3, "noise": 3},
            {},
            r"without~manual has \d+ tokens, less than one batch \(train\.batch_tokens 1,024",
        ),
    ],
    ids=["a source without documents", "too little left"],
)
def test_what_cannot_be_mixed_is_said_before_anything_is_written(
    mixed, tmp_path, counts, study, said
):
    with pytest.raises(UserError, match=said):
        mixed(study, counts)
    assert not list(tmp_path.glob("run-0/source_ablation/*/train.*"))


def test_a_judge_without_held_out_documents_is_said(mixed, monkeypatch):
    monkeypatch.setattr("tests.three_sources.HELD_OUT", 0)
    with pytest.raises(UserError, match=r"judge_by: manual: no held-out document"):
        mixed({"judge_by": ["manual"]})


def test_documents_of_another_run_are_said(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b", noise=120)
    ids = open_bin(tmp_path / "b" / PROCESSED / "train.bin").document_ids
    with pytest.raises(UserError, match=r"has no document [0-9a-f]{16}: not what the token files"):
        source_numbers(tmp_path / "a" / DOCUMENTS, NAMES, ids)
    with pytest.raises(UserError, match=r"documents of source 'noise', and the configuration"):
        source_numbers(tmp_path / "a" / DOCUMENTS, NAMES[:2], ids)
