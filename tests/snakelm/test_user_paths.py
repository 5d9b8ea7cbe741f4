"""The user's files are found whatever they are called, and what runs have made is none of them."""

import os
import re
from pathlib import Path

import pytest

from snakelm.errors import UserError
from snakelm.user_paths import MADE, RESULTS_MARK, expand

ROOT = Path(__file__).resolve().parents[2]
ODD = [
    "notes{1}.txt", "{source}.txt", "-notes.txt", "<results>.txt", "a [x].txt", "$(touch x).txt",
    "it's, \"b\".txt", "ключ 鍵.txt", "a*b.txt", "~.txt",
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder that is the working directory; gives a function that makes files in it."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text("text")

    return make


def found(pattern, **more) -> list[str]:
    return [path.as_posix() for path in expand(pattern, **more)]


def run_in(here, folder: str) -> None:
    """What a run leaves in its results folder."""
    here(
        f"{folder}/{RESULTS_MARK}",
        f"{folder}/data/sampled/s.txt",
        f"{folder}/config/files.s/0123456789ab.files",
        f"{folder}/config/train-0123456789ab.yaml",
        f"{folder}/tables/x.txt",
        f"{folder}/final_model.pt.manifest.json",
    )


@pytest.mark.parametrize("name", ODD)
def test_a_file_is_found_by_a_glob_and_by_its_own_name(here, name):
    here(name, f"my/{name}")
    assert found("*.txt") == [name]
    assert found(name) == [name]
    assert found(f"my/{name}") == [f"my/{name}"]


def test_a_folder_with_brackets_is_meant_as_it_is_written(here):
    here("set [1]/a.txt", "set 1/b.txt", "set [1]/[2]/c.txt")
    assert found("set [1]/*.txt") == ["set [1]/a.txt"]
    assert found("set [1]/**/*.txt") == ["set [1]/[2]/c.txt", "set [1]/a.txt"]
    assert found("set [[]1]/*.txt") == ["set [1]/a.txt"]


def test_the_home_folder_has_its_short_name(here, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here("home/a.txt")
    assert found("~/*.txt") == [str(tmp_path / "home/a.txt")]


@pytest.mark.parametrize("name", ["a\nb.txt", "a\x1b[2Jb.txt", "a\rb.txt", "a\x9bb.txt"])
def test_control_characters_in_a_name_are_refused_and_not_printed(here, name):
    here(name)
    with pytest.raises(UserError) as error:
        found("*.txt")
    assert repr(name) in str(error.value)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", str(error.value))


def test_a_name_that_is_not_utf8_is_refused(here):
    with open(os.fsdecode(b"caf\xe9.txt"), "w"):
        pass
    with pytest.raises(UserError, match=r"caf\\udce9.txt.*not UTF-8; rename it"):
        found("*.txt")


def test_a_glob_leaves_out_what_runs_have_made_and_says_so(here):
    run_in(here, "results")
    run_in(here, "elsewhere/b")
    here("a.txt", "data/b.txt", "results/notes/c.txt", "elsewhere/d.txt")
    said: list[str] = []
    assert found("**/*.*", say=said.append) == [
        "a.txt", "data/b.txt", "elsewhere/d.txt", "results/notes/c.txt",
    ]  # fmt: skip
    assert said == ["sources[].path: **/*.*: 12 files of elsewhere/b and results left out"]


def test_this_runs_own_folder_needs_no_mark(here):
    here("a.txt", "b/tables/c.txt", "b/d.txt")
    assert found("**/*.txt", results="b") == ["a.txt", "b/d.txt"]


def test_a_link_to_a_results_folder_is_one(here):
    run_in(here, "away/run")
    here("my/a.txt")
    Path("my/link").symlink_to(Path("away/run").resolve())
    assert found("my/**/*.txt") == ["my/a.txt"]


def test_the_users_files_may_lie_in_the_results_folder(here):
    run_in(here, ".")
    here("data/a.txt", "b.txt", "config/labels/c.txt")
    assert found("**/*.txt", results=".") == ["b.txt", "config/labels/c.txt", "data/a.txt"]


def test_a_glob_leaves_out_environments_and_what_snakemake_keeps(here):
    here("a.txt", ".snakemake/b.txt", "env/pyvenv.cfg", "env/c.txt", "conda/conda-meta/history")
    here("conda/d.txt", "my/.snakemake/e.txt")
    assert found("**/*.txt") == ["a.txt"]
    with pytest.raises(UserError, match=r"nothing but 1 file of \.snakemake, seen from"):
        found(".*/*.txt")
    assert found("env/*.txt") == ["env/c.txt"], "named by the user"


def test_another_runs_documents_are_taken_where_their_folder_is_named(here):
    run_in(here, "other")
    assert found("other/data/sampled/*.txt", results="results") == ["other/data/sampled/s.txt"]
    with pytest.raises(UserError, match=r"nothing but 6 files of other, seen from .*; fix sources"):
        found("other/**/*.*", results="results")


@pytest.mark.parametrize(
    "pattern",
    ["results/data/sampled/s.txt", "results/data/sampled/*.txt", "my/*.txt", "my/l/s.txt"],
    ids=["by its name", "by a glob in its folder", "by a link", "by a link to its folder"],
)
def test_a_run_is_not_made_from_what_it_makes(here, pattern):
    run_in(here, "results")
    Path("my").mkdir()
    Path("my/s.txt").symlink_to(Path("results/data/sampled/s.txt").resolve())
    Path("my/l").symlink_to(Path("results/data/sampled").resolve())
    with pytest.raises(UserError, match=r"made by this run, in its results folder .*/results;"):
        found(pattern, results="results")


FOLDERS = {"log": "logs/steps/", "timing": "benchmarks/"}


def test_all_that_rules_make_is_known_as_made():
    text = "".join(file.read_text() for file in sorted((ROOT / "rules").glob("*.smk")))
    found = re.findall(r'(results|reported|files_of|log|timing)\(\s*f?"([^"]+)"', text)
    names = [FOLDERS.get(call, "") + name for call, name in found]
    assert len(names) > 60
    inside = {name for name in names if "/" in name and not re.match(r"(data/)?\{", name)}
    assert [name for name in sorted(inside) if not MADE.match(f"{name}/x")] == []
    beside = {name for name in names if re.fullmatch(r"\w+\.\w+", name)}
    assert {"final_model.pt", "preference_model.pt", "plan.json"} <= beside
    assert [name for name in sorted(beside) if not MADE.match(name)] == []
