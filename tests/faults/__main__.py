"""Runs fault campaigns and prints what they come to: `python -m tests.faults [--whole] [NAME …]`.

Without --whole each tries the sample that CI tries.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from tests.faults.campaigns import CAMPAIGNS, trials
from tests.faults.table import try_all


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("names", nargs="*", choices=[[], *CAMPAIGNS], metavar="NAME")
    flags.add_argument("--whole", action="store_true", help="all trials: minutes")
    flags.add_argument("--each", action="store_true", help="a line for each trial, as it ends")
    given = flags.parse_args()

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        asked = given.names or list(CAMPAIGNS)
        every = (
            trial for name in asked for trial in trials(name, Path(folder, name), whole=given.whole)
        )
        table = try_all(every, partial(print, flush=True) if given.each else lambda _: None)
    print(table)
    for line in table.short:
        print(line)
    return 1 if table.short else 0


if __name__ == "__main__":
    raise SystemExit(main())
