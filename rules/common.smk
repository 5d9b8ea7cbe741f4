# What the rules share: the checked configuration, the steps, names of files, the files that stand for settings. No
# rules here. A rule's inputs, outputs and params carry the names of its step's flags (scripts/<stage>/<rule>.py), so
# its shell line is `command(<rule>)`.
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from snakelm.config import from_mapping
from snakelm.config.yaml_files import read_yaml
from snakelm.data.reading import readers
from snakelm.errors import EXIT_USER, UserError
from snakelm.files import write_text
from snakelm.filter.labels import label_files
from snakelm.workflow.artefacts import FILTER, PACKS, TOKEN_FILES, TOKENIZER
from snakelm.workflow.code_digest import code_digest, remembered
from snakelm.workflow.manifest import read_manifest
from snakelm.workflow.settings import changed_since, settings_file, shown_file
from snakelm.workflow.step import load_steps
from snakelm.workflow.user_files import stamp_file

# Steps are run as `python "$SNAKELM"/scripts/…`: by this interpreter, or by the rule's conda env, from any folder.
os.environ.update(
    SNAKELM=str(workflow.basedir),
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
)


def stop(error):
    """Ends Snakemake with a user's mistake in one line; a WorkflowError would show lines of this file instead."""
    print(f"error: {error}", file=sys.stderr)
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

CONFIG = or_stop(from_mapping, config)
STEPS = or_stop(load_steps)
RESULTS = Path(CONFIG.results).as_posix()

SOURCES = {source.name: source for source in CONFIG.sources}
COLLECTED = [name for name, source in SOURCES.items() if not source.path]
LABELS = label_files(CONFIG.classifier.labels)
TUNED = CONFIG.export == "sft"  # whether the run goes on to instruction tuning
REPORTING = any(word.split("=")[0] == "--report" for word in sys.argv)

# What stands between duplicates and tokens, in order; each only where the configuration says so.
CHECKS = {
    "quality": any(CONFIG.quality.model_dump().values()),
    "filtered": CONFIG.filter != "none",
    "decontaminated": bool(CONFIG.decontaminate.files),
}

# Rules that this run has no use for; the others make its lists of timings and manifests.
UNUSED = {
    name
    for wanted, names in [
        (COLLECTED, ["collect"]),
        (CHECKS["quality"], ["quality"]),
        (CHECKS["filtered"], ["setfit_train", "filter_dataset"]),
        (CHECKS["decontaminated"], ["decontaminate"]),
        (TUNED, ["prepare_sft_data", "train_sft"]),
    ]
    if not wanted
    for name in names
}

# The report's chapters, in the order of the story; Snakemake sorts them by name.
CHAPTERS = {
    "verdict": "1. Verdict",
    "data": "2. Data",
    "tokenizer": "3. Tokenizer",
    "pretraining": "4. Pretraining",
    "tuning": "5. Instruction tuning",
    "evaluation": "6. Evaluation",
    "samples": "7. Samples",
    "embeddings": "8. Embeddings",
    "provenance": "9. Cost and provenance",
}


wildcard_constraints:
    source="[A-Za-z0-9][A-Za-z0-9_.-]*",
    shard=r"\d+",
    shards=r"\d+",


# The user's own files, and other runs that this one is compared with: what is missing ends the run here, before
# anything is written.


def local_files(source):
    """A source's own files, globs expanded; none for one that is collected first."""
    return (
        [str(path) for path in or_stop(readers.expand, source.path)]
        if source.path
        else []
    )


def evaluation_files():
    """The evaluation sets that no training document may hold text of, globs expanded."""
    files = or_stop(readers.expand, CONFIG.decontaminate.files, "decontaminate.files")
    return [str(path) for path in files]


def compared_files():
    """The metrics of the runs that this one is drawn beside."""
    files = [Path(folder, "logs/training_metrics.csv") for folder in CONFIG.compare]
    for folder, file in zip(CONFIG.compare, files):
        if not file.is_file():
            stop(
                f"compare: {folder}: no logs/training_metrics.csv there; expected the results folder of a run: "
                "name another or take it out"
            )
    return [file.as_posix() for file in files]


OWN_FILES = [file for source in CONFIG.sources for file in local_files(source)]
BROUGHT = [CONFIG.tokenizer.file] if CONFIG.tokenizer.kind == "tiktoken" else []
EVALUATION_SETS = evaluation_files()
COMPARED = compared_files()

with remembered(Path(RESULTS, "config/code.json")):
    for step in STEPS.values():
        code_digest(step.script)


# Names of files


def results(name):
    """A file or folder of the run."""
    return f"{RESULTS}/{name}"


def files_of(folder, artefact):
    """The files of an artefact that is a folder (snakelm/workflow/artefacts.py)."""
    return [results(f"{folder}/{name}") for name in artefact.files]


def log(name):
    """The log file of a step; a step writes it by itself and leaves stderr to the terminal."""
    return results(f"logs/steps/{name}.log")


def timing(name):
    """The file for Snakemake's own record of time and memory."""
    return results(f"benchmarks/{name}.tsv")


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
    if step.depends_on_values:
        return lambda wildcards: settings_file(RESULTS, CONFIG, step, dict(wildcards))
    return settings_file(RESULTS, CONFIG, step)


def shown(name):
    """The file with the keys that change only what the step shows or keeps; no reason to run it again."""
    return lambda wildcards: shown_file(RESULTS, CONFIG, STEPS[name])


def command(name):
    """The shell line of the rule `name`."""
    return STEPS[name].shell_command()


