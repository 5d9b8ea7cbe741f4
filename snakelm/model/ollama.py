"""Modelfile: how Ollama imports model.gguf (`ollama create my-model -f Modelfile`).

Ollama knows the templates of some families by sight and takes none for the others, so ours is
written out in its own language, Go's text/template: what `chat_template.render` writes.
"""

from ..tokenizer.special import ASSISTANT, END, EOT
from .generate import usual_temperature

__all__ = ["modelfile"]

# A role's marker has its name, as the chat template's has.
MESSAGE = "<|{{ .Role }}|>{{ .Content }}" + END
CHAT = EOT + "{{ range .Messages }}" + MESSAGE + "{{ end }}" + ASSISTANT
TEXT = "{{ .Prompt }}"


def modelfile(gguf: str, chat: bool, context: int) -> str:
    """Its text, for a file called ``gguf`` beside it; ``context``: tokens that the model sees."""
    template, stop = (CHAT, END) if chat else (TEXT, EOT)
    lines = [
        f"FROM ./{gguf}",
        f'TEMPLATE """{template}"""',
        f'PARAMETER stop "{stop}"',
        f"PARAMETER num_ctx {context}",
        f"PARAMETER temperature {usual_temperature(chat)}",
    ]
    return "\n".join(lines) + "\n"
