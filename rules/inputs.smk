# What a run starts from: the user's own files, other runs to compare with, and how many shards there are. No rules
# here. What is missing ends the run before anything is written.


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


# Whether they changed: a file that stands for their contents (snakelm/workflow/user_files.py)


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
    urls = SOURCES[wildcards.source].url
    return [storage.http(public_url(url)) for url in as_list(urls)]


def as_list(value):
    """A key that may be one text or several."""
    return [value] if isinstance(value, str) else list(value or [])


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


# Shards


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


SHARDS = shard_count()


def shards_of(kinds):
    """The files of all shards, of some kinds."""
    pattern = results(f"data/processed/shards/{SHARDS}/{{split}}-{{shard}}.{{kind}}")
    return expand(pattern, split=["train", "val"], shard=range(SHARDS), kind=kinds)


# Other runs


def evaluated_files():
    """Other runs' evaluations, those that are there: a run without one is named in the report."""
    files = [Path(folder, "tables/evaluation.json") for folder in CONFIG.compare]
    return [file.as_posix() for file in files if file.is_file()]


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
