"""The browser's fixtures see what a page does: without that, a test that finds nothing has shown
nothing.
"""

from tests.browser import PHONE


def test_errors_alerts_and_messages_are_seen(page, seen):
    page.set_content(
        "<script>alert(1); console.error('said'); "
        "setTimeout(() => { throw Error('thrown') }, 0)</script>"
    )
    page.wait_for_timeout(100)
    assert seen.dialogs == ["1"]
    assert sorted(seen.complaints()) == ["said", "thrown"]


def test_each_test_has_a_page_of_its_own(page, seen):
    page.set_viewport_size(PHONE)
    page.set_content("<p>nothing</p>")
    assert page.evaluate("innerWidth") == PHONE["width"]
    assert not seen.dialogs
    assert not seen.complaints()
