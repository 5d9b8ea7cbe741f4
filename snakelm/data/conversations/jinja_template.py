"""The chat template in Jinja, for tokenizer_config.json and GGUF: `chat_template.render` and
`chat_template.prompt` as transformers and others do them.

Around what `render` says is to be learned are transformers' marks. Contents are text or lists of
text parts, as formats.text_of reads them. What the model has never seen raises, instead of becoming
something close to it. One thing is different: a marker's name inside a content becomes the marker.

The markers are put together from pieces because llama.cpp's simple reader goes by the names it
finds: of `<|assistant|>` beside `<|end|>` it makes another model's format, with line breaks.
"""

import re

from ...tokenizer.special import ASSISTANT, END, EOT

__all__ = ["JINJA", "PLAIN_JINJA", "UNMARKED_JINJA"]

SOURCE = """
{% macro text(content) %}
{% if content is string %}{{ content }}
{% elif content is not defined or content is none or content is mapping
    or content is not iterable %}{{ raise_exception('a content that is no text') }}
{% else %}{% for part in content %}
{% if part is string %}{{ part }}
{% elif part is mapping and 'text' in part
    and (part['type'] is not defined or part['type'] is none or part['type'] == 'text') %}
{{ text(part['text']) }}
{% else %}{{ raise_exception('a part of a content that is no text') }}
{% endif %}{% endfor %}{% endif %}{% endmacro %}

{% if tools or documents %}
{{ raise_exception('tools or documents: this model knows neither') }}{% endif %}
{{ 'EOT' }}
{% for message in messages %}
{% set role = 'system' if message['role'] == 'developer' else message['role'] %}
{% if role not in ['system', 'user', 'assistant'] %}
{{ raise_exception('role ' ~ role ~ ': unknown; known are system, user and assistant') }}{% endif %}
{% if message['tool_calls'] or message['function_call'] %}
{{ raise_exception('tool calls: this model knows none') }}{% endif %}
{{ '<|' ~ role ~ '|>' }}
{% if role == 'assistant' %}
{% generation %}{{ text(message['content']) }}{{ 'END' }}{% endgeneration %}
{% else %}{{ text(message['content']) }}{{ 'END' }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|' ~ 'assistant' ~ '|>' }}{% endif %}
"""

# On one line: line breaks between tags would be said.
JINJA = re.sub(r"\n *(?=\w)", " ", SOURCE).replace("\n", "").replace("EOT", EOT).replace("END", END)

# Without the marks, which only transformers reads; llama-cpp-python refuses a template with them.
PLAIN_JINJA = JINJA.replace("{% generation %}", "").replace("{% endgeneration %}", "")

# What exports had before there were marks; folders with it are around.
UNMARKED_JINJA = (
    f"{{{{ '{EOT}' }}}}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '"
    + END
    + "' }}{% endfor %}{% if add_generation_prompt %}{{ '"
    + ASSISTANT
    + "' }}{% endif %}"
)
