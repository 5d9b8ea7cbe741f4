# What the rules share: the checked configuration, the steps, names of files, the files that stand for settings. No
# rules here. A rule's inputs, outputs and params carry the names of its step's flags (scripts/<stage>/<rule>.py), so
# its shell line is `command(<rule>)`.
import contextlib
import difflib
import functools
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from snakemake.cli import get_argument_parser
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

try:
    import snakelm
except ModuleNotFoundError:
    print(
        "error: snakelm: the library isn't beside the Snakefile, where a module of github(…) has nothing but the rules; "
        'clone the project, run `make build` there, and write snakefile: "path/to/it/Snakefile"',
        file=sys.stderr,
    )
    sys.exit(2)

from snakelm import user_paths
from snakelm.config import from_mapping
from snakelm.config.base import pretraining_files, tokenizer_file
from snakelm.config.dial import size_line
from snakelm.config.yaml_files import read_yaml
from snakelm.data.reading import readers
from snakelm.errors import EXIT_USER, UserError
from snakelm.evaluation.plan_record import planned_for
from snakelm.files import json_text, write_text
from snakelm.filter.labels import label_files
from snakelm.machine_errors import killed
from snakelm.publishing import public_url
from snakelm.terminal import harmless_lines
from snakelm.workflow import hints
from snakelm.workflow.artefacts import (
    FILTER,
    PACKS,
    PREFERENCE_PACKS,
    TOKEN_FILES,
    TOKENIZER,
)
from snakelm.workflow.code_digest import ROOT, code_digest, remembered
from snakelm.workflow.lock import locked
from snakelm.workflow.manifest import read_manifest
from snakelm.workflow.remote import fetch
from snakelm.workflow.settings import (
    changed_since,
    public_copy,
    settings_file,
    shown_file,
)
from snakelm.workflow.source_ablation import ablation_points
from snakelm.workflow.step import load_steps
from snakelm.workflow.sweep import sweep_points
from snakelm.workflow.user_files import stamp_file
from snakelm.workflow.what_next import what_next

# Steps are run as `python "$SNAKELM"/scripts/…`: by this interpreter, or by the rule's conda env, from any folder.
os.environ.update(
    SNAKELM=str(ROOT),
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
)


def stop(error):
    """Ends Snakemake with a user's mistake in one line; a WorkflowError would show lines of this file instead."""
    print(harmless_lines(f"error: {error}"), file=sys.stderr)
    sys.exit(EXIT_USER)


def or_stop(function, *arguments):
    """What `function` gives; a user's mistake ends the run here, before any job."""
    try:
        return function(*arguments)
    except UserError as error:
        stop(error)


for file in workflow.configfiles:
    or_stop(
        read_yaml, Path(file)
    )  # Snakemake itself takes the last of two equal keys silently

if workflow.is_main_process:
    os.environ[hints.RUN] = shlex.join(hints.options_of(sys.argv[1:]))

CONFIG = or_stop(from_mapping, config)
if CONFIG.size and workflow.is_main_process:
    logger.info(size_line(config, CONFIG))
STEPS = or_stop(load_steps)
RESULTS = Path(CONFIG.results).as_posix()

# Whether this is a module of another workflow, which may have other names for our rules and a prefix for our files, and
# rules of its own before ours. Known while the rules are read, not afterwards.
MAIN = workflow.modifier.is_main_snakefile()
PREFIXED = workflow.modifier.path_modifier.replace_prefix
FIRST = workflow.default_target is None

SOURCES = {source.name: source for source in CONFIG.sources}
COLLECTED = [name for name, source in SOURCES.items() if not source.path]
TUNED = CONFIG.export == "sft"  # whether the run goes on to instruction tuning
PREFERRED = bool(CONFIG.preferences.sources)  # and from there to preferences
# What a run with tuning ends with.
LAST = "preference_model.pt" if PREFERRED else "sft_model.pt"
REPORTING = any(word.split("=")[0] == "--report" for word in sys.argv)

# What stands between duplicates and tokens, in order; each only where the configuration says so.
CHECKS = {
    "not_forgotten": CONFIG.forget.of_documents,
    "personal_data": CONFIG.personal_data.action != "off",
    "languages": CONFIG.languages.keep is not None,
    "quality": any(CONFIG.quality.model_dump().values()),
    "filtered": CONFIG.filter != "none",
    "decontaminated": bool(CONFIG.decontaminate.files),
}

