"""A piece of a text file is found again in its file, however the file was split."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from snakelm.provenance.chain import read_chain
from snakelm.provenance.token_origin import _look_again
from snakelm.workflow.code_digest import ROOT

PLAY = "\n\n".join(f"ANNA:\nline {i} of the play, and {i * i} more" for i in range(900))


@pytest.mark.parametrize(
    ("split", "files"),
    [({}, 1), ({}, 2), ({"split": "lines"}, 2), ({"split": "size", "split_kb": 0.5}, 1)],
    ids=["one file", "two files", "lines", "pieces of a given size"],
)
def test_a_piece_is_read_again_the_same(tmp_path, split, files):
    for i in range(files):
        (tmp_path / f"{i}.txt").write_text(PLAY + str(i))
    source = {"name": "play", "path": f"{tmp_path}/*.txt", **split}
    settings = {"preset": "smoke", "sources": [source], "max_document_mb": 1.0}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    script = ROOT / "scripts/preparation/sample_data.py"
    config, output = str(tmp_path / "c.yaml"), tmp_path / "play.parquet"
    subprocess.run(
        [sys.executable, script, "--config", config, "--source", "play", "--output", output],
        check=True,
        capture_output=True,
    )

    rows = pq.read_table(output).to_pylist()
    sampled = read_chain(output).roots[0]
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        place = row["origin_file"], row["origin_row"]
        where, confirmed = _look_again(sampled, "play", *place, row["id"])
        assert where == f"{place[0]}, row {place[1]:,} (the first is 0)"
        assert confirmed == "read again: the same text, byte for byte"
