# What several runs share: with `--cache`, what preparation makes goes into the folder $SNAKEMAKE_OUTPUT_CACHE, and
# another run that would make the same, in whichever results folder, finds it there. Without `--cache` nothing here holds.
#
# Snakemake tells entries apart by a hash of the shell line, the params, the contents of inputs that no rule makes (the
# settings, which have the code's digest, and the stamps of the user's files), and the same of every job before. It
# leaves out which wildcards a job has and which packages are installed, so a param has both. Of a rule it wants a name
# for each output, and no benchmark, which a job that wasn't run can't have.
import hashlib
from importlib.metadata import distributions

from snakemake.caching import LOCATION_ENVVAR
from snakemake.caching.rule import CacheFlag

from snakelm.workflow import artefacts as known_files
from snakelm.workflow.last_settings import note_settings
from snakelm.workflow.manifest import MARK

SHARING = MAIN and workflow.workflow_settings.cache is not None
VOUCHED = {
    name for kind in vars(known_files).values() for name in getattr(kind, "vouched", ())
} | {"setfit_train.json"}


def shared_rules():
    """What token files and packs are made by, each rule with its step."""
    for declared, step in in_this_run(["preparation", "training"]):
        before = step.stage == "preparation" or step.name == "setfit_train"
        if before and step.manifest:
            yield declared, step


def share(declared, step, installed):
    """Has Snakemake share a rule's outputs; its manifests are among them, for a file without its own is unfinished."""
    made = list(map(str, declared.output))
    vouched = step.artefacts(made)
    for place, (name, _) in enumerate(list(declared.output._allitems())):
        if name is None:
            declared.output._set_name(f"file_{place}", place)
    for place, path in enumerate(made):
        if path in vouched or Path(path).name in VOUCHED:
            declared.set_output(**{f"manifest_{place}": path + MARK})

    # That it takes `input` tells Snakemake that it is no reason to run again, where a run goes on with `--cache` or
    # without.
    declared.set_params(
        shared=lambda wildcards, input: json_text({**wildcards, "": installed})
    )
    declared._benchmark = None
    declared.cache.flag |= CacheFlag.output


def installed_packages():
    """A hash of them: built-in text is theirs, and what reads and writes a file may be."""
    known = [f"{one.metadata['Name']} {one.version}" for one in distributions()]
    return hashlib.sha256(repr([sys.version, *sorted(known)]).encode()).hexdigest()


def shared_place():
    """The folder that is shared, from anywhere: links into it are laid in the results folders."""
    given = os.environ.get(LOCATION_ENVVAR)
    if not given:
        stop(
            f"--cache: {LOCATION_ENVVAR} isn't set; it names the folder that runs share: "
            f"{LOCATION_ENVVAR}=~/shared snakemake --cache --cores 8"
        )
    place = Path(given).expanduser().absolute()
    or_stop(lambda: place.mkdir(0o700, parents=True, exist_ok=True))
    return str(place)


def note_shared():
    """Notes the settings of what may be shared, as a step that runs does by itself (last_settings.py)."""
    for _, step in shared_rules() if SHARING else []:
        names = sources_of(step.name) if step.depends_on_values else [None]
        for name in names:
            file = settings_file(PLACE, CONFIG, step, name and {"source": name})
            note_settings(Path(file), Path(PLACE, "logs/steps", step.name))


def remove_dead_links():
    """Of files that were shared and are gone; Snakemake has no words for them. They are made again, as what is missing."""
    for declared, _ in shared_rules():
        for path in [file for made in declared.output for file in each(on_disk(made))]:
            for link in (Path(path), Path(path + MARK)):
                if link.is_symlink() and not link.exists():
                    logger.warning(
                        f"{link}: {os.readlink(link)}, which it is a link to, is gone; to be made again"
                    )
                    link.unlink()


if MAIN and workflow.is_main_process:
    remove_dead_links()
if SHARING:
    os.environ[LOCATION_ENVVAR] = shared_place()
    installed = installed_packages()
    for declared, step in list(shared_rules()):
        share(declared, step, installed)
