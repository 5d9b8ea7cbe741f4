"""chat.py as a process: one question, a pipe, a terminal, a server and its end, and what it says
when it can't.
"""

import importlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from snakelm.config import Model
from snakelm.errors import UserError
from snakelm.model import Decoder, save_model
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.tokenizer.special import CHAT
from snakelm.workflow.manifest import write_manifest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/analysis/chat.py"
SPECIAL = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
TINY = Model(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=64)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A model that says one character, é, in two tokens and over again: it has never an end."""
    folder = tmp_path_factory.mktemp("results")
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", SPECIAL)
    tokenizer.save(folder / "tokenizer")
    model = Decoder(TINY, tokenizer.vocab_size).initialize(torch.Generator().manual_seed(0))
    first, second = "é".encode()
    with torch.no_grad():  # residual outputs are zero, so the last token alone decides
        model.embedding.zero_()
        model.head.zero_()
        model.embedding[:, 0] = 1.0
        model.embedding[first] = torch.nn.functional.one_hot(torch.tensor(1), 32)
        model.head[first, 0] = model.head[second, 1] = 5.0
    for name, chat in (("sft_model.pt", True), ("final_model.pt", False)):
        save_model(
            folder / name,
            model,
            tokenizer_sha256=tokenizer.sha256,
            step=1,
            fingerprint="x",
            chat=chat,
        )
        vouch(folder / name)
    vouch(folder / "tokenizer/meta.json", "ranks.tiktoken", "tokenizer.json")
    return folder


def vouch(path, *files):
    """The manifest that the step which makes it would write."""
    beside = [path.with_name(name) for name in files]
    write_manifest(path, inputs=[], files=beside, config={}, script=SCRIPT, seed=None)


def command(results, *more):
    return [sys.executable, str(SCRIPT), "--results", str(results), "--temperature", "0", *more]


def run(results, *more, said=""):
    return subprocess.run(
        command(results, *more),
        input=said,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def test_one_question(results):
    done = run(results, "--prompt", "q", "--max-tokens", "6")
    assert (done.returncode, done.stdout) == (0, "ééé\n"), done.stderr
    assert "cut off" in done.stderr


def test_half_a_character_is_not_shown(results):
    assert run(results, "--prompt", "q", "--max-tokens", "5").stdout == "éé\ufffd\n"


def test_a_text_that_stops(results):
    done = run(results, "--prompt", "q", "--stop", "éé")
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
    assert "cut off" not in done.stderr


def test_lines_of_a_pipe_are_questions(results):
    done = run(results, "--max-tokens", "2", said="one\n\n/reset\ntwo\n/quit\nthree\n")
    assert (done.returncode, done.stdout) == (0, "é\né\n"), done.stderr
    assert "a new conversation" in done.stderr


def test_dropped_turns_are_noted(results):
    done = run(results, "--max-tokens", "10", said="a question\n" * 4)
    assert done.stdout.count("\n") == 4
    assert "its first 2 turns were dropped" in done.stderr


def test_a_reader_that_had_enough_is_no_error(results):
    line = " ".join([*map(repr, command(results, "--max-tokens", "2")), "| head -1"])
    done = subprocess.run(
        ["bash", "-c", line],
        input="q\n" * 200,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "é\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "nothing.pt"], "nothing.pt: missing; make it first: snakemake"),
        (["--prompt", "x" * 100], "your message: 1"),
        (["--temperature", "-1"], "--temperature"),
        (["--top-p", "0"], "--top-p"),
        (["--stop", ""], "--stop"),
        (["--serve", "--port", "65536"], "--port"),
        (["--serve", "--prompt", "q"], "--prompt with --serve"),
    ],
    ids=["no_model", "too_long", "temperature", "top_p", "stop", "port", "prompt_served"],
)
def test_what_it_cannot_do_it_says_in_a_line(results, more, said):
    done = run(results, *more)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_model_is_refused_and_one_without_a_manifest_said(results, tmp_path):
    for name in ("sft_model.pt", "sft_model.pt.manifest.json"):
        shutil.copy(results / name, tmp_path)
    model = tmp_path / "sft_model.pt"
    model.write_bytes(model.read_bytes()[:-600] + bytes(512) + model.read_bytes()[-88:])
    asked = ["--model", str(model), "--prompt", "q", "--max-tokens", "4"]
    done = run(results, *asked)
    assert done.returncode == 2
    assert f"{model}: not as chat wrote it (found SHA-256" in done.stderr

    shutil.copy(results / "sft_model.pt", tmp_path)
    (tmp_path / "sft_model.pt.manifest.json").unlink()
    done = run(results, *asked)
    assert (done.returncode, done.stdout) == (0, "éé\n")
    assert f"warning: {model}: no manifest says what should be in there" in done.stderr


def test_a_base_model_is_refused_but_with_base(results):
    path = str(results / "final_model.pt")
    refused = run(results, "--model", path, "--prompt", "q")
    assert refused.returncode == 2
    assert "never tuned" in refused.stderr
    assert run(results, "--base", "--prompt", "q", "--max-tokens", "4").stdout == "éé\n"


def test_another_tokenizer_is_refused(results, tmp_path):
    Tokenizer({bytes([i]): i for i in range(256)}, "cl100k", SPECIAL).save(tmp_path / "other")
    done = run(results, "--tokenizer", str(tmp_path / "other"), "--prompt", "q")
    assert done.returncode == 2
    assert "another tokenizer" in done.stderr


class Terminal:
    """The script on a terminal of its own."""

    def __init__(self, results, *more):
        self.pid, self.screen = pty.fork()
        if not self.pid:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ["TERM"] = "dumb"
            os.execv(sys.executable, command(results, *more))
        self.seen = ""

    def wait_for(self, text, seconds=60.0):
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.screen], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.screen, 65536).decode(errors="replace")
                except OSError:  # closed
                    assert text in self.seen, self.seen
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text):
        os.write(self.screen, text.encode())

    def code(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize(
    ("more", "temperature"),
    [([], 0.3), (["--base"], 0.8), (["--base", "--temperature", "0.5"], 0.5)],
    ids=["answers", "texts", "asked_for"],
)
def test_how_coldly_it_chooses(results, monkeypatch, more, temperature):
    def given(model, tokenizer, **settings):
        raise UserError(f"at {settings['temperature']}")

    monkeypatch.setattr("snakelm.model.chat.load_responder", given)
    main = importlib.import_module("scripts.analysis.chat").main
    with pytest.raises(UserError, match=f"at {temperature}"):
        main(["--results", str(results), *more])


def test_on_a_terminal(results):
    terminal = Terminal(results, "--max-tokens", "3")
    terminal.wait_for("you: ")
    terminal.type("hello\n")
    terminal.wait_for("é")
    terminal.wait_for("you: ")
    terminal.type("x" * 100 + "\n")
    terminal.wait_for("say it in fewer words")
    terminal.wait_for("you: ")
    terminal.type("\x04")
    assert terminal.code() == 0


def test_ctrl_c_stops_an_answer_and_not_the_conversation(results, tmp_path):
    record = torch.load(results / "sft_model.pt", weights_only=True)
    record["model"]["context"] = 100_000  # an answer long enough to be stopped
    torch.save(record, tmp_path / "endless.pt")
    vouch(tmp_path / "endless.pt")
    terminal = Terminal(results, "--model", str(tmp_path / "endless.pt"), "--max-tokens", "50000")
    terminal.wait_for("you: ")
    terminal.type("hello\n")
    terminal.wait_for("éé")
    terminal.type("\x03")
    terminal.wait_for("[stopped]")
    terminal.wait_for("you: ")
    terminal.type("/quit\n")
    assert terminal.code() == 0


@pytest.fixture
def serving(results):
    """`serving(*more)`: the script with --serve on a free port, once it says its address, and that
    address.
    """
    started = []

    def start(*more):
        line = command(results, "--serve", "--port", "0", *more)
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        started.append(process)
        return process, re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline()).group()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def post(address, path, **body):
    """The open reply."""
    request = urllib.request.Request(
        address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=30)


def ask(address, model="sft_model", **more):
    return post(
        address,
        "/v1/chat/completions",
        model=model,
        messages=[{"role": "user", "content": "q"}],
        **more,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_server_answers_and_ends(serving, number):
    process, address = serving("--max-tokens", "6")
    with ask(address) as reply:
        assert json.load(reply)["choices"][0]["message"]["content"] == "ééé"
    process.send_signal(number)
    said, noted = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert noted.splitlines()[-1] == f"[chat] {number.name}: the server ends"
    assert "Traceback" not in noted
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)


def test_a_server_ends_in_the_middle_of_an_answer(serving, results, tmp_path):
    record = torch.load(results / "sft_model.pt", weights_only=True)
    record["model"]["context"] = 100_000
    torch.save(record, tmp_path / "endless.pt")
    vouch(tmp_path / "endless.pt")
    process, address = serving("--model", str(tmp_path / "endless.pt"), "--max-tokens", "50000")
    with ask(address, "endless", stream=True) as reply:
        assert (
            "é"
            in json.loads(reply.readline().removeprefix(b"data: "))["choices"][0]["delta"][
                "content"
            ]
        )
        process.send_signal(signal.SIGTERM)
        assert b"shutting down" in reply.read()
    assert process.wait(timeout=30) == 0


def test_a_port_in_use_is_said_in_a_line(serving, results):
    process, address = serving()
    port = address.rpartition(":")[2]
    done = run(results, "--serve", "--port", port)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: --port {port}: in use by another program; "
        "name another, or 0 to take a free one: --port 0\n"
    )
    assert process.poll() is None


def test_a_base_model_is_served_with_base(serving):
    _, address = serving("--base", "--max-tokens", "4")
    with post(address, "/v1/completions", model="final_model", prompt="q") as reply:
        assert json.load(reply)["choices"][0]["text"] == "éé"
