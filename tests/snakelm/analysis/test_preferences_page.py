"""The page of preferences counts what was used and what wasn't, whatever a row is to the loss."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from snakelm.analysis.figures.preferences import rewards
from snakelm.analysis.figures.training import evaluations
from snakelm.analysis.preference_record import PreferenceRecord, PreferencesManifest
from snakelm.analysis.tables.preferences import write_preferences
from snakelm.analysis.trainings import Training
from snakelm.training.metrics import read_metrics


@pytest.mark.parametrize(
    ("loss", "kept", "unit"), [("dpo", 95, "pairs"), ("kto", 190, "answers")], ids=["dpo", "kto"]
)
def test_what_is_left_out_is_counted_by_its_reasons(tmp_path, loss, kept, unit):
    """Of a hundred rows of pairs five can't be used."""
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("step\n")
    reading = {"read": 100, "null": 2, "invalid": {"equal sides": 1}}
    source = {"name": "my/pairs.jsonl", "reading": reading, "found": 97, "kept": kept}
    data = PreferencesManifest.model_validate({"loss": loss, "sources": [source | {"too_long": 2}]})
    record = PreferenceRecord(Training(read_metrics(metrics)), data=data)
    write_preferences(record, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    row = page.partition("my/pairs.jsonl")[2].partition("</tr>")[0]
    assert re.findall(r">\s*(\S+?)\s*<", row) == ["100", f"{kept}", "5"]
    assert f"{unit} used" in page


def test_no_line_joins_evaluations_of_all_and_of_some(tmp_path):
    """The first and the last take all that is held out; a training without them is one line."""
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([4.0, 3.0, 2.0, 1.0])
    metrics = Training(read_metrics(_metrics(tmp_path))).metrics
    for apart, expected in ((True, [[1.0, 2.0], [0.0], [3.0]]), (False, [[0.0, 1.0, 2.0, 3.0]])):
        axes = Figure().subplots()
        training = Training(metrics, first_takes_more=apart, last_takes_more=apart)
        evaluations(axes, x, y, "black", "held out", training)
        assert [line.get_xdata().tolist() for line in axes.lines] == expected
        assert len(axes.get_legend_handles_labels()[0]) == 1
        rewards(training, tmp_path / "a.svg")


def _metrics(folder):
    path = folder / "preference_metrics.csv"
    rows = [f"{step},{step * 9},0.{step},0.2" for step in range(4)]
    head = "step,tokens,val_rewards_chosen,rewards_chosen"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path
