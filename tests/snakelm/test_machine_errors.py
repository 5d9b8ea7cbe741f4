"""What a person is told when the machine refuses."""

import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from snakelm import machine_errors
from snakelm.machine_errors import killed, machine_error, memory_limit
from snakelm.workflow.exit_codes import exit_code

ROOT = Path(__file__).resolve().parents[2]
SAID = {
    errno.ENOSPC: "disk full; free some room",
    errno.EDQUOT: "disk full: your quota",
    errno.EFBIG: "disk full: the file would be larger than files may be",
    errno.EROFS: "read-only file system",
    errno.EIO: "input/output error",
    errno.EMFILE: "too many open files",
    errno.ENOENT: "No such file",
    errno.EACCES: "Permission denied",
}


@pytest.mark.parametrize("number", SAID, ids=errno.errorcode.get)
def test_what_the_system_refuses_is_said_in_a_line_with_code_2(capsys, number):
    def step():
        raise OSError(number, os.strerror(number), "results/train.bin")

    assert exit_code(step) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"error: results/train.bin: {SAID[number]}")


def test_a_write_of_numpys_that_is_cut_short_is_a_full_disk(tmp_path):
    """numpy keeps the system's reason to itself."""
    writes = """
        import resource, signal, sys
        import numpy as np
        from pathlib import Path
        from snakelm.files import atomic_path
        from snakelm.workflow.exit_codes import exit_code
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        def step():
            with atomic_path(Path("a.bin")) as temporary, open(temporary, "wb") as file:
                np.zeros(9000).tofile(file)
        raise SystemExit(exit_code(step))
    """
    command = [sys.executable, "-c", textwrap.dedent(writes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: a.bin: disk full")
    assert not list(tmp_path.iterdir())


def test_where_the_words_find_no_room_the_code_still_says_so(monkeypatch):
    def step():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results/train.bin")

    with suppress(OSError), open("/dev/full", "w", buffering=1) as full:  # closing it fails too
        monkeypatch.setattr(sys, "stderr", full)
        code = exit_code(step)
    assert code == 2


def test_a_fault_of_ours_keeps_its_traceback():
    for error in (OSError(errno.EBADF, "bad"), RuntimeError("shapes"), ValueError("x")):
        assert machine_error(error) is None


def test_no_room_for_temporary_files(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    with pytest.raises(FileNotFoundError) as refused:
        tempfile.gettempdir()
    said = machine_error(refused.value)
    assert said.startswith("No usable temporary directory found in ['/proc']: full or read-only")
    assert "set TMPDIR" in said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
    ids=["Python", "torch", "GPU"],
)
def test_memory_that_is_refused(error):
    said = machine_error(error)
    assert said.startswith("out of memory: asked for ")
    assert "limit" in said
    assert "mem_mb" in said


def test_a_real_allocation_that_fails_is_said_without_a_traceback():
    code = """
        import resource, sys
        from snakelm.workflow.exit_codes import exit_code
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        sys.exit(exit_code(lambda: len(bytearray(4 << 30))))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: out of memory: asked for ")


def test_a_kill_is_told_with_what_was_asked_and_what_the_limit_is(monkeypatch):
    monkeypatch.setattr(machine_errors, "_group_limits", lambda: [2_000_000_000, 3_000_000_000])
    said = killed("process 1 of 2")
    assert said.startswith(
        "process 1 of 2 was killed (SIGKILL), probably for its memory: asked for"
    )
    assert "limit 2.0 GB of the control group" in said


GROUPS = Path("/sys/fs/cgroup/memory")


@pytest.mark.skipif(
    not os.access(GROUPS, os.W_OK), reason="control groups of version 1 can't be made here"
)
def test_a_real_kill_in_a_control_group(tmp_path):
    group = GROUPS / tmp_path.name
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text("100000000")
        code = """
            import os, subprocess, sys
            from pathlib import Path
            from snakelm.machine_errors import killed
            Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
            eats = [sys.executable, "-c", "bytearray(400_000_000)"]
            print(subprocess.run(eats).returncode, killed("the step"))
        """
        command = [sys.executable, "-c", textwrap.dedent(code), str(group)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        group.rmdir()
    assert ran.stdout.startswith("-9 the step was killed (SIGKILL), probably for its memory: asked")
    assert ", limit 100.0 MB of the control group; " in ran.stdout


def test_the_limit_is_at_most_what_the_machine_has():
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory_limit() <= machine
