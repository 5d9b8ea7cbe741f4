"""A server in this process, over a tiny model that says what a test wants said."""

import threading
from contextlib import contextmanager

import pytest
import torch

from snakelm.config import Model
from snakelm.model import Decoder
from snakelm.model.chat import Chat, Continuation
from snakelm.serve import ModelServer, Worker
from snakelm.tokenizer import EOT, Tokenizer
from snakelm.tokenizer.special import CHAT

SPECIAL = {name: 256 + i for i, name in enumerate((EOT, *CHAT))}
TINY = Model(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=512)


@pytest.fixture(scope="session")
def tokenizer():
    """One token a byte."""
    return Tokenizer({bytes([i]): i for i in range(256)}, "gpt2", SPECIAL)


@pytest.fixture(scope="session")
def model(tokenizer):
    """Draws any byte, by all that it has read."""
    made = Decoder(TINY, tokenizer.vocab_size).initialize(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return made.eval()


@pytest.fixture
def talk(model, tokenizer):
    """What `chat.py` would talk with on a terminal."""
    return Chat(model, tokenizer, max_tokens=40, seed=3, temperature=0.8, top_k=50, top_p=1.0)


@pytest.fixture
def base(model, tokenizer):
    """The same of a base model."""
    return Continuation(
        model, tokenizer, max_tokens=20, seed=3, temperature=0.8, top_k=50, top_p=1.0
    )


@pytest.fixture
def served():
    """`with served(talk) as server:` has it answer, and closes it."""

    @contextmanager
    def serve(talk, **options):
        worker = Worker(talk, **options)
        server = ModelServer(worker, 0, "tiny")
        thread = threading.Thread(target=worker.run)
        server.start()
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join()

    return serve


class Script:
    """Answers that the model is made to say, one a request; `gate`, a Semaphore, lets tokens
    pass.
    """

    def __init__(self, tokenizer):
        self.tokenizer, self.answers, self.prompts, self.gate, self.said = (
            tokenizer,
            [],
            [],
            None,
            0,
        )

    def stream(self, model, prompt, length, **sampling):
        self.prompts.append((self.tokenizer.decode(prompt), length, sampling))
        for i in self.tokenizer.encode_ordinary(self.answers.pop(0))[:length]:
            if self.gate is not None:
                assert self.gate.acquire(timeout=30)
            self.said += 1
            yield i


@pytest.fixture
def script(monkeypatch, tokenizer):
    """Makes the model say `script.answers`."""
    made = Script(tokenizer)
    monkeypatch.setattr("snakelm.model.chat.stream", made.stream)
    return made
