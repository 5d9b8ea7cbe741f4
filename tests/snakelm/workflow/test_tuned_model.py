"""Who talks with a run gets the model of its preferences, unless that is of an earlier tuning."""

from snakelm.workflow import tuned_model as module
from snakelm.workflow.manifest import write_manifest
from snakelm.workflow.tuned_model import tuned_model


def test_the_model_of_preferences_counts_while_it_is_of_the_tuned_one(tmp_path):
    tuned, preferring = tmp_path / "sft_model.pt", tmp_path / "preference_model.pt"
    assert tuned_model(tmp_path) == tuned
    preferring.write_bytes(b"new")
    assert tuned_model(tmp_path) == preferring

    tuned.write_bytes(b"tuned")
    assert tuned_model(tmp_path) == tuned, "nothing says what the other was made from"
    write_manifest(preferring, inputs=[tuned], config={}, script=module.__file__, seed=0)
    assert tuned_model(tmp_path) == preferring
    tuned.write_bytes(b"again")
    assert tuned_model(tmp_path) == tuned