def shard_count():
    """How many jobs tokenize: as many as made train.bin, as long as nothing that it was made from is newer.

    Their number changes no byte, so another one alone must not make the token files again.
    """
    made = Path(results("data/processed/train.bin"))
    try:
        recorded = len(read_manifest(made)["through"])
        finished = made.stat().st_mtime
    except (UserError, OSError):
        return CONFIG.prepare.shards

    beside = UNUSED | {
        "preflight",
        "prepare_sft_data",
    }  # train.bin is not made from these
    steps = [
        step
        for step in STEPS.values()
        if step.stage == "preparation" and step.name not in beside
    ]
    before = own_stamps()
    for step in steps:
        names = COLLECTED if step.name == "collect" else SOURCES
        choices = (
            [{"source": name} for name in names] if step.depends_on_values else [{}]
        )
        before += [settings_file(RESULTS, CONFIG, step, choice) for choice in choices]

    newer = any(Path(file).stat().st_mtime > finished for file in before)
    return CONFIG.prepare.shards if newer or not recorded else recorded


def in_this_run(stages):
    """The rules of some stages (folders of scripts/) that this run has a use for, each with its step."""
    for declared in workflow.rules:
        step = STEPS.get(declared.name)
        if step and step.stage in stages and declared.name not in UNUSED:
            yield declared, step


def each(pattern):
    """A file's name for every source or shard that it stands for; for `collect` those that are collected."""
    sources = COLLECTED if "raw/" in pattern or "collect." in pattern else SOURCES
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
        if step.manifest
        for path in each(str(declared.benchmark))
    ]


# Files of the user


def stamp(name, files, made):
    """The file that stands for the contents of the user's `files`, of which the run makes `made`."""
    look = workflow.is_main_process
    return or_stop(lambda: stamp_file(RESULTS, name, files, results(made), look=look))


def stamps_of(source):
    """What a source's own files hold; none for one that is collected first."""
    files = local_files(source)
    made = f"data/sampled/{source.name}.parquet"
    return [stamp(f"files.{source.name}", files, made)] if files else []


def own_stamps():
    """What all sources' own files hold."""
    return [file for source in CONFIG.sources for file in stamps_of(source)]


def source_stamp(wildcards):
    """What the files of one source hold."""
    return stamps_of(SOURCES[wildcards.source])


def source_files(wildcards):
    """The files a source is sampled from: the user's own files, or the collected parquet."""
    source = SOURCES[wildcards.source]
    own = [
        ancient(file) for file in local_files(source)
    ]  # source_stamp says whether they changed
    return own or results(f"data/raw/{wildcards.source}.parquet")


def fetched_files(wildcards):
    """The files of a url source, as Snakemake's storage brings them; none for one that is built in."""
    urls = SOURCES[wildcards.source].url or []
    return [storage.http(url) for url in ([urls] if isinstance(urls, str) else urls)]


def conversation_files(wildcards):
    """The user's own conversations; looked for only when they are packed: the base model needs none."""
    paths = [source.path for source in CONFIG.sft_data.sources if source.path]
    return [
        ancient(str(file))
        for path in paths
        for file in or_stop(readers.expand, path, "sft_data.sources[].path")
    ]


def conversation_stamp(wildcards):
    """What the user's own conversations hold."""
    return stamp(
        "conversations",
        conversation_files(wildcards),
        "data/processed/train_sft_packed.bin",
    )


def task_files(wildcards):
    """The user's own test items; looked for only when they are needed."""
    paths = [task.path for task in CONFIG.tasks if task.path]
    return [
        ancient(str(file))
        for path in paths
        for file in or_stop(readers.expand, path, "tasks[].path")
    ]


def task_stamp(wildcards):
    """What the user's own test items hold."""
    return stamp("tasks", task_files(wildcards), "tables/evaluation.json")


SHARDS = shard_count()


def shards_of(kinds):
    """The files of all shards, of some kinds."""
    pattern = results(f"data/processed/shards/{SHARDS}/{{split}}-{{shard}}.{{kind}}")
    return expand(pattern, split=["train", "val"], shard=range(SHARDS), kind=kinds)


def evaluated_files():
    """Other runs' evaluations, those that are there: a run without one is named in the report."""
    files = [Path(folder, "tables/evaluation.json") for folder in CONFIG.compare]
    return [file.as_posix() for file in files if file.is_file()]


# The report


def reported(name, chapter, what):
    """A file of the run as a part of the report, captioned by report/<its name>.rst.

    A file that wasn't made (yet) is left out of the report, so a report of half a run stands.
    """
    path = results(name)
    if REPORTING and not Path(path).exists():
        return path
    caption = workflow.source_path(f"../report/{Path(name).stem}.rst")
    return report(
        path, caption=caption, category=CHAPTERS[chapter], labels={"what": what}
    )


def same_again(config):
    """The command that makes this run anew: all of its settings are in the file `config`."""
    elsewhere = [] if RESULTS == "results" else ["--config", f"results={RESULTS}"]
    return shlex.join(["snakemake", "--cores", "8", "--configfile", config, *elsewhere])


# Before the first job


def look_first():
    """Runs preflight, unless it has looked at these very files with these settings; its errors end the run here."""
    looked = settings("preflight"), *own_stamps()
    record = Path(results("config/preflight.passed"))
    if record.is_file() and record.read_text() == "\n".join(looked):
        return

    given = ["--config", settings("preflight")]
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        given.append(
            without_filter()
        )  # its packages are in an environment of their own
    written = ["--output", results("tables/preflight.json"), "--log", log("preflight")]
    script = STEPS["preflight"].script
    done = subprocess.run([sys.executable, script, *given, *written])
    if done.returncode:
        sys.exit(done.returncode)
    write_text(record, "\n".join(looked))


def without_filter():
    path = results("config/preflight-without-filter.yaml")
    write_text(path, "filter: none\n")
    return path
