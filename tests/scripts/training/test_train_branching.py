"""A run that is longer than one before, or decays otherwise, goes on from what both share, and ends
with the bytes of one that had its plan from the start.
"""

import json
import re
import shutil

import pytest

from snakelm.errors import UserError
from snakelm.files import sha256_file
from snakelm.training import loop
from snakelm.training.pretraining import Pretraining
from tests.scripts.training.test_train import main, rows, stop_at

# 20 steps, of which 11 are flat; checkpoints at 6, 11 (kept), 12, 18, 20.
FIRST = {"steps": 20, "decay": 0.5, "eval_every": 5, "save_every": 6, "keep": 1, "log_every": 2}
LONGER = {**FIRST, "steps": 30}  # 16 flat ones


def train(results, **keys):
    assert main(results.arguments(results.config(**keys))) == 0
    return sha256_file(results.folder / "final_model.pt")


def result_of(results):
    manifest = json.loads((results.folder / "final_model.pt.manifest.json").read_text())
    return manifest["counts"]["result"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results folders with a finished run, and what the longer one gives from the start."""
    from tests.scripts.training.conftest import make_training_results

    folder = tmp_path_factory.mktemp("made")
    straight = make_training_results(folder / "straight")
    expected = train(straight, **LONGER)
    finished = make_training_results(folder / "finished")
    train(finished, **FIRST)
    return finished, straight, expected


@pytest.fixture
def finished(made, tmp_path):
    """A copy of the finished run."""
    first = made[0]
    shutil.copytree(first.folder, tmp_path / "copy")
    return type(first)(tmp_path / "copy")


def steps_trained(monkeypatch):
    """The steps that are trained from here on, from 1."""
    one_step, done = loop.training_step, []

    def counted(step, *more):
        done.append(step + 1)
        return one_step(step, *more)

    monkeypatch.setattr(loop, "training_step", counted)
    return done


def test_more_steps_go_on_before_the_decay_and_end_with_the_same_bytes(
    made, finished, monkeypatch, capfd
):
    _, straight, expected = made
    assert [path.stem for path in finished.checkpoints()] == ["step_00000011", "step_00000020"]
    first, done = result_of(finished)["fingerprint"], steps_trained(monkeypatch)
    assert train(finished, **LONGER) == expected
    assert done == [*range(12, 31)]
    said = capfd.readouterr().err
    assert (
        f"goes on from step 11 of run {first}, up to which both are the same (train.steps" in said
    )
    assert "begins after step 11 of 30" in said
    assert "resumes after" not in said
    assert result_of(finished)["continues"] == {"fingerprint": first, "step": 11}
    assert result_of(finished)["fingerprint"] == result_of(straight)["fingerprint"]
    for name in ("step", "loss", "grad_norm", "lr", "val_bpb"):
        assert [r[name] for r in rows(finished)] == [r[name] for r in rows(straight)], name

    done.clear()
    train(finished, **FIRST)
    assert done == [], "the first run is there, as it was"


def test_another_decay_and_a_second_branch_go_on_too(finished, monkeypatch):
    done = steps_trained(monkeypatch)
    train(finished, **{**FIRST, "decay": 0.2})
    assert done == [*range(12, 21)]
    done.clear()
    train(finished, **{**FIRST, "steps": 40, "decay": 0.25})  # from the branch, flat until 17
    assert done[0] == 18


ENDLESS = {"decay": 0.0, "eval_every": 5, "save_every": 10, "keep": 1, "eval_tokens": 200}
# Held-out losses by step: the best is neither the first nor the last of 20 steps, nor of 40.
SAID = {5: 3.0, 10: 1.5, 15: 2.0, 20: 2.5, 25: 2.0, 30: 1.0, 35: 1.2, 40: 1.4}


@pytest.mark.parametrize("keep_best", [False, True], ids=["last", "best"])
def test_a_run_without_decay_goes_on_from_before_its_last_evaluation(
    make_results, monkeypatch, keep_best
):
    """That one takes all held-out text, and leaves the best weights in the model."""

    def said(self, model, step, *more):
        return {"val_loss": SAID[step], "val_bpb": SAID[step], "val_bpb_clean": SAID[step]}

    if keep_best:
        monkeypatch.setattr(Pretraining, "validate", said)
    keys = {**ENDLESS, "keep_best": keep_best}
    straight, longer = make_results("straight"), make_results("longer")
    expected = train(straight, **keys, steps=40)
    train(longer, **keys, steps=20)
    if keep_best:
        assert result_of(longer)["weights_of_step"] == 10

    done = steps_trained(monkeypatch)
    assert train(longer, **keys, steps=40) == expected
    assert done == [*range(20, 41)]
    for name in ("step", "loss", "val_bpb"):
        assert [r[name] for r in rows(longer)] == [r[name] for r in rows(straight)], name


def test_a_branch_that_is_stopped_resumes(made, finished, monkeypatch):
    config = finished.config(**LONGER)
    stop_at(monkeypatch, 14)
    with pytest.raises(Exception, match="saved step 14"):
        main(finished.arguments(config))
    monkeypatch.undo()
    assert train(finished, **LONGER) == made[2]


ANEW = {
    "rate": ({"lr": 0.03}, r"had others \(train\.lr 0\.025 → 0\.03, train\.steps 20 → 30\); only"),
    "batch": ({"batch_tokens": 512}, r"train\.batch_tokens 256 → 512"),
    "warm-up": ({"warmup": 4}, r"train\.warmup 3 → 4"),
    "seed": ({"seed": 3}, r"train\.seed 1337 → 3"),
    "a decay from the start": ({"decay": 1.0}, r"no checkpoint up to step 1, where the first"),
    "an earlier decay": ({"decay": 0.8}, r"no checkpoint up to step 7, where the first of the two"),
}


@pytest.mark.parametrize(("keys", "said"), ANEW.values(), ids=ANEW)
def test_what_forbids_it_is_named_and_the_run_trained_anew(
    finished, monkeypatch, capfd, keys, said
):
    class Begun(Exception):
        """Training has begun."""

    def begun(step, *more):
        assert step == 0
        raise Begun

    monkeypatch.setattr(loop, "training_step", begun)
    with pytest.raises(Begun):
        main(finished.arguments(finished.config(**{**LONGER, **keys})))
    found = capfd.readouterr().err.replace("\n", " ")
    assert "trained anew" in found
    assert re.search(said, found)


@pytest.mark.parametrize(
    "keys", [{"average": 0.2}, {"weight_decay": 0.1, "weight_decay_schedule": [1.0, 0.5]}], ids=str
)
def test_what_is_a_share_of_the_steps_forbids_more_of_them(results, monkeypatch, capfd, keys):
    train(results, **FIRST, **keys)
    done = steps_trained(monkeypatch)
    train(results, **LONGER, **keys)
    assert done == [*range(1, 31)]
    assert "only train.decay may differ to go on from it" in capfd.readouterr().err.replace(
        "\n", " "
    )
    done.clear()
    train(results, **{**LONGER, **keys, "decay": 0.2})
    assert done == [*range(17, 31)]


def test_a_damaged_checkpoint_of_the_earlier_run_is_said_and_passed_over(
    finished, monkeypatch, capfd
):
    kept = finished.checkpoints()[0]
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    done = steps_trained(monkeypatch)
    train(finished, **LONGER)
    assert done[0] == 1
    said = capfd.readouterr().err
    assert "damaged (SHA-256" in said
    assert "trained anew, though run" in said


def test_checkpoints_that_are_gone_are_not_replaced_by_another_run_s(finished):
    train(finished, **LONGER)
    for path in finished.folder.glob(f"checkpoints/{result_of(finished)['fingerprint']}/*.pt*"):
        path.unlink()
    with pytest.raises(UserError, match="its checkpoints are gone"):
        main(finished.arguments(finished.config(**LONGER)))
