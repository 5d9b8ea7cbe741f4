"""What a row's columns and a turn's keys say beside the words: what isn't to be learned, what else
the model would have to know.

Everything has one of these fates:

    a mark of an answer           honoured: the answer stays in the conversation and isn't learned
    a mark of a row               honoured: the row is left out where it says so
    what a conversation here      the row is left out, by a counted reason
      can't hold
    a known detail (METADATA)     passed over
    anything else                 passed over, and counted by name

Names are compared without case and punctuation: trainOnTurn, train-on-turn and train_on_turn are
one. A value that is null or empty, or a list of such, is as good as none: parquet has one for every
field that any of its rows has.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

__all__ = [
    "Meaning",
    "Rejected",
    "check_row",
    "check_turn",
    "is_empty",
    "is_known",
    "is_learned",
    "is_read",
    "meaning",
    "plain",
    "unread",
]

Meaning = Literal["system", "history", "learn", "judge", "mask", "marks", "held", "choice", "known"]


class Rejected(Exception):
    """A row that is not a conversation; the message is the reason it is counted under."""


WITHIN = "marks within an answer"

# What can't be held by a conversation of texts, by the reason that it's counted under.
HELD = {
    "tool calls": """
        tool_calls tool_call tool_call_id function_call function_calls tool_responses tool_response
        tool_results tool_result tool_outputs tool_use tool_uses tool_invocations
    """,
    "tools beside the turns": """
        tools tool_list tool_definitions tool_schemas tool_specs available_tools functions function
        function_definitions function_list apis
    """,
    "reasoning beside the answer": """
        reasoning reasoning_content reasoning_text reasoning_details thinking thinking_content think
        thought thoughts chain_of_thought cot
    """,
    "images, sound or video": """
        image images image_url image_urls image_path image_paths image_file image_files audio audios
        audio_url audio_path audio_paths sound sounds video videos video_url video_path video_paths
        pixel_values attachments
    """,
    WITHIN: "train_detail training_detail train_details training_details",
}
NAMES: dict[Meaning, str] = {
    "system": """
        system system_prompt system_message system_instruction system_instructions sys_prompt
    """,
    "history": "history chat_history conversation_history dialogue_history dialog_history",
    # true or 1: to be learned
    "learn": """
        weight loss_weight sample_weight message_weight turn_weight train training trainable
        is_trainable to_train train_on train_on_turn train_on_this learn learnable to_learn learned
        loss loss_scale loss_mask compute_loss calculate_loss use_loss has_loss in_loss
        include_in_loss include_in_training for_training use_for_training should_train should_learn
        supervise supervised is_supervised is_target requires_grad
    """,
    # false or 0: a bad answer
    "judge": """
        label kto_tag kto_label desirable is_desirable desired accepted is_accepted approved
        is_approved preferred is_preferred is_good is_correct is_valid
    """,
    # true or 1: not to be learned
    "mask": """
        mask masked is_masked mask_out mask_loss ignore ignored ignore_loss no_loss no_train
        no_training dont_train do_not_train dont_learn do_not_learn not_trained untrained skip
        skip_training skip_loss exclude excluded exclude_from_training exclude_from_loss
        context_only omit omitted frozen no_grad deleted is_deleted
    """,
    # of all turns together, in a list
    "marks": """
        weights loss_weights masks loss_masks train_mask train_masks assistant_mask assistant_masks
        turn_mask turn_masks
    """,
    "choice": """
        chosen rejected chosen_response rejected_response rejected_messages preferred_output
        non_preferred_output score_chosen score_rejected
    """,
    "known": """
        id _id ids uid uuid guid idx index number key row row_id line_number prompt_id question_id
        conversation_id conversation_hash conv_id dialog_id dialogue_id chat_id message_id parent_id
        message_tree_id tree_id tree_state session_id thread_id request_id turn_id turn_identifier
        user_id author author_id annotator worker_id hashed_ip header country state ip
        source sources source_id data_source dataset dataset_name dataset_id origin original_source
        url uri link domain subset config title file filename file_name path
        lang language locale category categories subcategory topic topics task task_type task_name
        task_id subject subjects tag tags type kind field skill skills capability ability difficulty
        level complexity quality score scores rating ratings rank reward rewards perplexity ppl
        length len size chars num_chars words num_words tokens num_tokens token_count n_tokens
        num_turns n_turns turns turn
        model model_name model_id model_version generator generated_by llm temperature top_p top_k
        max_tokens seed logprobs finish_reason stop_reason usage parallel_tool_calls tool_choice
        created created_at created_date create_time updated updated_at date time timestamp version
        revision license licence copyright hash md5 sha1 sha256 embedding embeddings
        toxic toxicity redacted moderation openai_moderation detoxify_moderation detoxify
        review_count review_result synthetic emojis labels text annotations prefix
        meta metadata meta_data info extra extras additional_info __index_level_0__ unnamed_0
    """,
}


@lru_cache(4096)
def plain(name: str) -> str:
    """A name without case and punctuation."""
    return "".join(c for c in name.lower() if c.isalnum())


MEANINGS: dict[str, Meaning] = {
    plain(name): kind for kind, names in NAMES.items() for name in names.split()
}
REASONS = {plain(name): reason for reason, names in HELD.items() for name in names.split()}
MEANINGS |= dict.fromkeys(REASONS, "held")

# A key of an answer with a word that begins so is a mark, though by a name that nobody knows.
STEMS = ("train", "learn", "loss", "mask", "weight", "supervis", "ignor", "skip", "exclu")
WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")

YES = {"true", "yes", "y", "on", "t"}
NO = {"false", "no", "n", "off", "f"}
EMPTY = {"", "null", "none", "nan", "n/a"}
DEEPEST = 8  # levels of lists in lists that are looked through for a value


@lru_cache(4096)
def meaning(name: str) -> Meaning | None:
    """What a column or a key of this name is; None for one that nobody knows."""
    return MEANINGS.get(plain(name))


def is_known(name: str) -> bool:
    """Whether a column says only where a row comes from, or the like."""
    return meaning(name) in ("known", "choice")


def is_read(name: str) -> bool:
    """Whether the value of a column of this name decides something."""
    return meaning(name) not in (None, "known")


@lru_cache(4096)
def _is_mark(name: str) -> bool:
    return any(word.lower().startswith(STEMS) for word in WORD.findall(name))


def is_empty(value: Any, depth: int = 0) -> bool:
    """Whether a value says nothing: null, NaN, blank, or a list or an object of nothing else."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().lower() in EMPTY or value.strip() in ("[]", "{}")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return depth < DEEPEST and all(is_empty(one, depth + 1) for one in value)
    return isinstance(value, float) and math.isnan(value)


