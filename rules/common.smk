# What the rules share: the checked configuration, names of files, the files that stand for settings. No rules here.
import os
import shlex
import sys
from pathlib import Path

from snakemake.logging import logger

from snakelm.config import from_mapping
from snakelm.data.reading import readers
from snakelm.errors import EXIT_USER, UserError
from snakelm.filter.labels import label_files
from snakelm.workflow.settings import changed_since, settings_file, shown_file

# Steps are run as `python "$SNAKELM"/scripts/…`: by this interpreter, or by the rule's conda env, from any folder.
os.environ.update(
    SNAKELM=str(workflow.basedir),
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
)


def stop(error):
    """Ends Snakemake with a person's mistake in one line; a WorkflowError would show lines of this file instead."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(EXIT_USER)


def checked(values):
    """The configuration as snakelm reads it; a wrong key ends the run here."""
    try:
        return from_mapping(values)
    except UserError as error:
        stop(error)


CONFIG = checked(config)
RESULTS = Path(CONFIG.results).as_posix()
SOURCES = {source.name: source for source in CONFIG.sources}
SHARDS = CONFIG.prepare.shards
LABELS = label_files(CONFIG.classifier.labels)
TUNED = CONFIG.export == "sft"  # whether the run goes on to instruction tuning
REPORTING = any(word.split("=")[0] == "--report" for word in sys.argv)
MODELS = {"train": "final_model.pt", "train_sft": "sft_model.pt"}

# What stands between duplicates and tokens, in order; each only where the configuration asks for it.
CHECKS = {
    "quality": any(CONFIG.quality.model_dump().values()),
    "filtered": CONFIG.filter != "none",
    "decontaminated": bool(CONFIG.decontaminate.files),
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


def results(name):
    """A file or folder of the run."""
    return f"{RESULTS}/{name}"


def settings(step, *sections):
    """The file that holds what of the configuration (and, but for training, of the code) changes this step's result.

    It is named by its content, so a step runs again when, and only when, its own settings differ from those it ran with.
    """
    return settings_file(RESULTS, CONFIG, step, sections)


def shown(step, *sections):
    """The file with the keys of ``sections`` that change only what is shown or kept; no reason to run a step again."""
    return shown_file(RESULTS, CONFIG, step, sections)


def local_files(source):
    """A source's own files, globs expanded; none for one that is collected first."""
    try:
        return (
            [str(path) for path in readers.expand(source.path)] if source.path else []
        )
    except UserError as error:
        stop(error)


def evaluation_files():
    """The evaluation sets that no training document may hold text of, globs expanded."""
    try:
        found = readers.expand(CONFIG.decontaminate.files, "decontaminate.files")
    except UserError as error:
        stop(error)
    return [str(path) for path in found]


def compared_files():
    """The metrics of the runs that this one is drawn beside; they are other runs' outputs, so no rule makes them."""
    files = [Path(folder, "logs/training_metrics.csv") for folder in CONFIG.compare]
    for folder, file in zip(CONFIG.compare, files):
        if not file.is_file():
            stop(
                f"compare: {folder}: no logs/training_metrics.csv there; expected the results folder of a run: "
                "name another or take it out"
            )
    return [file.as_posix() for file in files]


COMPARED = compared_files()  # asked here, before anything is written


def source_files(wildcards):
    """The files a source is sampled from: a person's own files, or the collected parquet."""
    source = SOURCES[wildcards.source]
    return local_files(source) or results(f"data/raw/{wildcards.source}.parquet")


def conversation_files(wildcards):
    """A person's own files of conversations; looked for only when they are packed: the base model needs none."""
    paths = [source.path for source in CONFIG.sft_data.sources if source.path]
    try:
        return [
            str(file)
            for path in paths
            for file in readers.expand(path, "sft_data.sources[].path")
        ]
    except UserError as error:
        stop(error)


def evaluated_files():
    """Other runs' evaluations, those that are there: a run without one is named in the report."""
    files = [Path(folder, "tables/evaluation.json") for folder in CONFIG.compare]
    return [file.as_posix() for file in files if file.is_file()]


def task_files(wildcards):
    """A person's own files of test items; looked for only when they are asked."""
    paths = [task.path for task in CONFIG.tasks if task.path]
    try:
        return [
            str(file) for path in paths for file in readers.expand(path, "tasks[].path")
        ]
    except UserError as error:
        stop(error)


def fetched_files(wildcards):
    """The files of a url source, as Snakemake's storage brings them; none for one that is built in."""
    urls = SOURCES[wildcards.source].url or []
    return [storage.http(url) for url in ([urls] if isinstance(urls, str) else urls)]


def documents(before=None):
    """The documents that the check ``before`` reads, or after all checks the tokenizer and the token files."""
    done = ["deduplicated"]
    for name, wanted in CHECKS.items():
        if name == before:
            break
        done += [name] if wanted else []
    return results(f"data/{done[-1]}/documents.parquet")


def log(name):
    """The log file of a step; a step writes it by itself and leaves stderr to the terminal."""
    return results(f"logs/steps/{name}.log")


def timing(name):
    """The file for Snakemake's own record of time and memory."""
    return results(f"benchmarks/{name}.tsv")


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
    """The command that makes this run anew: all of its settings are in the file ``config``."""
    elsewhere = [] if RESULTS == "results" else ["--config", f"results={RESULTS}"]
    return shlex.join(["snakemake", "--cores", "8", "--configfile", config, *elsewhere])


# What has a manifest beside it: counts for the funnel, hashes and versions for the provenance.
COLLECTED = [name for name, source in SOURCES.items() if not source.path]
DOCUMENTED = [
    *expand(results("data/raw/{source}.parquet"), source=COLLECTED),
    *expand(results("data/sampled/{source}.parquet"), source=SOURCES),
    results("data/deduplicated/documents.parquet"),
    *(results(f"data/{name}/documents.parquet") for name in CHECKS if CHECKS[name]),
    results("tokenizer/meta.json"),
    results("data/processed/train.bin"),
    results("data/processed/val.bin"),
    results("data/processed/val_overlap.npy"),
    results("tables/baseline.json"),
    results("final_model.pt"),
    *(
        map(results, ["data/processed/train_sft_packed.bin", "sft_model.pt"])
        if TUNED
        else []
    ),
]
TIMED = [
    timing("preflight"),
    *(timing(f"collect.{source}") for source in COLLECTED),
    *(timing(f"sample_data.{source}") for source in SOURCES),
    timing("deduplicate"),
    *map(timing, ["quality"] if CHECKS["quality"] else []),
    *map(timing, ["setfit_train", "filter_dataset"] if CHECKS["filtered"] else []),
    *map(timing, ["decontaminate"] if CHECKS["decontaminated"] else []),
    timing("train_tokenizer"),
    *(timing(f"prepare_shard.{shard}-of-{SHARDS}") for shard in range(SHARDS)),
    timing("prepare_data"),
    timing("baseline"),
    timing("train"),
    *map(timing, ["prepare_sft_data", "train_sft"] if TUNED else []),
    *map(timing, ["measure_tokenizer", "loss", "evaluate"]),
    *map(timing, ["generate_embeddings", "visualize_embeddings", "export"]),
]
MEASURED = [
    results("tables/tokens.json"),
    results("tables/loss.json"),
    results("tables/evaluation.json"),
    results("embeddings/documents.parquet"),
    results("embeddings/map.parquet"),
    results("models/final/model.safetensors"),
]

if workflow.is_main_process:
    for step, model in MODELS.items():
        for message in changed_since(results(model), f"scripts/training/{step}.py"):
            logger.warning(message)
