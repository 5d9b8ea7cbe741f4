"""Order over the cores: what takes longest begins first, so that no core waits at the end."""


def pytest_collection_modifyitems(items):
    """The whole-workflow tests, then the trainer's, then all others as they were."""
    items.sort(key=lambda item: next((i for i, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))


FIRST = ("tests/workflow/", "tests/scripts/training/")
