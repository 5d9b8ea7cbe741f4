"""What a sweep's trainings say together: means over seeds, differences to the best."""

import json

import numpy as np
import pytest
from scipy import stats

from snakelm.analysis.figures.sweep import draw_sweep
from snakelm.analysis.tables.sweep import verdict, write_sweep
from snakelm.errors import UserError
from snakelm.evaluation.sweep import measure_sweep, paired_difference, student
from snakelm.evaluation.sweep_record import SweepRecord, read_sweep
from snakelm.files import write_json
from snakelm.workflow.manifest import write_manifest


def test_the_interval_of_a_mean_is_students():
    values = [1.50, 1.53, 1.51, 1.49]
    interval = student(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval.value == pytest.approx(np.mean(values))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_one_value_has_no_interval():
    assert student([1.5]).low is None


def test_differences_are_taken_seed_by_seed():
    """Seeds scatter by 0.1, the settings differ by 0.01 in each: pairs tell, two means wouldn't."""
    a, b = {1: 1.61, 2: 1.51, 3: 1.712}, {3: 1.70, 1: 1.60, 2: 1.501}
    interval = paired_difference(a, b)
    assert 0 < interval.low < 0.011 < interval.high < 0.02


@pytest.fixture
def made(tmp_path):
    """Writes trainings whose bits per byte are given, and measures them."""

    def measure(values, clean=True, regimes=()):
        models = []
        for name, bits in values.items():
            keys = dict(part.split("~") for part in name.split("/"))
            folder = tmp_path / "sweep" / name
            (folder / "logs").mkdir(parents=True)
            metrics = "step,tokens,loss,seconds\n5,900,3,1\n9,1800,2,2\n"
            (folder / "logs/training_metrics.csv").write_text(metrics)
            (folder / "final_model.pt").write_bytes(b"weights")
            trained = {k: json.loads(v) for k, v in keys.items() if k != "preset"}
            config = {"train": {k.removeprefix("train."): v for k, v in trained.items()}}
            result = {"val_bpb": bits, "val_loss": 2.5, "parameters": 1000}
            if regimes:
                result["regime"] = {"name": regimes[len(models)], "epochs": 3.0, "settings": {}}
            result["val_bpb_clean"] = bits + 0.05 if clean and bits else None
            write_manifest(
                folder / "final_model.pt", inputs=[], config=config, script=__file__, seed=1,
                counts={"result": result},
            )  # fmt: skip
            models.append(folder / "final_model.pt")
        keys = dict.fromkeys(part.split("~")[0] for name in values for part in name.split("/"))
        return measure_sweep(list(keys), models)

    return measure


def of(rates, seeds, bits):
    names = [f"train.lr~{rate}/train.seed~{seed}" for rate in rates for seed in seeds]
    return dict(zip(names, bits, strict=True))


def test_the_lowest_mean_is_best_and_a_clear_difference_is_said(made, tmp_path):
    record = made(of([0.01, 0.03], [1, 2, 3], [1.61, 1.51, 1.71, 1.60, 1.501, 1.70]))
    assert (record.measure, record.best) == ("val_bpb_clean", 1)
    assert [setting.values for setting in record.settings] == [
        {"train.lr": 0.01},
        {"train.lr": 0.03},
    ]
    assert record.settings[1].mean.value == pytest.approx((1.60 + 1.501 + 1.70) / 3 + 0.05)
    said = " ".join(verdict(record))
    assert said.startswith("train.lr 0.03: lowest with 1.6503")
    assert "Higher beyond chance (95%): 1 of 1." in said

    write_json(tmp_path / "sweep.json", record.as_json())
    assert read_sweep(tmp_path / "sweep.json") == record


def test_a_difference_that_may_be_chance_is_said(made):
    said = " ".join(verdict(made(of([0.01, 0.03], [1, 2], [1.60, 1.50, 1.52, 1.57]))))
    assert "Not told apart from it by these seeds: train.lr 0.03" in said or (
        "Not told apart from it by these seeds: train.lr 0.01" in said
    )
    assert "beyond chance" not in said


def test_regimes_that_differ_are_said(made):
    names = ["train.steps~10", "train.steps~99"]
    mixed = made(dict.fromkeys(names, 1.5), regimes=["fresh", "repeated"])
    assert "took repeated in 1 of 2 trainings and fresh in the others" in " ".join(verdict(mixed))


def test_a_regime_that_is_the_same_or_is_swept_needs_no_word(made):
    names = ["train.steps~10", "train.steps~99"]
    assert "regime" not in " ".join(verdict(made(dict.fromkeys(names, 1.5), regimes=["fresh"] * 2)))
    keys = {'train.regime~"fresh"': 1.5, 'train.regime~"repeated"': 1.4}
    assert "dropout" not in " ".join(verdict(made(keys, regimes=["fresh", "repeated"])))


def test_without_seeds_nobody_knows(made):
    said = " ".join(verdict(made({"train.lr~0.01": 1.6, "train.lr~0.03": 1.5})))
    assert "nobody knows how much of the difference is chance: add seed" in said


def test_seeds_alone_are_one_setting(made):
    said = list(verdict(made({"train.seed~1": 1.6, "train.seed~2": 1.5})))
    assert said == [
        "One setting: 1.6000 bits per byte of clean held-out documents (mean of 2 seeds)."
    ]


def test_presets_are_told_apart_by_their_folders(made):
    record = made({"train.seed~1/preset~smoke": 1.6, "train.seed~1/preset~gpt2-124m": 1.5})
    assert [setting.values for setting in record.settings] == [
        {"preset": "smoke"},
        {"preset": "gpt2-124m"},
    ]


def test_without_clean_documents_all_are_the_measure(made):
    assert made({"train.lr~0.01": 1.6, "train.lr~0.03": 1.5}, clean=False).measure == "val_bpb"


def test_an_unmeasured_training_is_a_mistake_in_a_line(made):
    with pytest.raises(UserError, match=r"final_model\.pt: its manifest has no bits per byte"):
        made({"train.lr~0.01": None})


SHAPES = {
    "a line": of([0.001, 0.01, 0.1], [1, 2], [1.6, 1.5, 1.5, 1.4, 1.7, 1.8]),
    "two lines": {
        f"train.lr~{rate}/train.precision~{word}": 1.5 + rate
        for rate in (0.01, 0.03)
        for word in ('"bf16"', '"fp32"')
    },
    "rows": {f"train.compile~{word}": 1.5 for word in ("true", "false", "null")},
    "seeds": {"train.seed~1": 1.6, "train.seed~2": 1.5},
}


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)
def test_every_shape_is_drawn_and_tabled(made, tmp_path, values):
    record: SweepRecord = made(values)
    draw_sweep(record, tmp_path / "sweep.svg")
    write_sweep(record, tmp_path / "sweep.html")
    assert (tmp_path / "sweep.svg").read_text().count("<path") > 5
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<tr>") == len(record.settings) + len(record.points) + 2