# Rules that this run has no use for; the others make its lists of timings and manifests.
UNUSED = {
    name
    for wanted, names in [
        (COLLECTED, ["collect"]),
        (CHECKS["not_forgotten"], ["forget"]),
        (CHECKS["personal_data"], ["personal_data"]),
        (CHECKS["languages"], ["languages"]),
        (CHECKS["quality"], ["quality"]),
        (CHECKS["filtered"], ["setfit_train", "filter_dataset"]),
        (CHECKS["decontaminated"], ["decontaminate"]),
        (TUNED, ["prepare_sft_data", "train_sft"]),
        (PREFERRED, ["prepare_preferences", "train_preferences"]),
        (CONFIG.plan.hours, ["plan"]),
        # The trainings of a sweep or a source ablation are runs of their own; the last two are targets.
        (False, ["train_point", "mix_sources", "judge_sources"]),
        (False, ["memorisation", "training_summary"]),
    ]
    if not wanted
    for name in names
}

# The trainings of the sweep and of the source ablation, by their folders' names.
SWEPT = {point.name: point for point in or_stop(sweep_points, config, CONFIG, STEPS)}
PROXIES = {
    point.name: point for point in or_stop(ablation_points, config, CONFIG, STEPS)
}
POINTS = {**SWEPT, **PROXIES}

# The report's chapters, in the order of the story; Snakemake sorts them by name.
CHAPTERS = {
    "verdict": "1. Verdict",
    "data": "2. Data",
    "tokenizer": "3. Tokenizer",
    "pretraining": "4. Pretraining",
    "tuning": "5. Instruction tuning",
    "preferences": "5b. Preferences",
    "evaluation": "6. Evaluation",
    "samples": "7. Samples",
    "embeddings": "8. Embeddings",
    "provenance": "9. Cost and provenance",
}


wildcard_constraints:
    source="|".join(map(re.escape, SOURCES)),
    shard=r"\d+",
    shards=r"\d+",
    point="|".join(map(re.escape, POINTS)) or "-",
    study="|".join({point.study for point in POINTS.values()}) or "-",


# Names of files


def results(name):
    """A file or folder of the run, as its rule calls it."""
    return name if RESULTS == "." else f"{RESULTS}/{name}"


def on_disk(path):
    """Where a rule's file is: Snakemake puts a module's prefix in front of inputs and outputs, but not of params."""
    return PREFIXED(path)


def at(name):
    """A file or folder of the run, as a step or this file finds it."""
    return on_disk(results(name))


PLACE = str(Path(at("config")).parent)  # of the results folder

# The report holds these files.
workflow.configfiles[:] = [public_copy(PLACE, file) for file in workflow.configfiles]


def in_rule(path):
    """A file that was written to the run's folder, as its rule calls it."""
    return results(Path(path).relative_to(PLACE).as_posix())


def files_of(folder, artefact):
    """The files of an artefact that is a folder (snakelm/workflow/artefacts.py)."""
    return [results(f"{folder}/{name}") for name in artefact.files]


def log(name):
    """The log file of a step; a step writes it by itself and leaves stderr to the terminal."""
    return results(f"logs/steps/{name}.log")


def timing(name):
    """The file for Snakemake's own record of time and memory."""
    return results(f"benchmarks/{name}.tsv")


def growing(mem_mb):
    """Memory for a step: as much more with each attempt, for the last one may have been killed for want of it."""
    return lambda wildcards, attempt: mem_mb * attempt


def documents(before=None):
    """The documents that the check `before` reads, or after all checks the tokenizer and the token files."""
    done = ["deduplicated"]
    for name, wanted in CHECKS.items():
        if name == before:
            break
        done += [name] if wanted else []
    return results(f"data/{done[-1]}/documents.parquet")


def by_stem(files):
    """Files as outputs by name, as the shell line of a step that writes several folders refers to them."""
    return {Path(file).stem: file for file in files}


# What follows from a step's declaration


def settings(name):
    """The file with what of the configuration, and of the code, changes this step's result (snakelm/workflow/settings.py).

    It is named by its content, so a step runs again when, and only when, its own settings differ from those it ran with.
    """
    step = STEPS[name]
    if name == "train_point":
        of_points = {
            point.name: in_rule(
                settings_file(point_place(point.name), point.config, step)
            )
            for point in POINTS.values()
        }
        return lambda wildcards: of_points[wildcards.point]
    if not step.depends_on_values:
        return in_rule(settings_file(PLACE, CONFIG, step))

    # Written now: Snakemake passes over files that come into a folder while it plans.
    of_sources = {
        source: in_rule(settings_file(PLACE, CONFIG, step, {"source": source}))
        for source in sources_of(name)
    }
    return lambda wildcards: of_sources[wildcards.source]


