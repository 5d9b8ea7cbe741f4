"""A step of the workflow, declared once: what it reads, what it writes, what it may see of the
configuration.

    STEP = Step(
        __file__,
        __doc__,
        config=("deduplicate", "sources[].name"),
        reads={"inputs": File("sampled sources, in their order", many=True)},
        writes={"output": File("parquet file to write")},
        threads="threads that compute signatures",
    )

    @STEP
    def main(run: Run) -> Counts:
        from snakelm.data.documents.deduplicate import deduplicate

        files = run.files
        return deduplicate(files.inputs, files.output, run.config.deduplicate, run.log, run.threads)

Everything else follows from the declaration: the script's flags and `--help`, the view of the
configuration (reading a key that was not declared raises), the log, the manifest beside what was
written, the settings file that decides whether the step runs again (settings.py), and the rule's
shell line. A rule names its inputs and outputs as the step does; a test holds the two together.

Scripts declare their steps at the top and import the library inside `main`, so that `--help` and
reading the rules stay fast.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..config import Config, as_mapping, load_settings, restrict
from ..errors import UserError
from ..launched import forget_stray_ranks
from ..log import Log
from .code_digest import ROOT
from .exit_codes import parser as plain_parser
from .flags import File, Folder, Value
from .last_settings import note_settings
from .manifest import write_manifest
from .verification import check_files

__all__ = ["Counts", "File", "Folder", "Run", "Step", "Value", "load_steps"]

RESERVED = {"count", "index", "items", "keys", "sort", "values"}

Counts = Mapping[str, Any]  # what a step counted, as it stands in its manifest
Keys = tuple[str, ...] | Callable[[Config], tuple[str, ...]]


@dataclass
class Run:
    """A step at work: its configuration, files and values by their declared names, log and
    threads.
    """

    step: "Step"
    config: Config
    files: SimpleNamespace
    values: SimpleNamespace
    most_threads: int | None  # None: as many as are free
    log_file: Path | None
    argv: list[str]
    settings: Path | None = None  # the first file of --config
    results: Path = Path("results")  # where files with a place are, when their flags are left out
    users: list[Path] = field(default_factory=list)  # read, and the user's own: nothing vouches
    log: Log = field(init=False)
    _vouched: bool = False
    _verified: dict[Path, str] = field(default_factory=dict)  # SHA-256 of what was read

    @property
    def threads(self) -> int:
        """Threads of a step that has a number of them."""
        return self.most_threads or 1

    def begin(self) -> None:
        """Compares what the step reads with the manifests of the steps that made it; UserError for
        what isn't as it was written (verification.py). Then says with which settings it begins.
        """
        for name, kind in self.step.beside.items():
            given = [path for path in kind.read_from(getattr(self.files, name)) if path.is_file()]
            self._verified |= check_files(given)
        for name, kind in self.step.reads.items():
            self.check(kind.read_from(getattr(self.files, name)))
        if self.settings:
            note_settings(self.settings, self.log_file)

    def check(self, files: Iterable[Path]) -> None:
        """The same for ``files`` that no flag names."""
        self._verified |= check_files(files, self.log.warn)

    def vouch(
        self,
        artefact: Path,
        *,
        inputs: Iterable[str | Path] | None = None,
        files: Iterable[str | Path] = (),
        through: Iterable[str | Path] = (),
        counts: Counts | None = None,
    ) -> None:
        """Writes the manifest of a finished ``artefact``; the step's declared inputs when none are
        given, and `users` with them.

        A step that calls this says itself what made what; one that does not gets a manifest of its
        first output, with its other outputs as ``files``.
        """
        self._vouched = True
        write_manifest(
            artefact,
            inputs=self.inputs() if inputs is None else inputs,
            users=self.users,
            files=files,
            through=through,
            config=self.step.settings_of(self.config, cosmetic=True),
            script=self.step.script,
            seed=self.step.seed_of(self.config),
            counts=counts,
            published_below=_results_of(artefact) if self.step.published else None,
            verified=self._verified,
        )

    def inputs(self) -> list[Path]:
        """Every declared input that was given."""
        paths: list[Path] = []
        for name, kind in self.step.reads.items():
            paths += [] if kind.users else kind.inputs(getattr(self.files, name))
        return paths

    def finish(self, counts: Counts | None) -> None:
        """The manifest of a step that has not written one itself."""
        if not self.step.manifest or self._vouched:
            return

        wrote: list[Path] = []
        for name, kind in self.step.writes.items():
            given = getattr(self.files, name)
            if isinstance(kind, Folder):
                wrote += [given / file for file in kind.files if (given / file).exists()]
            else:
                wrote += [*kind.inputs(given), *(given.with_name(file) for file in kind.leaves)]
        self.vouch(wrote[0], files=wrote[1:], counts=counts)


class Step:
    """A step: see the module's docstring.

    ``config``: dotted keys (`seed`, `train.device`, `sources[].name`) that the step may read; those
    that are not cosmetic decide whether it runs again. `sources[source]` is the one item that the
    value ``source`` names. A function of the configuration where one key decides whether others are
    read. ``shows``: sections or keys whose cosmetic keys stand in what the step writes, and count.
    ``beside``: files that earlier steps left, read where they are there, and no reason to run
    again. ``manifest``: whether what it writes gets one; figures and pages do not.
    ``seed``: the key whose chance the step draws on, if it may read it; stands in its manifests.
    ``code_triggers``: whether other code is a reason to run again; training, which may have taken
    weeks, only says so. ``published``: what it writes is made to be given away, so its manifest
    tells of no machine.
    """

    def __init__(
        self,
        script: str,
        description: str | None,
        *,
        config: Keys = (),
        seed: str = "seed",
        shows: tuple[str, ...] = (),
        reads: Mapping[str, File] | None = None,
        beside: Mapping[str, File] | None = None,
        writes: Mapping[str, File] | None = None,
        values: Mapping[str, Value] | None = None,
        threads: str = "",
        default_threads: int | None = 1,
        manifest: bool = True,
        code_triggers: bool = True,
        published: bool = False,
    ) -> None:
        self.script = Path(script).resolve()
        self.name, self.stage = self.script.stem, self.script.parent.name
        self.description = description
        self.config, self.seed, self.shows = config, seed, shows
        self.reads, self.beside = dict(reads or {}), dict(beside or {})
        self.writes, self.values = dict(writes or {}), dict(values or {})
        self.threads, self.default_threads = threads, default_threads
        self.manifest, self.code_triggers, self.published = manifest, code_triggers, published

    def __call__(self, work: Callable[[Run], Counts | None]) -> Callable[..., int]:
        """``work`` as a script's `main(argv)`: parses, opens the log, verifies what is read,
        works, writes the manifest.
        """

        def main(argv: list[str] | None = None) -> int:
            run = self.parse(argv)
            stray = forget_stray_ranks()
            with Log(self.name, run.log_file) as run.log:
                if stray:
                    run.log.file_only(f"warning: {stray}")
                run.begin()
                run.finish(work(run))
            return 0

        main.__doc__ = work.__doc__
        return main

    def parser(self) -> argparse.ArgumentParser:
        """The flags, in the order of the declaration."""
        made = plain_parser(self.description)
        made.add_argument(
            "--config",
            nargs="+",
            required=bool(self.config),
            type=Path,
            metavar="FILE",
            default=[],
            help="settings in YAML, later files over earlier ones",
        )

        if self._has_places():
            made.add_argument(
                "--results",
                type=Path,
                default=Path("results"),
                help="folder that the paths below are in when left out (default: results)",
            )

        for name, value in self.values.items():
            value.add_to(made, _flag(name))
        for name, kind in self._file_flags():
            kind.add_to(made, _flag(name))

        if self.threads:
            default = self.default_threads
            free = "all that are free" if default is None else default
            made.add_argument(
                "--threads", type=int, default=default, help=f"{self.threads} (default: {free})"
            )

        made.add_argument("--log", type=Path, help="log file")
        return made

    def parse(self, argv: list[str] | None = None) -> Run:
        """The command line as a `Run`, with the configuration cut down to the declared keys."""
        argv = sys.argv[1:] if argv is None else list(map(str, argv))
        given = vars(self.parser().parse_args(argv))
        values = SimpleNamespace(**{name: given[name] for name in self.values})
        files = SimpleNamespace(**{name: given[name] for name, _ in self._file_flags()})
        for name, kind in self._file_flags():
            if kind.at and getattr(files, name) is None:
                setattr(files, name, given["results"] / kind.at)

        complete = load_settings(given["config"]) if given["config"] else Config()
        config = restrict(complete, self.keys(complete), vars(values))
        threads = given["threads"] if self.threads else 1
        results = given.get("results", Path("results"))
        settings = next(iter(given["config"]), None)
        return Run(self, config, files, values, threads, given["log"], argv, settings, results)

    @property
    def relative_path(self) -> str:
        """The script's path inside the project."""
        return f"scripts/{self.stage}/{self.name}.py"

    @property
    def depends_on_values(self) -> bool:
        """Whether a flag chooses which item of a list the step may see."""
        return any("[" in key and "[]" not in key for key in self.keys(Config()))

    def keys(self, config: Config) -> tuple[str, ...]:
        """The keys that the step may read under ``config``."""
        return self.config(config) if callable(self.config) else self.config

    def seed_of(self, config: Config) -> int | None:
        """The seed under ``config``; None for a step without chance."""
        section, _, name = self.seed.rpartition(".")
        if not {self.seed, section} & set(self.keys(config)):
            return None
        value: int = getattr(getattr(config, section) if section else config, name)
        return value

    def settings_of(
        self, config: Config, values: Mapping[str, Any] | None = None, *, cosmetic: bool = False
    ) -> dict[str, Any]:
        """The keys that count, as plain YAML types; with ``cosmetic`` all that the step may
        read.

        Items of a list are as they count: no second file can add a key to one of them, so what it
        said there would be the default, whatever the user has given.
        """
        seen = restrict(config, self.keys(config), values)
        counted = as_mapping(seen, cosmetic=self.shows)
        return _with_lists_of(counted, as_mapping(seen)) if cosmetic else counted

    def shown_of(self, config: Config) -> dict[str, Any]:
        """The cosmetic keys that the step may read, beside those that count."""
        counted, every = self.settings_of(config), self.settings_of(config, cosmetic=True)
        shown = {
            name: {key: value for key, value in section.items() if key not in counted.get(name, {})}
            for name, section in every.items()
            if isinstance(section, dict)
        }
        return {name: section for name, section in shown.items() if section}

    def shell_command(self) -> str:
        """The rule's shell line; every value in it is quoted for the shell by Snakemake."""
        parts = [f'python "$SNAKELM"/{self.relative_path}']
        shown = " {params.shown:q}" if self.shown_of(Config()) else ""
        parts.append("--config {input.config:q}" + shown)
        for name, value in self.values.items():
            origin = f"params.{name}" if value.param else f"wildcards.{value.wildcard or name}"
            parts.append(f"{_flag(name)} {{{origin}:q}}")

        parts += ["--results {params.results:q}"] if self._has_places() else []
        for origin, kinds in (("input", self.reads), ("params", self.beside)):
            passed = [name for name, kind in kinds.items() if not (kind.at or kind.users)]
            parts += [f"{_flag(name)} {{{origin}.{_in_rule(name)}:q}}" for name in passed]
        for name, kind in self.writes.items():
            parts += [] if kind.at else [f"{_flag(name)} {self._written(name, kind)}"]
        parts += ["--threads {threads}"] if self.threads else []
        return " ".join([*parts, "--log {log:q}"])

    def artefacts(self, outputs: Iterable[str]) -> list[str]:
        """Those of a rule's ``outputs`` that get a manifest of their own."""
        named, first = list(map(str, outputs)), next(iter(self.writes.values()))
        if isinstance(first, Folder):
            return [path for path in named if Path(path).name in (first.vouched or first.files[:1])]
        return named[:1]

    def _written(self, name: str, kind: File) -> str:
        """How a rule refers to an output: as `{output}` where one flag stands for several files;
        else by name, and for a folder by the names of its files without their suffixes.
        """
        several = isinstance(kind, Folder) or kind.many
        if several and len(self.writes) == 1 and not kind.leaves:
            return "{output:q}"
        if isinstance(kind, Folder):
            return " ".join(f"{{output.{Path(file).stem}:q}}" for file in kind.files)
        return f"{{output.{_in_rule(name)}:q}}"

    def _has_places(self) -> bool:
        return any(kind.at for _, kind in self._file_flags())

    def _file_flags(self) -> list[tuple[str, File]]:
        return [*self.reads.items(), *self.beside.items(), *self.writes.items()]


