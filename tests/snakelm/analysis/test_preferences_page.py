"""The page of preferences counts what was used and what wasn't, whatever a row is to the loss."""

import re

import pytest

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
