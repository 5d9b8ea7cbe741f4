# What the rules share: the checked configuration, names of files, the files that stand for settings. No rules here.
import os
import sys
from glob import has_magic
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from snakelm.code_digest import code_digest
from snakelm.config import as_mapping, from_mapping
from snakelm.data.readers import expand
from snakelm.errors import UserError
from snakelm.manifest import manifest_path
from snakelm.settings import changed_since, settings_file

# Steps are run as `python "$SNAKELM"/scripts/…`: by this interpreter, or by the rule's conda env, from any folder.
os.environ["SNAKELM"] = str(workflow.basedir)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def checked(values):
    """The configuration as snakelm reads it, or the workflow's error that names the key."""
    try:
        return from_mapping(values)
    except UserError as error:
        raise WorkflowError(str(error)) from None


CONFIG = checked(config)
RESULTS = CONFIG.results.rstrip("/") + "/"
SOURCES = {source.name: source for source in CONFIG.sources}
SHARDS = CONFIG.prepare.shards


wildcard_constraints:
    source="[A-Za-z0-9][A-Za-z0-9_.-]*",
    shard=r"\d+",
    shards=r"\d+",


def settings(step, *sections):
    """The file that holds what of the configuration (and, but for training, of the code) changes this step's result.

    It is named by its content, so a step runs again when, and only when, its own settings differ from those it ran with.
    """
    return settings_file(RESULTS, CONFIG, step, sections)


def source_files(wildcards):
    """The files a source is sampled from: the collected parquet, or a person's own files."""
    source = SOURCES[wildcards.source]
    if not source.path:
        return f"{RESULTS}data/raw/{wildcards.source}.parquet"
    try:
        return [str(path) for path in expand(source.path)]
    except UserError as error:
        raise WorkflowError(str(error)) from None


def log(name):
    """The log file of a step; a step writes it by itself and leaves stderr to the terminal."""
    return f"{RESULTS}logs/steps/{name}.log"


def timing(name):
    """The file for Snakemake's own record of time and memory."""
    return f"{RESULTS}benchmarks/{name}.tsv"


if workflow.is_main_process:
    for message in changed_since(RESULTS + "final_model.pt", "scripts/training/train.py"):
        logger.warning(message)
