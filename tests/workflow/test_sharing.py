"""`--cache`: results folders that share what preparation makes."""

from snakelm.provenance.chain import read_chain

CONFIG = """\
preset: smoke
results: {results}
sources: [{{builtin: synthetic, limit: 60}}]
tokenizer: {{vocab_size: 300}}
train: {{lr: {lr}}}
"""
BEFORE = {"collect", "sample_data", "deduplicate", "train_tokenizer"}
STEPS = BEFORE | {"prepare_shard", "prepare_data"}
JOBS = len(STEPS) + 1  # of two shards


def make(checkout, results, shared):
    """Token files in ``results``."""
    config = f"{results.name}.yaml"
    checkout.write(config, CONFIG.format(results=results, lr=0.01 + len(results.name) / 1000))
    environment = ["env", f"SNAKEMAKE_OUTPUT_CACHE={shared}"]
    command = ["snakemake", "--cores", "2", "--nocolor", "--configfile", config, "--cache"]
    return checkout.run(*environment, *command, "--", str(results / "data/processed/train.bin"))


def test_a_second_results_folder_takes_what_the_first_made(checkout, tmp_path):
    first, second, shared = tmp_path / "a", tmp_path / "bb", tmp_path / "shared"
    done = make(checkout, first, shared)
    assert done.code == 0, done.said
    # An entry for each job, both shards', and every manifest among them.
    assert len({path.name.partition("_")[0] for path in shared.iterdir()}) == JOBS
    manifests = [path for path in first.rglob("*.manifest.json") if path.parent.name != "tables"]
    assert len(manifests) == JOBS
    assert all(path.is_symlink() for path in manifests)

    dead = second / "tokenizer/meta.json"
    dead.parent.mkdir(parents=True)
    dead.symlink_to(shared / "cleared")
    done = make(checkout, second, shared)
    assert done.code == 0, done.said
    assert f"{dead}: {shared}/cleared, which it is a link to, is gone" in done.said
    assert not [step for step in STEPS if f"[{step}]" in done.said]
    made = [folder / "data/processed/train.bin" for folder in (first, second)]
    assert made[0].resolve() == made[1].resolve()
    # So that another checkout knows whose they are (snakelm/workflow/last_settings.py).
    noted = {path.name.partition(".")[0] for path in (second / "config/made").iterdir()}
    assert noted >= STEPS

    chain = read_chain(made[1])
    chain.verify()
    assert (chain.problems, chain.notes) == ([], [])
    assert all(path.is_relative_to(second) for path in chain.states)
