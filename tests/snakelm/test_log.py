"""What is printed and logged steers no terminal, whoever chose the words."""

import re
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from snakelm.log import Log
from snakelm.parquet import open_parquet
from snakelm.workflow.exit_codes import exit_code, parser

HOSTILE = "\x1b]0;title\x07\x1b[2J\u202emy\x9b31m\rfile"


def steers(text):
    return any(character in text for character in "\x1b\x07\u202e\x9b\r")


@pytest.mark.parametrize("say", ["say", "warn"])
def test_a_line_of_the_log_is_one_line_and_harmless(tmp_path, capsys, say):
    with Log("step", tmp_path / "a.log") as log:
        getattr(log, say)(f"{HOSTILE}\n[step] all is well")
    written, shown = (tmp_path / "a.log").read_text(), capsys.readouterr().err
    for text in (written, shown):
        assert not steers(text)
        assert "title" in text
        assert text.count("\n") == 1


def test_an_error_of_several_lines_is_logged_as_such_and_harmless(tmp_path):
    with pytest.raises(ValueError, match="title"), Log("step", tmp_path / "a.log", quiet=True):
        raise ValueError(f"2 files:\n  {HOSTILE}")
    text = (tmp_path / "a.log").read_text()
    assert not steers(text)
    assert text.count("\n") == 2


def test_a_note_beside_the_bar_is_no_markup_and_harmless(capsys):
    with Log("step") as log:
        log.console = Console(stderr=True, force_terminal=True, width=200)
        with log.progress(3, "files") as bar:
            bar.update(1, f"[/red] data[1].jsonl {HOSTILE}")
    assert "\x1b]0;" not in capsys.readouterr().err


def test_the_error_that_ends_a_script_is_harmless(tmp_path, capsys):
    pq.write_table(pa.table({HOSTILE: ["x"]}), tmp_path / "a.parquet")
    assert exit_code(lambda: open_parquet(tmp_path / "a.parquet", columns=["text"])) == 2
    said = capsys.readouterr().err
    assert "title" in said
    assert not steers(said)


def test_a_wrong_argument_is_shown_harmless(capsys):
    with pytest.raises(SystemExit):
        parser("x").parse_args([HOSTILE])
    said = capsys.readouterr().err
    assert "title" in said
    assert not steers(said)


@pytest.mark.parametrize(
    ("resumed_at", "each"), [(0, 2), (900, 2), (0, 60)], ids=["begun", "resumed", "hours"]
)
def test_the_time_that_is_left_is_reckoned_from_what_this_process_did(
    capsys, monkeypatch, resumed_at, each
):
    now = 100.0
    monkeypatch.setattr("snakelm.log.time.monotonic", lambda: now)
    with Log("train").progress(1000, "steps") as bar:
        for done in range(resumed_at + 1, resumed_at + 52):
            now += each
            bar.update(done)
    last = capsys.readouterr().err.splitlines()[-1]
    done = int(re.search(r"([\d,]+)/1,000 steps", last)[1])
    left = str(timedelta(seconds=each * (1000 - done)))
    assert last.endswith(f"ETA {left.removeprefix('0:').removeprefix('0')}")
