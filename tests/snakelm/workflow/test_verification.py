"""What a step reads against the manifest that speaks of it; tests/faults has every step and
file.
"""

import os
import shutil

import pytest

from snakelm.errors import UserError
from snakelm.files import write_text
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.manifest import manifest_path, write_manifest
from snakelm.workflow.verification import check_files

SCRIPT = ROOT / "scripts/preparation/prepare_data.py"


@pytest.fixture
def run(tmp_path):
    """`train.bin` with its idx, and a model with logs in a folder beside it."""
    made = {"data/train.bin": ["data/train.idx"], "model.pt": ["logs/metrics.csv"]}
    for artefact, files in made.items():
        for name in (artefact, *files):
            path = tmp_path / "results" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode() * 100)
        artefact, *files = (tmp_path / "results" / name for name in (artefact, *files))
        write_manifest(artefact, inputs=[], files=files, config={}, script=SCRIPT, seed=None)
    return tmp_path / "results"


def zero(path):
    """Size and times stay, as when a disk loses a page."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(bytes(50))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("given", "damaged"),
    [
        ("data/train.bin", "data/train.bin"),
        ("data/train.bin", "data/train.idx"),  # read with it, though no one names it
        ("data/train.idx", "data/train.idx"),
        ("data", "data/train.bin"),
        ("logs/metrics.csv", "logs/metrics.csv"),
    ],
)
def test_a_damaged_file_is_refused_with_both_hashes_and_what_to_do(run, given, damaged):
    assert check_files([run / given], pytest.fail)
    zero(run / damaged)
    with pytest.raises(UserError, match="prepare_data wrote it") as refused:
        check_files([run / given], pytest.fail)
    said = str(refused.value)
    for part in (str(run / damaged), "found SHA-256", "expected", "run the same command again"):
        assert part in said


def test_what_was_not_asked_for_is_no_ones_reason_to_stop(run):
    zero(run / "logs/metrics.csv")
    assert list(check_files([run / "model.pt"])) == [run / "model.pt"]


def test_a_run_that_was_moved_is_verified_where_it_is(run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(run, moved)
    assert (
        len(check_files([moved / "data/train.idx", moved / "logs/metrics.csv"], pytest.fail)) == 2
    )


@pytest.mark.parametrize("beside", ["none", "of other files"])
def test_a_file_without_a_manifest_is_taken_and_said(run, tmp_path, beside):
    mine = (run / "data" if beside == "of other files" else tmp_path) / "mine.parquet"
    mine.write_bytes(b"mine")
    said = []
    assert check_files([mine], said.append) == {}
    assert said == [f"{mine}: no manifest says what should be in there; taken as it is, unverified"]
    assert check_files([mine]) == {}


def test_the_damaged_manifest_of_another_file_that_names_this_one_is_refused(run):
    path = manifest_path(run / "model.pt")
    path.write_bytes(path.read_bytes().replace(b'"bytes"', b'"Bytes"', 1))
    with pytest.raises(UserError, match="run its step again"):
        check_files([run / "logs/metrics.csv"])


def test_what_was_read_is_what_is_sealed(run):
    path, out = run / "data/train.bin", run / "out"
    out.write_bytes(b"out")
    verified = check_files([path])
    path.write_bytes(b"another")
    with pytest.raises(UserError, match="written anew while it was being read"):
        write_manifest(out, inputs=[path], config={}, script=SCRIPT, seed=None, verified=verified)


def test_of_a_damaged_file_that_is_shared_the_shared_one_is_to_be_deleted(tmp_path):
    shared, ours = tmp_path / "shared.bin", tmp_path / "results/ours.bin"
    write_text(ours, "as it was written")
    write_manifest(ours, inputs=[], config={}, script=SCRIPT, seed=None)
    ours.rename(shared)
    ours.symlink_to(shared)
    assert check_files([ours])
    shared.write_text("damaged")
    with pytest.raises(UserError, match=f"delete {shared}, which {ours} is a link to, and run"):
        check_files([ours])