def point_place(point):
    """The results folder of one training of a study, as a step finds it."""
    return f"{PLACE}/{POINTS[point].study}/{point}"


def sources_of(name):
    """The sources that a step is run for one by one."""
    return COLLECTED if name == "collect" else list(SOURCES)


def shown(name):
    """The file with the keys that change only what the step shows or keeps; no reason to run it again."""
    return lambda wildcards: shown_file(PLACE, CONFIG, STEPS[name])


def command(name):
    """The shell line of the rule `name`."""
    return STEPS[name].shell_command()


def in_this_run(stages):
    """The rules of some stages (folders of scripts/) that this run has a use for, each with its step."""
    named = {
        getattr(rules, name).rule.name: step
        for name, step in STEPS.items()
        if rules.has(name) and name not in UNUSED
    }
    for declared in workflow.rules:
        step = named.get(declared.name)
        if step and step.stage in stages:
            yield declared, step


def each(pattern):
    """A file's name for every source or shard that it stands for; for `collect` those that are collected."""
    collects = "raw/" in pattern or "collect." in pattern
    sources = sources_of("collect" if collects else "sample_data")
    pattern = re.sub(r"\{(\w+),[^{}]*\}", r"{\1}", pattern)  # without constraints
    return expand(pattern, source=sources, shard=range(SHARDS), shards=SHARDS)


def artefacts(*stages):
    """What of this run has a manifest beside it: counts for the funnel, hashes and versions for the provenance."""

    def named(wildcards):
        return [
            path
            for declared, step in in_this_run(stages)
            if step.manifest and step.name != "prepare_shard"
            for artefact in step.artefacts(declared.output)
            for path in each(artefact)
        ]

    return named


def timings(wildcards):
    """Snakemake's records of every step that makes or measures something."""
    steps = in_this_run(["preparation", "training", "analysis"])
    return [
        path
        for declared, step in steps
        if step.manifest and declared.benchmark  # none of what is shared (sharing.smk)
        for path in each(str(declared.benchmark))
    ]


# How a run ends


def explain_kill(record):
    """A filter of Snakemake's log: SIGKILL leaves a step no time for words of its own."""
    text = record.getMessage()
    if "Signals.SIGKILL" in text or "exit status 137" in text:
        record.msg, record.args = f"{text}\n{killed('the step')}", ()
    return True


logger.addFilter(explain_kill)


def end_with_jobs():
    """From here on SIGTERM to Snakemake alone ends the run as Ctrl-C does; its own answer is to wait, for days if need be.

    The steps on this host are told first, so that they save; jobs of a cluster are cancelled by its executor.
    """

    def ended(number, frame):
        signal.signal(number, signal.SIG_IGN)
        for process in psutil.Process().children(recursive=True):
            try:
                if any(
                    word.startswith(f"{ROOT}/scripts/") for word in process.cmdline()
                ):
                    process.send_signal(number)
            except psutil.Error:
                pass  # it has ended meanwhile
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ended)


# The report


# The parts of a report that is being made; targets of their own are among them.
THERE = []


def reported(name, chapter, what):
    """A file of the run as a part of the report, captioned by report/<its name>.rst.

    A file that wasn't made (yet) is left out of the report, so a report of half a run stands.
    """
    path = results(name)
    if REPORTING and not Path(on_disk(path)).exists():
        return path
    if REPORTING:
        THERE.append(path)
    caption = workflow.source_path(f"../report/{Path(name).stem}.rst")
    return report(
        path, caption=caption, category=CHAPTERS[chapter], labels={"what": what}
    )


def same_again(config):
    """The command that makes this run anew: all of its settings are in the file `config`."""
    here = Path("Snakefile").resolve() == ROOT / "Snakefile"
    elsewhere = [] if here else ["-s", os.path.relpath(ROOT / "Snakefile")]
    elsewhere += ["--configfile", config]
    elsewhere += [] if PLACE == "results" else ["--config", f"results={PLACE}"]
    return shlex.join(["snakemake", "--cores", "8", *elsewhere])
