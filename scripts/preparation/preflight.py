"""Checks every input file, the free disk, and what filter, checks and a model to go on from need,
before anything is read: footers, columns, rows, nulls.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.config import Config
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step


def _keys(config: Config) -> tuple[str, ...]:
    filtered = ("classifier",) if config.filter != "none" else ()
    told = ("languages",) if config.languages.keep is not None else ("languages.keep",)
    looks = config.personal_data.action != "off"
    personal = ("personal_data",) if looks else ("personal_data.action",)
    keys = ("sources", "on_bad_file", "max_document_mb", "filter")
    return (*keys, *filtered, *told, *personal, "forget", "memorisation.documents", "train.base")


STEP = Step(
    __file__,
    __doc__,
    config=_keys,
    writes={"output": File("JSON file for what was found")},
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.data.documents.forget_list import check_forget, read_hashes
    from snakelm.data.documents.identification import Identifier
    from snakelm.data.documents.personal_data import check_personal_data
    from snakelm.data.reading.preflight import preflight
    from snakelm.data.tokens.base_tokenizer import check_base
    from snakelm.files import write_json
    from snakelm.filter.base import check_filter
    from snakelm.user_paths import expand

    output = run.files.output
    facts = preflight(run.config, output.absolute().parent, run.log)

    check_forget(run.config.forget, expand)
    if asked := run.config.memorisation.documents:
        key = "memorisation.documents"
        read_hashes(expand(asked, key), key)
    if run.config.train.base and run.config.forget.of_documents:
        run.log.warn(
            "forget: takes documents out of this run's text; what the model of train.base was "
            "trained on stays in it"
        )
    if run.config.filter != "none":
        facts["filter"] = check_filter(run.config.classifier)
    if run.config.train.base:
        facts["base"] = check_base(run.config.train.base, run.log)
    if run.config.personal_data.action != "off":
        check_personal_data(run.config.personal_data)
    if run.config.languages.keep is not None:
        Identifier(run.config.languages)  # its package, and that it knows the languages to keep
    write_json(output, facts)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
