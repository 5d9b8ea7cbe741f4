# What a run starts from: the user's own files, other runs to compare with, and how many shards there are. No rules
# here. What is missing ends the run before anything is written.
#
# No rule names a file of the user's, only its step does (snakelm/user_paths.py). A rule has a stamp instead, a file
# named by what theirs hold, so it runs again when they have changed (snakelm/workflow/user_files.py).


@functools.cache
def expanded(paths, where):
    """The files that the user's paths and globs stand for; what a glob leaves out is said once."""
    say = logger.warning if workflow.is_main_process else None
    if say:
        or_stop(fetch, as_list(paths), where, say)
    return or_stop(lambda: user_paths.expand(paths, where, results=PLACE, say=say))


def as_list(paths):
    """`path` and `[path, …]` alike."""
    return [paths] if isinstance(paths, str) else list(paths or [])


def own_files(paths, where):
    """The user's own files. Those that another rule has yet to make are among them, though they aren't there."""
    coming = [path for path in made_elsewhere(paths) if not Path(path).exists()]
    there = tuple(path for path in as_list(paths) if path not in coming)
    return [*(expanded(there, where) if there else ()), *map(Path, coming)]


def named_files(paths, where):
    """The user's own files where no glob may stand."""
    files = [user_paths.home(path) for path in as_list(paths)]
    coming = made_elsewhere(paths)
    for file in files:
        if not file.exists() and str(file) not in coming:
            stop(f"{where}: {file}: no such file, seen from {os.getcwd()}")
    return files


# In a module, what a rule of the workflow around it makes may be brought, under its name.


def made_elsewhere(paths):
    """Those of the user's paths that a rule of the workflow around this module makes."""
    if MAIN:
        return []
    own = {getattr(rules, name).rule.name for name in STEPS if rules.has(name)}
    others = [rule for rule in workflow.rules if rule.name not in own]
    return [
        path
        for path in as_list(paths)
        if any(rule.is_producer(path) for rule in others)
    ]


def awaited(*paths):
    """The input of a rule that says which of the user's paths are made by rules of the workflow around this module."""
    return lambda wildcards: [
        local(path) for one in paths for path in made_elsewhere(one)
    ]


def awaited_source(wildcards):
    """The same, of one source."""
    return awaited(SOURCES[wildcards.source].path)(wildcards)


# Stamps


@functools.cache
def stamp_of(name, files, made):
    look = workflow.is_main_process
    written = or_stop(lambda: stamp_file(PLACE, name, files, at(made), look=look))
    return in_rule(written)


def stamp(name, files, made):
    """The file that stands for the contents of the user's `files`, of which the run makes `made`."""
    return stamp_of(name, tuple(files), made)


def stamps_of(source):
    """What a source's own files hold; none for one that is collected first."""
    files = own_files(source.path, "sources[].path")
    made = f"data/sampled/{source.name}.parquet"
    return [stamp(f"files.{source.name}", files, made)] if files else []


def own_stamps(wildcards=None):
    """What all sources' own files hold."""
    return [file for source in CONFIG.sources for file in stamps_of(source)]


def source_stamp(wildcards):
    """What the files of one source hold."""
    return stamps_of(SOURCES[wildcards.source])


def conversation_stamp(wildcards):
    """What the user's own conversations hold."""
    paths = [source.path for source in CONFIG.sft_data.sources]
    files = [
        file for path in paths for file in own_files(path, "sft_data.sources[].path")
    ]
    return stamp("conversations", files, "data/processed/train_sft_packed.bin")


def preference_stamp(wildcards):
    """What the user's own preferences hold."""
    paths = [source.path for source in CONFIG.preferences.sources]
    files = [
        file for path in paths for file in own_files(path, "preferences.sources[].path")
    ]
    return stamp("preferences", files, "data/processed/train_preferences.bin")


def task_stamp(wildcards):
    """What the user's own test items hold."""
    files = [
        file for task in CONFIG.tasks for file in own_files(task.path, "tasks[].path")
    ]
    return stamp("tasks", files, "tables/evaluation.json")


def forget_stamps(what, made):
    """What the lists of documents, or conversations, hold that are to be forgotten; none without lists."""
    files = own_files(getattr(CONFIG.forget, what), f"forget.{what}")
    return [stamp(f"forget.{what}", files, made)] if files else []


def forgotten_documents(wildcards=None):
    return forget_stamps("documents", "data/not_forgotten/documents.parquet")


