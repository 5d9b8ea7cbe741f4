"""Names of columns and of turns' keys, and what each means: what people's files, and the tools they
are made for, call a mark, a system prompt, a tool.

Names are compared without case and punctuation: trainOnTurn, train-on-turn and train_on_turn are
one.
"""

import re
from functools import lru_cache
from typing import Literal

__all__ = [
    "ONLY_BOOLEAN",
    "REASONS",
    "WITHIN",
    "Meaning",
    "is_known",
    "is_mark",
    "is_read",
    "meaning",
    "meant",
    "plain",
]

Meaning = Literal["system", "history", "learn", "judge", "mask", "marks", "held", "choice", "known"]

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
        keep use include included good correct valid
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
        review_count review_result synthetic emojis labels text annotations
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

# Judgements that may as well be a choice's number or a word.
ONLY_BOOLEAN = {"keep", "use", "include", "included", "good", "correct", "valid"}


@lru_cache(4096)
def meaning(name: str) -> Meaning | None:
    """What a column or a key of this name is; None for one that nobody knows."""
    return MEANINGS.get(plain(name))


@lru_cache(1024)
def meant(
    names: tuple[str, ...], kinds: tuple[Meaning | None, ...]
) -> list[tuple[str, Meaning | None]]:
    """Those of the names that mean one of these ``kinds``, each with its own; rows of a file mostly
    have the same names.
    """
    found = ((name, meaning(name)) for name in names)
    return [(name, kind) for name, kind in found if kind in kinds]


def is_known(name: str) -> bool:
    """Whether a column says only where a row comes from, or the like."""
    return meaning(name) in ("known", "choice")


def is_read(name: str) -> bool:
    """Whether the value of a column of this name decides something."""
    return meaning(name) not in (None, "known")


@lru_cache(4096)
def is_mark(name: str) -> bool:
    """Whether a key that nobody knows is a mark of some kind, by its name."""
    return any(word.lower().startswith(STEMS) for word in WORD.findall(name))
