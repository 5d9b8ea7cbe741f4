"""snakelm.config.yaml_files: files that are no YAML, or YAML that means something else than it
says.
"""

import pytest

from snakelm.config import load_config
from snakelm.config.yaml_files import read_yaml
from snakelm.errors import UserError

WRONG = {
    "a list": ("[1, 2]", "found list, expected `key: value` lines"),
    "an open bracket": ("a: [", "not YAML"),
    "an object of Python": ("!!python/object/apply:os.system ['true']", "not YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not YAML"),
    "a control character": ("a: \x07", "not YAML"),
    "no date": ("results: 2024-13-45", "not YAML"),
    "more digits than Python reads": ("seed: " + "9" * 5000, "not YAML"),
    "nested too deeply": ("[" * 20_000, "nested too deeply"),
    "mappings nested too deeply": ("{a: " * 20_000, "nested too deeply"),
    "an anchor that is not there": ("train: *x", "line 1: not YAML: found undefined alias"),
    "a key twice": (
        "train:\n  lr: 0.1\n  steps: 3\n  lr: 0.2\n",
        "line 4: key lr is written twice, first in line 2",
    ),
    "a section twice": (
        "train: {lr: 0.1}\nseed: 1\ntrain: {steps: 3}\n",
        "line 3: key train is written twice, first in line 1",
    ),
    "a key twice in a list": (
        "sources:\n- path: a\n  path: b\n",
        "line 3: key path is written twice, first in line 2",
    ),
    "a key twice in what is merged": (
        "a: &a\n  x: 1\n  x: 2\nb:\n  <<: *a\n",
        "line 3: key x is written twice, first in line 2",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_cannot_be_read_are_named(tmp_path, case):
    text, said = WRONG[case]
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config([file])
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert said in message
    assert "\n" not in message


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "bad.yaml"
    for data in (b"a: \xff\xfe", "a: 1".encode("utf-16"), b"\x00" * 100):
        file.write_bytes(data)
        with pytest.raises(UserError, match=r"bad\.yaml: not YAML"):
            read_yaml(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: no such config file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)


def test_an_empty_file_is_an_empty_mapping(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    assert read_yaml(file) == {}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    file = tmp_path / "windows.yaml"
    file.write_bytes("seed: 7\r\n".encode("utf-8-sig"))
    assert read_yaml(file) == {"seed": 7}


def test_merged_keys_give_way_to_own_ones_and_to_earlier_merges(tmp_path):
    file = tmp_path / "merge.yaml"
    file.write_text("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\n")
    assert read_yaml(file)["c"] == {"x": 1, "y": 1, "z": 3}


@pytest.mark.parametrize("form", ["{<<: [%s]}", "{<<: {k: [%s]}}", "[%s]"])
def test_aliases_of_aliases_take_no_memory(tmp_path, form):
    file = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {form % ', '.join([f'*a{i - 1}'] * 9)}" for i in range(1, 30)]
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match="unknown key"):
        load_config([file, file])


def test_json_may_be_indented_by_tabs_and_names_a_key_that_is_there_twice(tmp_path):
    file = tmp_path / "my.json"
    file.write_text('{\n\t"seed": 7\n}\n')
    assert read_yaml(file) == {"seed": 7}
    file.write_text('{\n\t"seed": 7,\n\t"seed": 8\n}\n')
    with pytest.raises(UserError, match=r"my\.json: .*seed"):
        read_yaml(file)
