"""The chat template under the name that tools outside this repository import."""

from .conversations.chat_template import JINJA, chat_tokens, prompt, render_batch

__all__ = ["JINJA", "chat_tokens", "prompt", "render_batch"]
