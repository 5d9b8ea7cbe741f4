"""The lines that say how training goes."""

from pathlib import Path
from types import SimpleNamespace

from snakelm.training.metrics import COLUMNS, MetricsRow
from snakelm.training.progress import Best, done_line, status_line


def test_lines_that_are_shown():
    halves = dict.fromkeys(COLUMNS, 0.5)
    row = MetricsRow(**halves | {"step": 10, "tokens": 20_000, "tokens_per_second": 4000.0})
    best = Best()
    assert "val bpb" not in status_line(row, best)
    best.update(1.5, 10)
    best.update(1.75, 20)
    assert "val bpb 1.750 (best 1.500 @10)" in status_line(row, best)
    ppmd = SimpleNamespace(bpb=1.1, bpb_clean=1.5)
    result = {"val_bpb": 1.25, "val_bpb_clean": 1.5, "seconds": 221.0}
    assert (
        done_line(result, ppmd, Path("out.pt"))
        == "DONE val bpb 1.250 (clean 1.500; primed compressor 1.100, clean 1.500) · 3m41s · out.pt"
    )
    blank = {"val_bpb": 1.25, "val_bpb_clean": None, "seconds": 1.0}
    assert done_line(blank, None, Path("o")) == "DONE val bpb 1.250 · 0m01s · o"