def is_learned(turn: Mapping[str, Any]) -> bool:
    """Whether a turn of the assistant is to be learned, by all marks it has; `Rejected` where a
    mark is neither yes nor no: half a weight has no place in a mask.
    """
    learned = True
    for name, value in turn.items():
        kind = meaning(name)
        if kind is None and _is_mark(name) and not is_empty(value):
            raise Rejected(f"a mark that nobody knows, {name}")
        if kind not in ("learn", "judge", "mask", "marks") or is_empty(value):
            continue
        if kind == "marks" or (kind != "judge" and isinstance(value, list | dict)):
            raise Rejected(WITHIN)
        if plain(name) == "mask":
            _check_direction(value)

        given = _yes(value)
        if given is None and kind != "judge":  # a label may be anything
            number = _number(value) is not None
            raise Rejected(
                f"{name} neither all nor nothing" if number else f"{name} neither yes nor no"
            )
        learned = learned and (given is None or given is (kind != "mask"))
    return learned


def check_row(row: Mapping[str, Any]) -> None:
    """`Rejected` where a row is marked as not to be learned, or has beside its turns what a
    conversation can't hold.
    """
    for name, value in row.items():
        kind = meaning(name)
        if kind in (None, "known", "system", "history") or is_empty(value):
            continue
        if kind == "held":
            _check_held(name, value)
        elif kind == "marks" or (kind in ("learn", "mask") and isinstance(value, list | dict)):
            raise Rejected("marks of the turns in a list")
        elif _says_no(name, kind, value):
            raise Rejected(f"not to be learned by {name}")


def _check_held(name: str, value: Any) -> None:
    """`Rejected` for a value that a conversation of texts can't hold."""
    given = _yes(value) if isinstance(value, bool | str) else None
    switch = given is False or (given is True and plain(name) in ("reasoning", "thinking"))
    if not switch:  # "reasoning": "off" tells how, not what
        raise Rejected(REASONS[plain(name)])


def check_turn(turn: Mapping[str, Any]) -> None:
    """`Rejected` where a turn has beside its content what a conversation can't hold."""
    for name, value in turn.items():
        if meaning(name) == "held" and not is_empty(value):
            _check_held(name, value)


def unread(values: Mapping[str, Any], read: Collection[str], row: bool = True) -> Iterator[str]:
    """Names in a ``row``, or in a turn, that have a value and that nobody reads or knows; ``read``
    are those that the row's format reads.
    """
    unknown = (None,) if row else (None, "system", "history", "choice")
    for name, value in values.items():
        if name in read or is_empty(value):
            continue
        kind = meaning(name)
        if kind in unknown or (kind in ("learn", "judge", "mask") and _yes(value) is None):
            yield name


def _says_no(name: str, kind: Meaning | None, value: Any) -> bool:
    """Whether a column's mark says that the row isn't to be learned."""
    if kind == "choice":
        return value is (plain(name) == "rejected")  # chosen: false, rejected: true
    if plain(name) == "mask":
        _check_direction(value)

    given = _yes(value)
    if given is None and kind == "learn" and "weight" in plain(name):
        raise Rejected(f"{name} neither all nor nothing")
    return given is (kind == "mask")


def _check_direction(value: Any) -> None:
    """`Rejected` for a mask in numbers: of those that are around, 1 hides in some and shows in
    others.
    """
    if not isinstance(value, bool) and _number(value) is not None:
        raise Rejected("a mask of 0 or 1, which can mean either")


def _yes(value: Any) -> bool | None:
    """A mark as yes or no; None for what is neither."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str) and value.strip().lower() in YES | NO:
        return value.strip().lower() in YES
    number = _number(value)
    return bool(number) if number in (0, 1) else None


def _number(value: Any) -> float | None:
    """A number, also as text or as a decimal of parquet."""
    if isinstance(value, list | tuple | Mapping):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
