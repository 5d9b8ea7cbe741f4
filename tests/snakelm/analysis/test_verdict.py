"""The words fit the numbers, and what is wrong with a run is said."""

import pytest

from snakelm.analysis.verdict import VerdictScores, sentences, verdict_scores, warnings
from snakelm.evaluation.records import Interval

NONE = (None, None)


@pytest.mark.parametrize(
    ("model", "ppmd", "said"),
    [
        ((1.2, 1.2), (1.0, 1.5), "needs 20% less"),
        ((0.9, 1.8), (1.0, 1.5), "needs 20% more"),
        ((0.9, None), (1.0, None), "needs 10% less"),
        ((1.2, None), NONE, "this model needs 1.200"),
        (NONE, (1.0, 1.5), "No verdict yet"),
    ],
    ids=[
        "better on clean",
        "better only by copying",
        "no clean documents",
        "no baseline",
        "no evaluation",
    ],
)
def test_verdict(model, ppmd, said):
    assert said in sentences(VerdictScores(model, ppmd, NONE, NONE))[0]


WIDE, NARROW = Interval(1.45, 1.3, 1.6), Interval(1.45, 1.44, 1.46)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"intervals": (None, WIDE)}, "about as many, 1.450 (1.300 to 1.600): no difference"),
        ({"intervals": (None, NARROW)}, "needs 3% less: 1.450 (1.440 to 1.460). So it predicts"),
        ({"documents": (90, 29), "intervals": (NARROW, WIDE)}, "on held-out text; the model needs"),
        ({"documents": (9, 2)}, "needs 1.450. Of 9 documents this is no verdict"),
        ({"documents": (1, 1)}, "Of one document this is no verdict"),
    ],
    ids=["within the interval", "outside it", "few clean ones", "few", "one"],
)
def test_a_claim_needs_documents_and_an_interval(more, said):
    assert said in sentences(VerdictScores((1.45, 1.45), (1.6, 1.5), **more))[0]


@pytest.mark.parametrize(
    ("each", "said"),
    [
        (None, "less than one of many other scripts"),
        (1.0, "one letter."),
        (1.8, "takes 1.80 bytes, so 2.160 bits"),
    ],
)
def test_a_byte_is_a_letter_only_where_it_is(each, said):
    scores = VerdictScores((1.2, None), bytes_per_character=(each, None))
    assert said in sentences(scores)[0]


def test_the_finished_models_own_numbers_count_before_the_metrics(make_record, manifest, whole_run):
    assert verdict_scores(make_record(whole_run)).model == (1.0, pytest.approx(1.2))
    model = manifest("model.pt", "train", result={"val_bpb": 1.5, "val_bpb_clean": None})
    assert verdict_scores(make_record(whole_run, artefacts=[model])).model == (
        1.5,
        pytest.approx(1.2),
    )


def test_a_sound_run_has_no_warnings(make_record, whole_run):
    assert warnings(make_record(whole_run)) == []


def test_what_is_wrong_is_said(make_record, row, whole_run):
    def said(rows, **config):
        return " ".join(warnings(make_record(rows, config)))

    assert "no rows" in said([])
    assert "step 50 of 100" in said(whole_run[:10])
    assert "NaN or infinite in 1 rows" in said([*whole_run[:-1], row(100, loss="nan")])
    turned = [
        row(s, val_bpb=v) for s, v in [(20, 2.0), (40, 1.5), (60, 1.6), (80, 1.7), (100, 1.7)]
    ]
    assert "lowest at step 40" in said(turned)


def test_evaluations_of_different_documents_are_not_compared(make_record, manifest, row):
    rows = [row(s, val_bpb=v) for s, v in [(20, 2.0), (40, 1.5), (100, 1.8)]]
    bins = manifest("train.bin", "prepare_data", train={"tokens": 10**6}, val={"tokens": 10**5})
    config = {"train": {"steps": 100, "eval_tokens": 1000}}
    assert make_record(rows, config, artefacts=[bins]).last_takes_more()
    assert warnings(make_record(rows, config, artefacts=[bins])) == []
    assert warnings(make_record(rows, config)) != []


@pytest.mark.parametrize("reached", [60, 100], ids=["unfinished", "finished"])
def test_nor_is_a_base_on_all_of_them_with_the_training_s_on_some(
    make_record, manifest, row, reached
):
    of_some = [row(s, val_bpb=v) for s, v in [(20, 2.0), (40, 1.9), (60, 1.8)]]
    last = [row(100, val_bpb=1.3)] if reached == 100 else []
    rows = [row(0, val_bpb=1.5), *of_some, *last]
    bins = manifest("train.bin", "prepare_data", train={"tokens": 10**6}, val={"tokens": 10**5})
    config = {"train": {"steps": 100, "eval_tokens": 1000}}
    said = " ".join(warnings(make_record(rows, config, artefacts=[bins])))
    assert "were lowest at step" not in said
    everything = {"train": {"steps": 100, "eval_tokens": None}}
    rose = make_record([*rows[:-1], row(reached, val_bpb=1.8)], everything, artefacts=[bins])
    assert "were lowest at step 0" in " ".join(warnings(rose)), "where all are of the same"
