# What the rules of targets of their own take: `snakemake plan`, `sweep`, `source_ablation` and the check of memory. No
# rules here.


def planned_documents(wildcards):
    """The documents, once there is a budget."""
    if CONFIG.plan.hours is None:
        stop(
            "plan.hours: missing; set how long training may take here, e.g. plan: {hours: 0.5}"
        )
    return documents()


def plan_stamp(wildcards):
    """What the plan holds: a new one is drawn anew, and is no reason to plan or train again."""
    return stamp("planned", [at("plan.json")], "tables/plan.html")


def point_bin(wildcards):
    """The training tokens of a point."""
    return results(POINTS[wildcards.point].train_bin)


def beside_point_bins(wildcards):
    """What lies beside the token files that it reads; a mixture's goes when no job needs it."""
    train_bin = point_bin(wildcards)
    mixed = wildcards.point in PROXIES
    return [
        Path(train_bin).with_suffix(".idx").as_posix(),
        *([f"{train_bin}.manifest.json"] if mixed else []),
        results("data/processed/val.idx"),
    ]


def asked_documents(wildcards=None):
    """What the lists of documents hold whose memory is checked."""
    own = CONFIG.memorisation.documents
    paths, key = (own, "memorisation") if own else (CONFIG.forget.documents, "forget")
    files = own_files(paths, f"{key}.documents")
    return [stamp("memorisation", files, "tables/memorisation.json")] if files else []


def before_stamps(wildcards=None):
    """What the earlier model holds that memory is compared with."""
    if not CONFIG.memorisation.before:
        return []
    files = or_stop(pretraining_files, user_paths.home(CONFIG.memorisation.before))
    return [stamp("before", files, "tables/memorisation.json")]
