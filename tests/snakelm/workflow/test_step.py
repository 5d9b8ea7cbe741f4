"""A step's declaration is all there is: flags, the view of the configuration, manifest, rerun key
and shell line follow from it.
"""

import json
import os
from pathlib import Path

import pytest

from snakelm.config import UndeclaredKeyError, from_mapping
from snakelm.errors import UserError
from snakelm.workflow.code_digest import ROOT
from snakelm.workflow.manifest import read_manifest
from snakelm.workflow.settings import settings_file, shown_file
from snakelm.workflow.step import File, Folder, Step, Value, load_steps

SCRIPT = str(ROOT / "scripts/preparation/deduplicate.py")  # any script: its imports are digested


def make(**declared):
    given = {
        "config": ("train.device", "sources[source].path", "seed"),
        "values": {"source": Value("which")},
        "reads": {
            "documents": File("documents"),
            "tokenizer": Folder("its folder", files=("meta.json", "ranks.tiktoken")),
            "scores": File("scores, where there are any", optional=True),
        },
        "writes": {"output": File("the artefact"), "examples": File("a few")},
        "threads": "threads",
    }
    return Step(SCRIPT, "What the step does.", **{**given, **declared})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What a step reads, and a configuration, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tok").mkdir()
    for name in ("d.parquet", "tok/meta.json", "tok/ranks.tiktoken", "s.parquet"):
        (tmp_path / name).write_text(name)
    (tmp_path / "c.yaml").write_text(
        "sources: [{name: a, path: x}, {name: b, path: y}]\ntrain: {device: cpu, lr: 0.01}\n"
    )
    return tmp_path


def arguments(*more):
    return [
        "--config", "c.yaml", "--source", "b", "--documents", "d.parquet", "--tokenizer", "tok",
        "--output", "o.bin", "--examples", "e.json", *more,
    ]  # fmt: skip


def run_step(step, work, *more):
    return step(work)(arguments(*more))


def write_outputs(run):
    run.files.output.write_text("made")
    run.files.examples.write_text("some")


def test_the_step_sees_its_own_keys_and_no_others(folder):
    seen = {}

    def work(run):
        write_outputs(run)
        seen["device"] = run.config.train.device
        seen["sources"] = [source.path for source in run.config.sources]
        for read in (
            lambda: run.config.train.lr,
            lambda: run.config.model,
            lambda: run.config.sources[0].text,
        ):
            with pytest.raises(UndeclaredKeyError, match="does not declare"):
                read()

    assert run_step(make(), work) == 0
    assert seen == {"device": "cpu", "sources": ["y"]}


def test_a_key_that_no_schema_has_cannot_be_declared(folder):
    with pytest.raises(KeyError, match=r"train\.devise"):
        make(config=("train.devise",)).parse(arguments())


def test_the_manifest_names_inputs_files_counts_and_what_was_seen(folder):
    def work(run):
        write_outputs(run)
        return {"seed": "a count of this name", "inputs": 3}

    run_step(make(), work, "--scores", "s.parquet")
    record = read_manifest(folder / "o.bin")
    assert [one["path"] for one in record["inputs"]] == ["d.parquet", "tok/meta.json", "s.parquet"]
    assert [one["path"] for one in record["files"]] == ["e.json"]
    assert record["counts"] == {"seed": "a count of this name", "inputs": 3}
    assert record["seed"] == 1337, "no count can take the place of what every manifest has"
    assert record["config"]["train"] == {"device": "cpu"}
    assert record["config"]["sources"] == [{"path": "y"}]


def test_a_step_without_chance_has_no_seed(folder):
    run_step(make(config=("train.device",)), write_outputs)
    assert read_manifest(folder / "o.bin")["seed"] is None


def test_a_step_without_manifest_writes_none(folder):
    run_step(make(manifest=False), write_outputs)
    assert not list(folder.glob("*.manifest.json"))


def test_a_step_that_fails_vouches_for_nothing(folder):
    def work(run):
        write_outputs(run)
        raise UserError("documents: none")

    with pytest.raises(UserError):
        run_step(make(), work)
    assert not list(folder.glob("*.manifest.json"))


@pytest.mark.parametrize(
    "given",
    [["tok"], ["tok/meta.json"], ["tok/ranks.tiktoken", "tok/meta.json"]],
    ids=["folder", "a file in it", "its files"],
)
def test_a_folder_is_named_by_itself_or_by_its_files(folder, given):
    at = arguments().index("--tokenizer")
    argv = arguments()
    argv[at + 1 : at + 2] = given
    assert make().parse(argv).files.tokenizer.name == "tok"


def test_files_of_two_folders_are_no_folder(folder, capsys):
    argv = arguments()
    argv[argv.index("tok")] = "tok/meta.json"
    argv.insert(argv.index("tok/meta.json"), "other/meta.json")
    with pytest.raises(SystemExit) as stopped:
        make().parse(argv)
    assert stopped.value.code == 2
    assert "expected one folder, found 2" in capsys.readouterr().err


