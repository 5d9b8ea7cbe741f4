"""The profiles: each key is one that Snakemake or the executor's plugin takes, and a run is planned
with them.

    python -m pytest -m long tests/test_profiles.py     the dry runs: a quarter of a minute
"""

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_argument_parser

ROOT = Path(__file__).resolve().parents[1]
PROFILES = {
    f.parent.name: f for f in [*ROOT.glob("profiles/*/config.yaml"), *ROOT.glob("slurm/*.yaml")]
}
CONFIG = "preset: smoke\nsources: [{builtin: synthetic, limit: 50}]\n"


def keys_of(name):
    return yaml.safe_load(PROFILES[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PROFILES)
def test_every_key_is_one_that_snakemake_or_the_plugin_takes(name):
    taken = {
        word.removeprefix("--")
        for action in get_argument_parser()._actions
        for word in action.option_strings
    }
    keys = keys_of(name)
    own = {key for key in keys if key.startswith(f"{keys.get('executor')}-")}
    assert set(keys) - own <= taken
    assert keys.keys() & {"retries", "rerun-incomplete"}, "training goes on by itself"


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in PROFILES if name != "default"])
def test_a_run_is_planned_with_it(name, tmp_path):
    """With the executor's plugin where that is installed, else with all keys but the plugin's."""
    keys = keys_of(name)
    executor = keys["executor"]
    plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if importlib.util.find_spec(plugin) is None:
        keys = {
            k: v for k, v in keys.items() if k != "executor" and not k.startswith(f"{executor}-")
        }
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(yaml.safe_dump(keys))
    (tmp_path / "my.yaml").write_text(CONFIG)
    command = f"snakemake -n -s {ROOT}/Snakefile --profile profile --configfile my.yaml"
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "SLURM_CONF": "/dev/null",
    }
    ran = subprocess.run(
        shlex.split(command), cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**environment, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "rule train:" in ran.stdout + ran.stderr


def test_slurm_is_asked_to_warn_ahead_of_the_time_limit_by_the_signal_that_training_knows():
    from snakelm.workflow.signals import TIME_LIMIT

    extra = keys_of("slurm")["default-resources"]["slurm_extra"]
    assert f"--signal={TIME_LIMIT.name.removeprefix('SIG')}@" in extra
    assert "--open-mode=append" in extra
