"""The tables of loss and tasks in a browser: whatever a corpus or a model says runs nothing, and
all fits a phone.
"""

import pytest

from snakelm.analysis.tables.evaluation import write_evaluation
from snakelm.analysis.tables.loss import write_loss
from snakelm.evaluation.loss_record import LossRecord
from snakelm.evaluation.records import EvaluationRecord
from tests.browser import PHONE
from tests.snakelm.analysis.test_loss import SEEDS, complete, tasks

WRITE = {
    "loss": lambda path: write_loss(LossRecord(**complete()), path),
    "tasks": lambda path: write_evaluation(EvaluationRecord(**tasks()), SEEDS, path),
}


@pytest.mark.parametrize("name", WRITE)
def test_texts_run_nothing_and_fit_a_phone(name, tmp_path, page, seen):
    WRITE[name](tmp_path / "a.html")
    page.set_viewport_size(PHONE)
    page.goto((tmp_path / "a.html").as_uri())
    assert page.locator("pre").count() > 5
    assert page.locator("script, img, svg").count() == 0
    assert not seen.dialogs
    assert not seen.complaints()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
