"""snakelm.files: a file is complete or absent."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from snakelm.errors import DiskFullError, UserError
from snakelm.files import (
    Scratch,
    atomic_path,
    human_bytes,
    open_own,
    reserve,
    sha256_file,
    write_if_changed,
    write_text,
)


def test_an_error_leaves_the_old_file_and_no_temporary(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_under_the_temporary_name_is_not_written_through(tmp_path, there):
    treasure = tmp_path / "treasure"
    if there:
        treasure.write_text("gold")
    target = tmp_path / "a.txt"
    (tmp_path / f".a.txt.{os.getpid()}.tmp").symlink_to(treasure)
    write_text(target, "new")
    assert target.read_text() == "new"
    assert not target.is_symlink()
    assert treasure.read_text() == "gold" if there else not treasure.exists()
    assert set(os.listdir(tmp_path)) == {"a.txt", *(["treasure"] if there else [])}


def test_a_link_laid_while_we_write_is_not_renamed(tmp_path):
    treasure, target = tmp_path / "treasure", tmp_path / "a.txt"
    treasure.write_text("gold")

    def lay(temporary):
        temporary.unlink()
        temporary.symlink_to(treasure)

    with pytest.raises(OSError, match="symbolic links"), atomic_path(target) as temporary:
        lay(temporary)
    assert not target.is_symlink()
    assert treasure.read_text() == "gold"


def test_a_result_that_is_a_link_is_replaced(tmp_path):
    treasure, target = tmp_path / "treasure", tmp_path / "a.txt"
    treasure.write_text("gold")
    target.symlink_to(treasure)
    write_text(target, "new")
    assert (treasure.read_text(), target.read_text()) == ("gold", "new")


@pytest.mark.parametrize("mode", ["w", "a", "a+"])
def test_a_log_is_not_written_through_a_link(tmp_path, mode):
    treasure, log = tmp_path / "treasure", tmp_path / "a.log"
    treasure.write_text("gold")
    log.symlink_to(treasure)
    with pytest.raises(UserError, match=r"a\.log: a link, which is not written through"):
        open_own(log, mode)
    with pytest.raises(OSError, match="symbolic links"):
        reserve(log, 5)
    assert treasure.read_text() == "gold"


def test_a_file_of_ours_has_the_rights_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


WRITE = (
    "import sys, time\nfrom snakelm.files import atomic_path\n"
    "with atomic_path(sys.argv[1]) as t:\n"
    "    t.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
)


def start_writing(target):
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(target)], stdout=subprocess.PIPE, cwd=os.getcwd()
    )
    assert child.stdout.readline() == b"writing\n"
    return child


def test_a_kill_leaves_the_old_file_and_the_next_write_sweeps_at_once(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with start_writing(target) as child:
        child.send_signal(signal.SIGKILL)
    assert target.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    write_text(target, "new")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_process_still_writes_is_not_swept(tmp_path):
    target = tmp_path / "a.txt"
    with start_writing(target) as child:
        leftover = tmp_path / f".a.txt.{child.pid}.tmp"
        os.utime(leftover, (0, 0))
        # Under the number of a process that is none here, as one on another host may have.
        elsewhere = leftover.rename(tmp_path / ".a.txt.999999999.tmp")
        write_text(target, "new")
        assert elsewhere.read_text() == "half"
        child.kill()


def test_without_locks_a_dead_processs_old_file_is_swept(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    names = {
        "old": f".a.txt.{gone.pid}.tmp",
        "new": ".a.txt.999999999.tmp",
        "alive": f".a.txt.{os.getppid()}.tmp",
    }
    for name in names.values():
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / names["new"])
    write_text(tmp_path / "a.txt", "whole")
    assert set(os.listdir(tmp_path)) == {"a.txt", names["new"], names["alive"]}


def test_no_room_says_how_much_is_needed_and_there(tmp_path):
    code = (
        "import resource, sys\nfrom snakelm.files import atomic_path, reserve\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\nreserve(sys.argv[1], 5000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "big")], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "disk full (need 5.0 kB, have" in done.stderr


def test_write_beyond_the_limit_becomes_a_disk_full_error_and_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DiskFullError, match="disk full"):
            write_text(tmp_path / "big", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert os.listdir(tmp_path) == []


def test_reserve_takes_the_room(tmp_path):
    reserve(tmp_path / "room", 12_345)
    assert (tmp_path / "room").stat().st_size == 12_345


def test_scratch_has_no_name_and_keeps_what_was_written(tmp_path):
    scratch = Scratch(tmp_path / "new", 100_000)
    scratch.buffer[:3] = b"abc"
    scratch.forget()
    assert scratch.buffer[:4] == b"abc\0"
    assert list((tmp_path / "new").iterdir()) == []


def test_scratch_without_room_says_so_before_it_is_used(tmp_path):
    with pytest.raises(DiskFullError, match=r"temporary file: disk full \(need 1.0 TB"):
        Scratch(tmp_path, 10**12)


def test_write_if_changed_keeps_the_time_of_an_equal_file(tmp_path):
    file = tmp_path / "a"
    assert write_if_changed(file, "same")
    os.utime(file, ns=(0, 0))
    assert not write_if_changed(file, "same")
    assert file.stat().st_mtime_ns == 0
    assert write_if_changed(file, "other")
    assert file.stat().st_mtime > time.time() - 60


def test_sha256_and_sizes_are_as_others_write_them(tmp_path):
    write_text(tmp_path / "abc", "abc")
    assert (
        sha256_file(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert [human_bytes(n) for n in (999, 1500, 2e9, 3e12)] == [
        "999 B",
        "1.5 kB",
        "2.0 GB",
        "3.0 TB",
    ]
