"""Sets what was planned beside what the run came to (HTML)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=("size", "train.steps"),
    reads={"model": File("final_model.pt, whose manifest is read", verified=False)},
    beside={"plan": File("plan.json that the run follows")},
    writes={"output": File("HTML file to write")},
    manifest=False,
)


@STEP
def main(run: Run) -> None:
    from snakelm.analysis.tables.plan import sentences, write_plan
    from snakelm.evaluation.plan_record import read_plan
    from snakelm.workflow.manifest import read_manifest

    files = run.files
    plan, result = read_plan(files.plan), read_manifest(files.model)["counts"]["result"]
    write_plan(plan, result, files.output)
    for sentence in sentences(plan, result):
        run.log.say(sentence)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
