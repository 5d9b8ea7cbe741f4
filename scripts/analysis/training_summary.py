"""Writes the public summary of training content that European law asks of published models, from
the run's manifests; what only a person knows is left as a marked blank.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("sources", "sft_data", "sft.base", "preferences.sources", "publish"),
    shows=("sources", "sft_data", "preferences"),  # their licences and kinds
    reads={"model": File("final_model.pt or sft_model.pt")},
    beside={
        "artefacts": File(
            "files of the run that it tells of", many=True, optional=True, verified=False
        )
    },
    writes={"output": File("Markdown file to write")},
    published=True,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.training_summary import BLANK, training_summary
    from snakelm.files import write_text

    files = run.files
    artefacts = list(dict.fromkeys([*files.artefacts, files.model]))
    text = training_summary(run.config, artefacts)
    write_text(files.output, text)
    # The first is in the sentence that explains the mark.
    run.log.say(f"{files.output}: {text.count(BLANK) - 1} blanks are left for a person: {BLANK}")


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