def test_an_optional_flag_may_stand_without_a_value_as_a_rule_passes_it(folder):
    assert make().parse(arguments("--scores")).files.scores is None


def test_the_shell_line_names_every_flag_once_and_quotes_every_value():
    line = make().shell_command()
    assert line == (
        'python "$SNAKELM"/scripts/preparation/deduplicate.py --config {input.config:q}'
        " --source {wildcards.source:q} --documents {input.documents:q}"
        " --tokenizer {input.tokenizer:q} --scores {input.scores:q} --output {output.output:q}"
        " --examples {output.examples:q} --threads {threads} --log {log:q}"
    )


def test_files_with_a_place_in_the_results_need_one_flag(folder):
    step = make(
        reads={"bin": File("tokens", at="data/train.bin")},
        writes={"output": File("model", at="m.pt")},
    )
    assert "--results {params.results:q}" in step.shell_command()
    run = step.parse(["--config", "c.yaml", "--source", "a", "--results", "r", "--bin", "b.bin"])
    assert (str(run.files.bin), str(run.files.output)) == ("b.bin", "r/m.pt")


CHANGES = {
    "a declared key": ({"train": {"device": "cpu"}}, True),
    "the chosen item": ({"sources": [{"name": "a", "path": "z"}]}, True),
    "another key of the section": ({"train": {"lr": 0.01}}, False),
    "another key of the item": ({"sources": [{"name": "a", "path": "x", "weight": 2.0}]}, False),
    "another item": (
        {"sources": [{"name": "a", "path": "x"}, {"name": "c", "path": "w"}]},
        False,
    ),
    "another section": ({"model": {"layers": 3}}, False),
    "the folder of results": ({"results": "elsewhere"}, False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_settings_file_changes_exactly_with_what_the_step_may_see(tmp_path, change):
    values, changes = CHANGES[change]
    before = from_mapping({"sources": [{"name": "a", "path": "x"}]})
    after = from_mapping({"sources": [{"name": "a", "path": "x"}], **values})
    names = [settings_file(tmp_path, config, make(), {"source": "a"}) for config in (before, after)]
    assert (names[0] != names[1]) == changes


def test_a_step_reads_from_its_settings_file_what_it_would_read_from_the_whole(folder):
    config = from_mapping({"train": {"device": "cpu"}, "sources": [{"name": "b", "path": "y"}]})
    path = settings_file(folder, config, make(), {"source": "b"})
    argv = arguments()
    argv[1] = path
    run = make(config=("train.device", "seed")).parse(argv)
    assert (run.config.train.device, run.config.seed) == ("cpu", 1337)


@pytest.mark.parametrize("shows", [(), ("sources",)], ids=["not shown", "shown"])
def test_a_cosmetic_key_counts_where_the_step_shows_it(tmp_path, shows):
    step = make(config=("sources",), shows=shows)
    names = {
        settings_file(
            tmp_path, from_mapping({"sources": [{"path": "x", "licence": licence}]}), step
        )
        for licence in ("CC0-1.0", "MIT")
    }
    assert len(names) == (2 if shows else 1)


def test_cosmetic_keys_reach_the_step_by_the_file_beside(tmp_path):
    step = make(config=("train",))
    config = from_mapping({"train": {"log_every": 3, "lr": 0.01}})
    shown = Path(shown_file(tmp_path, config, step)).read_text()
    assert "log_every: 3" in shown
    assert "lr" not in shown


def test_every_script_of_the_workflow_declares_a_step_of_its_own_name():
    for name, step in load_steps().items():
        assert step.script == (ROOT / "scripts" / step.stage / f"{name}.py").resolve()
        assert step.writes, f"{name} writes nothing"


def test_counts_are_plain_json(folder):
    def work(run):
        write_outputs(run)
        return {"nested": {"1": [1, 2.5, None]}}

    run_step(make(), work)
    assert json.loads((folder / "o.bin.manifest.json").read_text())["counts"] == {
        "nested": {"1": [1, 2.5, None]}
    }


def test_a_stray_rank_is_taken_from_the_environment_and_noted_in_the_log(folder, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    seen = []

    def work(run):
        write_outputs(run)
        seen.append(os.environ.get("LOCAL_RANK"))

    run_step(make(), work, "--log", "step.log")
    assert seen == [None]
    assert "warning: LOCAL_RANK=0 in the environment" in (folder / "step.log").read_text()


def test_files_of_the_users_are_passed_by_no_rule_and_vouched_for_by_nobody(folder):
    step = make(reads={"sets": File("sets", many=True, optional=True, users=True)})
    assert "--sets" not in step.shell_command()
    words = "--config c.yaml --source b --sets a.txt --output o --examples e"
    given = step.parse(words.split())
    assert given.files.sets == [Path("a.txt")]
    assert given.inputs() == []
