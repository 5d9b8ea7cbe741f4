"""What the planner compares: for each of plan.sizes the run that the configuration would be with
it, but for its length, which the budget decides.

They are part of the checked configuration, because only here is it known which keys are the user's
own. Neither `size` nor `train.steps` is in them, so that writing down what a plan found leaves the
plan as it is.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .checks import checked
from .dial import dialled
from .messages import read_section
from .planning_sections import Candidate
from .schema import Config

__all__ = ["with_candidates"]


def with_candidates(values: Mapping[str, Any], config: Config) -> Config:
    """``config``, which the user's ``values`` make, with plan.candidates where there is a budget;
    UserError for a plan that can't be made.
    """
    plan = config.plan
    if plan.hours is None or plan.candidates:  # a settings file of an earlier run has them
        return config

    if not plan.sizes:
        raise UserError("plan.sizes: empty; name at least one size, such as [2, 3, 4]")
    if config.tokenizer.kind != "bpe":
        raise UserError(
            f"plan.hours: a plan is for a vocabulary that is trained, and tokenizer.kind is "
            f"{config.tokenizer.kind}; leave one of them out"
        )
    sizes = sorted(set(plan.sizes))
    candidates = [_candidate(values, size) for size in sizes]
    return config.model_copy(update={"plan": plan.model_copy(update={"candidates": candidates})})


def _candidate(values: Mapping[str, Any], size: int) -> Candidate:
    train = {key: value for key, value in (values.get("train") or {}).items() if key != "steps"}
    own = {key: value for key, value in values.items() if key not in ("plan", "sweep")}
    try:
        sized = dialled({**own, "train": train, "size": size})
        config = checked(read_section(Config, sized))
    except UserError as error:
        raise UserError(f"plan.sizes: with {size}: {error}") from None

    words = config.tokenizer.vocab_size
    return Candidate(size=size, vocab_size=words, model=config.model, train=config.train)
