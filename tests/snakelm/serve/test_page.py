"""The page in a browser: a conversation, its stop and its end; what is said in it never becomes
anything but text.
"""

import threading

import pytest

from tests.browser import PHONE

XSS = [
    "<script>alert(1)</script>",
    "</div></main><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)>",
    "<a href=javascript:alert(1) autofocus onfocus=alert(1)>x</a>",
    "<details open ontoggle=alert(1)>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<style>@import 'http://127.0.0.1:1/x';</style>",
    "<link rel=stylesheet href=http://127.0.0.1:1/x>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:1/x'>",
    "<base href=http://127.0.0.1:1/>",
    "<object data=javascript:alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<template><script>alert(1)</script></template>",
    '" onmouseover=alert(1) x="',
    "' autofocus onfocus=alert(1) '",
    "javascript:alert(1)",
    "${alert(1)}{{constructor.constructor('alert(1)')()}}",
    "<!--<img src=x onerror=alert(1)>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    'data: [DONE]\n\ndata: {"choices": []}',
    "\u202e)1(trela\u202c \u2066x\u2069 \u200f\u0000\u001b[31m",
    "</script><script>alert(1)</script>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "🏴\u200d☠️ שלום عالم \ufeff\u2028\u2029",
]


@pytest.fixture
def opened(served, talk, page, seen):
    """`opened()`: the page of a fresh server, ready for a question."""
    servers = []

    def open_page(talk=talk):
        server = served(talk)
        servers.append(server)
        port = server.__enter__().port
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#send:not([disabled])")
        return page

    yield open_page
    for server in servers:
        server.__exit__(None, None, None)


def ask(page, question):
    """Types and sends; waits until the answer is complete."""
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_selector("#send:visible")


def said(page, who="assistant"):
    return [turn.evaluate("e => e.textContent") for turn in page.query_selector_all(f".turn.{who}")]


def test_a_conversation(opened, script, seen):
    script.answers = ["An answer.", "Another."]
    page = opened()
    ask(page, "A question?")
    ask(page, "And then?")
    assert (said(page, "user"), said(page)) == (
        ["A question?", "And then?"],
        ["An answer.", "Another."],
    )
    assert script.prompts[1][0] == (
        "<|endoftext|><|user|>A question?<|end|><|assistant|>An answer.<|end|>"
        "<|user|>And then?<|end|><|assistant|>"
    )
    assert page.input_value("#question") == ""
    assert seen.complaints() == []


def test_an_answer_appears_as_it_is_made_and_can_be_stopped(opened, script):
    script.answers, script.gate = ["abcdefgh", "xy"], threading.Semaphore(3)
    page = opened()
    page.fill("#question", "q")
    page.press("#question", "Enter")
    page.wait_for_selector(".turn.assistant:text-is('abc')")
    page.click("#stop")
    page.wait_for_selector("text=stopped")
    script.gate.release(100)
    ask(page, "r")
    assert said(page) == ["abc", "xy"]
    assert "<|assistant|>abc<|end|><|user|>r" in script.prompts[1][0]


def test_a_new_conversation_forgets_even_in_the_middle(opened, script):
    script.answers, script.gate = ["abcdefgh", "xy"], threading.Semaphore(2)
    page = opened()
    page.fill("#question", "secret")
    page.press("#question", "Enter")
    page.wait_for_selector(".turn.assistant:text-is('ab')")
    page.click("#new")
    assert said(page) == said(page, "user") == []
    script.gate.release(100)
    ask(page, "r")
    assert said(page) == ["xy"]
    assert "secret" not in script.prompts[1][0]


def test_settings_are_the_terminals_until_changed(opened, script):
    script.answers = ["a", "b"]
    page = opened()
    ask(page, "q")
    assert script.prompts[0][1] == 40
    assert (script.prompts[0][2]["temperature"], script.prompts[0][2]["seed"]) == (0.8, 3)
    page.click("summary")
    for name, value in {
        "system": "Be brief.",
        "temperature": "0",
        "top_p": "0.5",
        "max_tokens": "7",
    }.items():
        page.fill(f"#{name}", value)
    ask(page, "r")
    prompt, length, sampling = script.prompts[1]
    assert "<|system|>Be brief.<|end|>" in prompt
    assert (length, sampling["temperature"], sampling["top_p"], sampling["seed"]) == (7, 0, 0.5, 4)