def _results_of(artefact: Path) -> Path:
    """The results folder of what is in its models/final; of anything else, the folder it is in."""
    folder = artefact.absolute().parent
    return folder.parents[1] if folder.parts[-2:] == ("models", "final") else folder


def _with_lists_of(counted: dict[str, Any], every: dict[str, Any]) -> dict[str, Any]:
    """``every`` key, the lists among them as ``counted`` has them."""
    made = dict(every)
    for name in every.keys() & counted.keys():
        if isinstance(every[name], dict):
            made[name] = _with_lists_of(counted[name], every[name])
        elif isinstance(every[name], list):
            made[name] = counted[name]
    return made


def _in_rule(name: str) -> str:
    """The name of a flag in a rule; those that Snakemake keeps for itself get an underscore."""
    return f"{name}_" if name in RESERVED else name


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def load_steps(scripts: Path = ROOT / "scripts") -> dict[str, Step]:
    """The steps of the workflow by name, from the scripts that declare one."""
    steps: dict[str, Step] = {}
    for file in sorted(scripts.glob("*/*.py")):
        if "\nSTEP = Step(" not in file.read_text(encoding="utf-8"):
            continue  # chat.py, trace.py … are for people

        spec = importlib.util.spec_from_file_location(f"snakelm_step_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        steps[module.STEP.name] = module.STEP
    if not steps:
        raise UserError(f"{scripts}: no steps there; is this checkout complete?")
    return steps
