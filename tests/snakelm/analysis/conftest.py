"""A made-up run: metrics, manifests and baseline as the steps leave them."""

import json
from pathlib import Path

import pytest

from snakelm.analysis.run_record import RunRecord, read_record
from snakelm.config import from_mapping
from snakelm.training.metrics import COLUMNS
from snakelm.workflow.manifest import manifest_path


def _row(step: int, **values: object) -> dict[str, object]:
    """A line of training_metrics.csv with plausible numbers; ``values`` overrule them."""
    plain = {
        "step": step,
        "tokens": step * 2048,
        "epoch": step / 1000,
        "loss": 8.0 / (1 + step / 50) + 2,
        "lr": 0.035,
        "grad_norm": 0.5,
        "tokens_per_second": 14000,
        "mfu": 0.3,
        "seconds": step / 7,
        "cpu_seconds": step / 4,
    }
    return {**plain, **values}


def _write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    lines = [",".join(COLUMNS), *(",".join(str(r.get(name, "")) for name in COLUMNS) for r in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def row():
    """`row(step, **values)`: a line of training_metrics.csv with plausible numbers; ``values``
    overrule them.
    """
    return _row


@pytest.fixture
def whole_run() -> list[dict[str, object]]:
    """100 steps, evaluated every 20."""
    evaluated = {
        s: {"val_loss": 3 - s / 100, "val_bpb": 2 - s / 100, "val_bpb_clean": 2.2 - s / 100}
        for s in range(20, 101, 20)
    }
    return [_row(s, **evaluated.get(s, {})) for s in range(5, 101, 5)]


BASELINE = {
    "ppmd": {
        "bpb": 1.1,
        "bpb_clean": 1.5,
        "primed_bytes": 9000,
        "primed_documents": 30,
        "training_bytes": 9000,
    },
    "xz": {"bpb": 2.1, "bpb_clean": 2.2},
    "unigram": {"bpb": 2.8, "bpb_clean": 2.9},
    "bytes": {"whole": 3000, "clean": 1500},
    "docs": {"whole": 200, "clean": 90, "val": 200},
}


@pytest.fixture
def manifest(tmp_path):
    """`manifest("sampled/docs.parquet", "sample_data", counts=…)` writes one; gives the artefact's
    path.
    """

    def write(name: str, script: str, **counts: object) -> Path:
        artefact = tmp_path / name
        record = {
            "manifest": 1,
            "script": f"scripts/preparation/{script}.py",
            "artefact": {"path": artefact.as_posix(), "sha256": "ab" * 32, "bytes": 1000},
            "inputs": [],
            "versions": {"python": "3.11.7"},
            "host": {"cpus": 2, "machine": "x86_64", "system": "Linux"},
            "created": "2026-01-01T00:00:00+00:00",
            **counts,
        }
        path = manifest_path(artefact)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record), encoding="utf-8")
        return artefact

    return write


@pytest.fixture
def make_record(tmp_path):
    """Gives a RunRecord for rows of metrics; keywords go to `read_record`, ``config`` to the
    configuration, ``compressed`` into baseline.json.
    """

    def make(
        rows: list[dict[str, object]],
        config: dict | None = None,
        compressed: dict | None = None,
        **more: object,
    ) -> RunRecord:
        metrics = _write_csv(tmp_path / "training_metrics.csv", rows)
        baseline = tmp_path / "baseline.json"
        baseline.write_text(json.dumps({**BASELINE, **(compressed or {})}), encoding="utf-8")
        settings = from_mapping({"train": {"steps": 100}, **(config or {})})
        return read_record(settings, metrics=metrics, **{"baseline": baseline, **more})

    return make