def forgotten_conversations(wildcards=None):
    return forget_stamps("conversations", "data/processed/train_sft_packed.bin")


def forgotten_preferences(wildcards=None):
    return forget_stamps("preferences", "data/processed/train_preferences.bin")


def forget_lists(wildcards=None):
    return [
        *forgotten_documents(),
        *forgotten_conversations(),
        *forgotten_preferences(),
        *asked_documents(),
    ]


def evaluation_stamp(wildcards):
    """What the evaluation sets hold that no training document may have text of."""
    files = own_files(CONFIG.decontaminate.files, "decontaminate.files")
    return stamp("evaluation", files, "data/decontaminated/documents.parquet")


def tokenizer_stamp(wildcards):
    """What the brought tokenizer holds."""
    return stamp(
        "tokenizer", named_files(BROUGHT, "tokenizer.file"), "tokenizer/meta.json"
    )


def label_stamp(wildcards):
    """What the filter is trained from, beside documents: labelled texts, and the model if one was brought."""
    files = named_files(LABELS, "classifier.labels")
    base = CONFIG.classifier.base
    files += [user_paths.home(base) / "model.safetensors"] if base else []
    return stamp("labels", files, "models/academic_filter/filter.json")


def base_stamp(wildcards):
    """What the brought model holds that tuning starts from."""
    named = named_files(BASE, "sft.base")
    files = [file for path in named for file in or_stop(user_paths.base_files, path)]
    return stamp("base", files, "sft_model.pt")


def pretrained_stamps(wildcards=None):
    """What the brought model holds that training goes on from; none where it starts from nothing."""
    if not CONFIG.train.base:
        return []
    files = or_stop(pretraining_files, user_paths.home(CONFIG.train.base))
    return [stamp("pretrained", files, "final_model.pt")]


def pretrained_tokenizer_stamps(wildcards=None):
    """What the tokenizer of that model holds."""
    if not CONFIG.train.base:
        return []
    file = tokenizer_file(user_paths.home(CONFIG.train.base))
    return [stamp("pretrained_tokenizer", [file], "tokenizer/meta.json")]


def compared_stamp(wildcards):
    """What the curves hold of the runs that this one is drawn beside."""
    return stamp("compare", COMPARED, "tables/compare.html")


def evaluated_stamp(wildcards):
    """What other runs' evaluations hold, those that are there: a run without one is named in the report."""
    files = [Path(folder, "tables/evaluation.json") for folder in CONFIG.compare]
    there = [file for file in files if file.is_file()]
    return stamp("evaluated", there, "tables/seeds.json")


def compared_files():
    """The metrics of the runs that this one is drawn beside."""
    files = [Path(folder, "logs/training_metrics.csv") for folder in CONFIG.compare]
    for folder, file in zip(CONFIG.compare, files):
        if not file.is_file():
            stop(
                f"compare: {folder}: no logs/training_metrics.csv there; expected the results folder of a run: "
                "name another or take it out"
            )
    return files


LABELS = label_files(CONFIG.classifier.labels)
BROUGHT = CONFIG.tokenizer.file if CONFIG.tokenizer.kind == "tiktoken" else None
OWN_BASE = CONFIG.sft.base and Path(CONFIG.sft.base).as_posix() == at("final_model.pt")
BASE = None if OWN_BASE else CONFIG.sft.base
COMPARED = compared_files()
if MAIN:
    for source in CONFIG.sources:
        own_files(source.path, "sources[].path")
    own_files(CONFIG.decontaminate.files, "decontaminate.files")
    own_files(CONFIG.forget.documents, "forget.documents")
    own_files(CONFIG.forget.conversations, "forget.conversations")
    own_files(CONFIG.forget.preferences, "forget.preferences")
    for source in CONFIG.preferences.sources:
        own_files(source.path, "preferences.sources[].path")

with remembered(Path(PLACE, "config/code.json")):
    for step in STEPS.values():
        code_digest(step.script)


# Files to sample


def collected_file(wildcards):
    """The parquet that a source was collected into; none for one of the user's own files."""
    own = SOURCES[wildcards.source].path
    return [] if own else results(f"data/raw/{wildcards.source}.parquet")


def fetched_files(wildcards):
    """The files of a url source, as Snakemake's storage brings them; none for one that is built in."""
    urls = SOURCES[wildcards.source].url
    return [storage.http(public_url(url)) for url in as_list(urls)]


