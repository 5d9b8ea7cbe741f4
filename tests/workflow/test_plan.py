"""A plan, its run, and the page that sets them side by side, by the command line.

python -m pytest -m long tests/workflow/test_plan.py     two minutes
"""

import json

import pytest

OWN = """\
export: base
sources: [{builtin: synthetic, limit: 300}]
plan: {hours: 1.0, sizes: [1]}
"""
PAGE = "results/tables/plan.html"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_run_by_its_plan_is_set_beside_it_and_another_plan_is_drawn_alone(checkout):
    checkout.write("my.yaml", OWN)
    done = checkout.snakemake("plan", "--configfile", "my.yaml")
    assert done.code == 0, done.said
    path = checkout.root / "results/plan.json"
    plan = json.loads(path.read_text())
    (size,) = plan["sizes"]
    lines = ["size: 1", f"train: {{steps: {size['steps']}}}"]
    assert all(line in done.said for line in lines)

    checkout.write("planned.yaml", "\n".join(lines))
    given = (PAGE, "--configfile", "my.yaml", "planned.yaml")
    done = checkout.snakemake(*given, timeout=900)
    assert done.code == 0, done.said
    assert f"predicted {size['bpb']['value']:.4f}" in done.said
    assert "Nothing to be done" in checkout.snakemake("-n", *given).said

    # A plan of other hours that comes to the same run: it reads the text as often as it's worth.
    checkout.write("more.yaml", "plan: {hours: 2.0}")
    assert checkout.snakemake("plan", *given[1:], "more.yaml").code == 0
    assert json.loads(path.read_text())["sizes"][0]["steps"] == size["steps"]
    assert checkout.snakemake("-n", *given, "more.yaml").jobs() == {"plot_plan"}
    done = checkout.snakemake(*given, "more.yaml")
    assert done.code == 0, done.said
    assert "For 2.0 hours" in (checkout.root / PAGE).read_text(encoding="utf-8")
