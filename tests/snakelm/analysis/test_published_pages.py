"""The report is shown around: its pages have no passwords, no keys, and of paths only names."""

import pytest

from snakelm.analysis.tables.configuration import write_configuration
from snakelm.analysis.tables.sources import write_sources
from snakelm.analysis.tables.summary import write_summary

HOME, PASSWORD, KEY = "/home/dear-alice", "hunter2pass", "c0ffee5ecret"
CONFIG = {
    "sources": [
        {"path": [f"{HOME}/notes/*.parquet"], "name": "notes"},
        {
            "url": f"https://dear-alice:{PASSWORD}@files.example/a.parquet?sig={KEY}",
            "sha256": "00" * 32,
            "name": "fetched",
        },
    ],
    "sft_data": {"sources": [{"path": f"{HOME}/talks.jsonl"}]},
    "compare": [f"{HOME}/runs/other"],
}


@pytest.fixture
def pages(make_record, manifest, whole_run, tmp_path):
    """The pages that tell where things came from."""
    bad = [f"{HOME}/notes/broken.parquet"]
    for name in ("notes", "fetched"):
        manifest(
            f"sampled/{name}.parquet",
            "sample_data",
            inputs=[{"path": f"{HOME}/{name}/a.parquet", "sha256": "cd" * 32, "bytes": 9}],
            kept=5,
            taken=5,
            bad_files=bad,
        )
    record = make_record(
        whole_run,
        CONFIG,
        artefacts=[tmp_path / f"sampled/{name}.parquet" for name in ("notes", "fetched")],
        rerun=f"snakemake --configfile {HOME}/my.yaml --config results={HOME}/r",
    )
    folder = tmp_path / "tables"
    write_configuration(record, folder / "configuration.html")
    write_sources(record, folder / "sources.html")
    write_summary(record, folder / "summary.html")
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_no_page_tells_of_the_machine(pages, tmp_path):
    assert len(pages) == 3
    for name, page in pages.items():
        for trace in ("dear-alice", PASSWORD, KEY, str(tmp_path)):
            assert trace not in page, name
    assert "a.parquet" in pages["sources.html"]
    assert "files.example/a.parquet" in pages["configuration.html"]
    assert "--configfile my.yaml" in pages["summary.html"]