# Shards


def shard_count():
    """How many jobs tokenize: as many as made train.bin, as long as nothing that it was made from is newer.

    Their number changes no byte, so another one alone must not make the token files again.
    """
    made = Path(at("data/processed/train.bin"))
    try:
        recorded = len(read_manifest(made)["through"])
        finished = made.lstat().st_mtime  # of a link, as shared files are, its own
    except (UserError, OSError):
        return CONFIG.prepare.shards

    beside = UNUSED | {
        "preflight",
        "prepare_sft_data",
        "prepare_preferences",
    }  # train.bin is not made from these
    steps = [
        step
        for step in STEPS.values()
        if step.stage == "preparation" and step.name not in beside
    ]
    before = [*own_stamps(), *forgotten_documents()]
    for step in steps:
        names = sources_of(step.name)
        choices = (
            [{"source": name} for name in names] if step.depends_on_values else [{}]
        )
        before += [
            in_rule(settings_file(PLACE, CONFIG, step, choice)) for choice in choices
        ]

    newer = any(Path(on_disk(file)).stat().st_mtime > finished for file in before)
    return CONFIG.prepare.shards if newer or not recorded else recorded


SHARDS = shard_count()


def shards_of(kinds):
    """The files of all shards, of some kinds."""
    pattern = results(f"data/processed/shards/{SHARDS}/{{split}}-{{shard}}.{{kind}}")
    return expand(pattern, split=["train", "val"], shard=range(SHARDS), kind=kinds)


# Before the first job


def unmade(target):
    """Whether no rule makes a target, nor is there anything of its name."""
    known = workflow.is_rule(target) or Path(target).exists()
    return not known and not any(rule.is_producer(target) for rule in workflow.rules)


def check_targets():
    """Ends the run where a file is asked for that no rule makes, as with a results folder of another name."""
    if not (MAIN and workflow.is_main_process):
        return
    if "sweep" in sys.argv[1:] and not SWEPT:
        stop(
            "sweep: no keys to vary; name them with their values in your configuration, as "
            "sweep: {train.lr: [0.01, 0.03], seed: [1, 2, 3]}"
        )
    if "source_ablation" in sys.argv[1:] and not PROXIES:
        stop(
            "source_ablation: no seeds; name them in your configuration, as "
            "source_ablation: {seeds: [1, 2, 3], proxy: {train.steps: 300}}"
        )
    mine = f"{RESULTS}/", "results/"
    if not any(word.startswith(mine) and unmade(word) for word in sys.argv[1:]):
        return

    # Now it is worth half a second to know which words are targets.
    asked = get_argument_parser().parse_known_args(sys.argv[1:])[0].targets
    for target in filter(unmade, asked or ()):
        made = [str(file) for rule in workflow.rules for file in rule.output]
        same = [file for file in made if Path(file).name == Path(target).name]
        near = same or difflib.get_close_matches(target, made, 1)
        hint = f"did you mean {near[0]}?" if near else f"ask for a file of {RESULTS}/"
        stop(f"{target}: nothing makes it, with results: {RESULTS}; {hint}")


RUNNING = contextlib.ExitStack()


def hold_results():
    """Keeps other runs of the workflow off the results folder until this process ends."""
    if MAIN:
        lock = locked(Path(at("config")), "another run of the workflow")
        or_stop(RUNNING.enter_context, lock)


def look_first():
    """Runs preflight, unless it has looked at these very files with these settings; its errors end the run here."""
    if any(
        not Path(path).exists()
        for source in CONFIG.sources
        for path in made_elsewhere(source.path)
    ):
        return
    config = on_disk(settings("preflight"))
    looked = config, *own_stamps(), *forget_lists(), *pretrained_stamps()
    record = Path(at("config/preflight.passed"))
    if record.is_file() and record.read_text() == "\n".join(looked):
        return

    given = ["--config", config]
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        given.append(
            without_filter()
        )  # its packages are in an environment of their own
    written = [
        "--output",
        at("tables/preflight.json"),
        "--log",
        on_disk(log("preflight")),
    ]
    script = STEPS["preflight"].script
    done = subprocess.run([sys.executable, script, *given, *written])
    if done.returncode:
        sys.exit(done.returncode)
    write_text(record, "\n".join(looked))


def without_filter():
    path = at("config/preflight-without-filter.yaml")
    write_text(path, "filter: none\n")
    return path
