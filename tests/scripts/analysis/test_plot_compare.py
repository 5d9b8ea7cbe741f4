"""The scripts of the report by hand: what they write, and mistakes in one line."""

import importlib
import json

import pytest

from snakelm.workflow.exit_codes import exit_code


def script(name):
    return importlib.import_module(f"scripts.analysis.{name}")


@pytest.fixture
def results(tmp_path):
    """A results folder with a pretraining of two rows."""
    (tmp_path / "own/logs").mkdir(parents=True)
    (tmp_path / "own/logs/training_metrics.csv").write_text(
        "step,tokens,loss,seconds\n5,9,3,1\n9,18,2,2\n"
    )
    (tmp_path / "my.yaml").write_text(
        json.dumps({"compare": [str(tmp_path / "own")], "train": {"steps": 9}})
    )
    return tmp_path


def words(**options):
    return [
        word
        for name, value in options.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def compare(results, config="my.yaml"):
    given = words(
        config=results / config,
        results=results / "own",
        figures=results / "f",
        table=results / "c.html",
    )
    return lambda: script("plot_compare").main(given)


def test_runs_are_compared(results, capsys):
    assert exit_code(compare(results)) == 0
    assert {file.name for file in (results / "f").iterdir()} == {
        "compare_pretraining.svg",
        "compare_tuning.svg",
    }
    assert "2 runs" in capsys.readouterr().err


def test_a_folder_without_a_run_writes_nothing(results, capsys):
    (results / "none.yaml").write_text("compare: [/nowhere]\n")
    assert exit_code(compare(results, "none.yaml")) == 2
    error = capsys.readouterr().err
    assert "compare: /nowhere: no logs/training_metrics.csv" in error
    assert "Traceback" not in error
    assert not (results / "f").exists()


def summarise(results, **more):
    metrics = results / "own/logs/training_metrics.csv"
    given = {
        "config": results / "my.yaml",
        "metrics": metrics,
        "figures": results / "f",
        "tables": results / "t",
    }
    return lambda: script("summarise").main(words(**given, **more))


def test_a_bare_run_is_summarised(results):
    absent = results / "absent"
    assert (
        exit_code(
            summarise(results, tuned=absent, baseline=absent, evaluation=absent, timings=absent)
        )
        == 0
    )
    assert {file.stem for file in (results / "t").iterdir()} == {"summary", "cost", "configuration"}
    assert [file.stem for file in (results / "f").iterdir()] == ["time"]


@pytest.mark.parametrize(("option", "step"), [("evaluation", "evaluate"), ("baseline", "baseline")])
def test_a_torn_table_is_said_in_a_line(option, step, results, capsys):
    (results / "torn.json").write_text("{")
    assert exit_code(summarise(results, **{option: results / "torn.json"})) == 2
    message = capsys.readouterr().err.replace("\n", "")
    assert "torn.json: not JSON: " in message
    assert f"delete it and run {step} again" in message
