"""The trainer as processes: killed at any moment, signalled, two at once, two as one."""

import contextlib
import csv
import ipaddress
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snakelm.files import sha256_file
from tests.scripts.training.conftest import EVERYTHING

LONGER = {"steps": 240, "save_every": 5, "eval_every": 60}


def finish(results, config):
    process = results.start(config)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return sha256_file(results.folder / "final_model.pt"), said


def values(results, name):
    with open(results.folder / "logs/training_metrics.csv", encoding="utf-8", newline="") as file:
        return {int(r["step"]): float(r[name]) for r in csv.DictReader(file) if r[name]}


def kill_once(results, config, at_least):
    """Kills a run after the checkpoint of ``at_least``; gives the newest step saved."""
    process = results.start(config)
    results.wait_for_step(process, at_least)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    return max(int(p.stem[5:]) for p in results.checkpoints())


def test_killed_and_run_again_ends_with_the_same_bytes(make_results):
    uninterrupted, killed = make_results("uninterrupted"), make_results("killed")
    expected, _ = finish(uninterrupted, uninterrupted.config(**LONGER))
    config = killed.config(**LONGER)
    reached = kill_once(killed, config, 20)
    assert 20 <= reached < 240
    got, said = finish(killed, killed.config(activation_checkpointing=True, **LONGER))
    assert "resumes after step" in said
    assert got == expected
    assert values(killed, "loss") == values(uninterrupted, "loss")


@pytest.mark.long
def test_killed_twenty_times_ends_with_the_same_bytes(make_results):
    """`pytest -m long tests/scripts/training`: twenty kills at random moments, each after progress;
    about 3 minutes.
    """
    long = {"steps": 3000, "save_every": 5, "eval_every": 500}
    uninterrupted, killed = make_results("uninterrupted"), make_results("killed")
    expected, _ = finish(uninterrupted, uninterrupted.config(**long))
    config, reached, moments = killed.config(**long), 0, random.Random(0)
    for _ in range(20):
        before = reached
        process = killed.start(config)
        killed.wait_for_step(process, before + 5)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        reached = max(int(p.stem[5:]) for p in killed.checkpoints())
        assert reached > before
    got, _ = finish(killed, config)
    assert got == expected
    assert values(killed, "loss") == values(uninterrupted, "loss")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_with_code_3_after_saving(results, number):
    """However many more of them come, as at a Slurm time limit."""
    process = results.start(results.config(**LONGER))
    results.wait_for_step(process, 5)
    process.send_signal(number)
    for _ in range(20):
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    step = int(said.rsplit("saved step ", 1)[1].split(";")[0])
    assert results.checkpoints()[-1].stem == f"step_{step:08d}"
    assert said.rstrip().endswith("resume: the same command")
    assert "Traceback" not in said


def test_a_second_trainer_is_turned_away(results):
    config = results.config(**LONGER)
    first = results.start(config)
    results.wait_for_step(first, 5)
    first.send_signal(signal.SIGSTOP)
    try:
        second = results.start(config)
        _, said = second.communicate(timeout=60)
    finally:
        first.send_signal(signal.SIGCONT)
        first.kill()
        first.communicate()
    assert second.returncode == 2
    assert f"held by another training run (process {first.pid} on " in said
    assert "Traceback" not in said


def test_two_sharded_processes_under_torchrun_learn_what_one_learns(make_results):
    """And one, with all of the model, goes on from their checkpoints."""
    one, two = make_results("one"), make_results("two")
    finish(one, one.config())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(two.script), *two.arguments(two.config(sharding="fsdp"))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("DONE") == 1

    two.checkpoints()[-1].unlink()
    _, said = finish(two, two.config())
    assert "resumes after step 50 of 60" in said
    losses = values(one, "loss"), values(two, "loss")
    assert losses[0].keys() == losses[1].keys()
    for step, loss in losses[0].items():
        assert losses[1][step] == pytest.approx(loss, rel=5e-3), step
    assert values(two, "val_bpb")[60] == pytest.approx(values(one, "val_bpb")[60], rel=5e-3)


def test_a_signal_ends_two_processes_alike_and_one_goes_on_to_the_same_bytes(make_results):
    uninterrupted, stopped = make_results("uninterrupted"), make_results("stopped")
    reproducible = {"steps": 60, "save_every": 5, "reproducible": 8, **EVERYTHING}
    expected, _ = finish(uninterrupted, uninterrupted.config(**reproducible))
    more = {"processes": 2, "activation_checkpointing": True}
    process = stopped.start(stopped.config(**more, **reproducible))
    stopped.wait_for_step(process, 5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert said.count("saved step") == 1

    got, said = finish(stopped, stopped.config(**reproducible))
    assert got == expected
    step = re.search(r"resumes after step (\d+) of", said)[1]
    assert "processes: 1 from here on, 2 before: the same batches, results equal to the bit" in said
    manifest = json.loads((stopped.folder / "final_model.pt.manifest.json").read_text())
    assert manifest["counts"]["result"]["processes_from_step"] == {"0": 2, step: 1}


def children_of(process):
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(children) == 2
    return children


def listening(pid):
    """The addresses on which a process listens, from Linux's /proc."""
    own, addresses = set(), set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            own.add(os.readlink(link))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in own:
                raw = bytes.fromhex(local.partition(":")[0])  # words of four bytes, turned around
                turned = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
                addresses.add(ipaddress.ip_address(turned))
    return addresses


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_processes_listen_on_loopback_alone(results):
    """Nor do they leave the file behind in which they met."""
    environment = {"TMPDIR": str(results.folder / "tmp"), "GLOO_SOCKET_IFNAME": "elsewhere0"}
    Path(environment["TMPDIR"]).mkdir()
    config = results.config(processes=2, **{**LONGER, "steps": 5000})
    process = results.start(config, **environment)
    results.wait_for_step(process, 5)
    addresses = set().union(*(listening(pid) for pid in [process.pid, *children_of(process)]))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert addresses, "gloo's connections begin with one"
    assert all(address.is_loopback for address in addresses), addresses
    assert not list(Path(environment["TMPDIR"]).glob("snakelm-*"))


def test_one_of_two_killed_ends_both_soon(results):
    process = results.start(results.config(processes=2, **{**LONGER, "steps": 5000}))
    results.wait_for_step(process, 5)
    children = children_of(process)
    os.kill(int(children[1]), signal.SIGKILL)
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert time.monotonic() - begun < 30
    assert "lost another process of this training" in said
    assert "process 1 of 2 was killed (SIGKILL), probably for its memory: asked for " in said
    assert "Traceback" not in said


def test_ranks_that_nobody_set_for_it_are_ignored_in_one_line(results, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    _, said = finish(results, results.config(steps=4, eval_every=4, save_every=4))
    assert said.count("RANK=1, WORLD_SIZE=4, LOCAL_RANK=1 in the environment, but neither") == 1
    assert (results.folder / "final_model.pt.manifest.json").is_file()
    assert (results.folder / "logs/training.log").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux")
def test_the_memory_said_is_what_a_run_takes(results):
    process = results.start(results.config(steps=6, eval_every=3, save_every=3, sample_tokens=4))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    manifest = json.loads((results.folder / "final_model.pt.manifest.json").read_text())
    peak = manifest["counts"]["result"]["peak_bytes"]
    estimate = float(re.search(r"memory about ([\d.]+) MB", said)[1]) * 1e6
    assert 0.7 < estimate / peak < 1.4, "other builds of torch are of other sizes"