def test_enter_sends_and_shift_enter_begins_a_line(opened, script):
    script.answers = ["a"]
    page = opened()
    page.type("#question", "one")
    page.press("#question", "Shift+Enter")
    page.type("#question", "two")
    page.press("#question", "Enter")
    page.wait_for_selector(".turn.assistant:not(.waiting)")
    assert said(page, "user") == ["one\ntwo"]


def test_nothing_is_not_sent(opened, script):
    page = opened()
    page.fill("#question", "  \n ")
    page.press("#question", "Enter")
    page.click("#send")
    assert said(page, "user") == []
    assert not script.prompts


def test_a_question_that_is_refused_comes_back(opened, script):
    page = opened()
    ask(page, "x" * 600)
    assert "say it in fewer words" in page.inner_text(".note.wrong")
    assert page.input_value("#question") == "x" * 600
    assert said(page, "user") == []


def test_dropped_turns_and_truncated_answers_are_noted(opened, script):
    script.answers = ["a", "b" * 60, "c", "d"]
    page = opened()
    for question in ("x" * 200, "y" * 300, "short", "z" * 300):
        ask(page, question)
    notes = page.inner_text("#log")
    assert notes.count("its first 2 turns were dropped") == 1  # and not again at the third
    assert "its first 4 turns were dropped" in notes
    assert notes.count("cut off") == 1


def test_a_server_that_has_ended_is_noted(served, talk, page, script):
    with served(talk) as server:
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_selector("#send:not([disabled])")
    ask(page, "q")
    assert "can't be reached" in page.inner_text(".note.wrong")
    assert page.input_value("#question") == "q"


def test_a_server_that_ends_in_an_answer_is_noted(served, talk, page, script):
    script.answers, script.gate = ["abcdefgh"], threading.Semaphore(2)
    with served(talk) as server:
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_selector("#send:not([disabled])")
        page.fill("#question", "q")
        page.press("#question", "Enter")
        page.wait_for_selector(".turn.assistant:text-is('ab')")
        server.worker.close()
        script.gate.release(100)
        page.wait_for_selector("text=shutting down")
    assert said(page) in (["ab"], ["abc"])


def test_a_base_models_page_goes_on_with_texts(opened, base, script):
    script.answers = [" upon a time", "."]
    page = opened(base)
    assert "A base model" in page.inner_text("#log")
    ask(page, "Once")
    ask(page, "The end")
    assert said(page) == [" upon a time", "."]
    assert script.prompts[1][0] == "<|endoftext|>The end"


def test_what_is_said_is_never_more_than_text(opened, talk, script, seen):
    talk.max_tokens = 120
    page, shown = opened(), []
    for text in XSS:
        script.answers = [text]
        ask(page, text)
        shown.append((said(page, "user"), said(page)))
        kinds = page.evaluate("[...document.querySelectorAll('#log *')].map(e => e.tagName)")
        assert set(kinds) <= {"DIV", "P"}
        page.click("#new")
    assert shown == [([text], [text]) for text in XSS]
    assert (seen.dialogs, seen.complaints()) == ([], [])
    ours = page.evaluate("location.href")
    assert all(address.startswith((ours, "data:,")) for address in seen.requests)


def test_a_script_that_got_in_would_not_run(opened, seen):
    page = opened()
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.ran = 1';
            const image = document.createElement('img');
            image.src = 'http://127.0.0.1:1/';
            document.body.append(script, image);
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for _, text in seen.console)


def test_a_phone_and_the_dark(opened, script, page):
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    script.answers = ["x" * 38]
    opened()
    ask(page, "y" * 300)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.documentElement.scrollHeight") <= PHONE["height"]
    red, green, blue = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(red, green, blue) < 60
    box = page.query_selector("#send").bounding_box()
    assert box["y"] + box["height"] <= PHONE["height"]
