"""Commands that are said to be next are those of the run they follow."""

from pathlib import Path

import pytest

from snakelm.workflow.hints import RUN, chat, options_of, snakemake


@pytest.mark.parametrize(
    ("called", "kept"),
    [
        ("--cores 8 results/final_model.pt", ""),
        ("x --configfile a.yaml b.yaml", "--configfile a.yaml b.yaml"),
        ("--configfile=a.yaml x -n", "--configfile=a.yaml"),
        ("-s ../Snakefile x -c 2", "-s ../Snakefile"),
        ("-d there -C seed=1 preset=smoke -q host -- x", "-d there -C seed=1 preset=smoke"),
        ("--profile slurm --config a=1 -- x", "--profile slurm --config a=1"),
        ("--use-conda x --sdm conda", "--use-conda --sdm conda"),
        ("--workflow-profile p --directory d", "--workflow-profile p --directory d"),
    ],
)
def test_what_says_which_run_is_meant_is_kept(called, kept):
    assert options_of(called.split()) == kept.split()


def test_commands_name_their_run(monkeypatch):
    monkeypatch.delenv(RUN, raising=False)
    assert snakemake() == "snakemake --cores 8"
    assert snakemake("--report") == "snakemake --report"
    monkeypatch.setenv(RUN, "--configfile 'my run.yaml'")
    assert snakemake("a b") == "snakemake --cores 8 'a b' --configfile 'my run.yaml'"
    assert snakemake("--report") == "snakemake --report --configfile 'my run.yaml'"
    monkeypatch.setenv(RUN, "--profile slurm")
    assert snakemake() == "snakemake --profile slurm"


def test_the_chat_is_with_the_model_of_the_run(monkeypatch, tmp_path):
    assert chat(Path("results")) == "python scripts/analysis/chat.py"
    assert chat(Path("my runs/a")) == "python scripts/analysis/chat.py --results 'my runs/a'"
    monkeypatch.chdir(tmp_path)
    assert Path(chat(Path("results")).split()[1]).is_file()
