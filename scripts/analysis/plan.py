"""Plans a run: from its documents, plan.hours and this machine, which `size` to train and for how
many steps, with the bits per byte that recorded runs let one expect.

Tries a few training steps of each of plan.sizes; takes seconds to a minute or two.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from snakelm.training.launch import restart_with_environment
from snakelm.workflow.exit_codes import exit_code
from snakelm.workflow.step import File, Run, Step

STEP = Step(
    __file__,
    __doc__,
    config=(
        *("seed", "plan", "prepare.val_fraction", "tokenizer.pattern"),
        *("sources[].name", "sources[].weight"),
    ),
    shows=("plan",),  # evaluations and processes take time, though they change no model
    reads={"documents": File("documents that the run will be trained on")},
    writes={"output": File("plan.json")},
    threads="at most this many",
    default_threads=None,
)


@STEP
def main(run: Run) -> None:
    run.log.say("loading torch")

    from snakelm.evaluation.planner import chosen_lines, make_size_plan, table
    from snakelm.files import write_json

    record = make_size_plan(run.config, run.files.documents, run.log, run.most_threads)
    write_json(run.files.output, record.as_json())
    for line in table(record):
        run.log.say(line)
    run.log.say("to train the chosen one, put into your configuration:")
    for line in chosen_lines(record):
        run.log.say(line)


if __name__ == "__main__":
    restart_with_environment(sys.argv)
    raise SystemExit(exit_code(main))
