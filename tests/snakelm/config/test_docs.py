"""snakelm.config.docs: what is generated from the schema is up to date and says what it says."""

import json

import yaml

from snakelm.config import docs, every_key


def test_generated_files_are_up_to_date():
    remedy = "run `python -m snakelm.config.docs`"
    assert (docs.ROOT / "docs/TRAINING_CONFIG.md").read_text() == docs.markdown(), remedy
    assert json.loads((docs.ROOT / "config/schema.json").read_text()) == docs.json_schema(), remedy


def test_default_config_file_names_nothing_that_a_preset_sets():
    values = yaml.safe_load((docs.ROOT / "config/config.yaml").read_text())
    assert values == {"preset": "default"}


def test_every_key_has_a_row_with_its_reason():
    tables = docs.markdown().partition("## Presets")[0].split("\n## ")
    rows = {table.partition("\n")[0].strip("`"): table for table in tables}
    for key in every_key():
        section, _, name = key.rpartition(".")
        row = next(
            line
            for line in rows[section or "Top level"].splitlines()
            if line.startswith(f"| `{name}`")
        )
        assert len(row.split(" | ")) == 4
        assert row.split(" | ")[-1].strip("| ")


def test_the_json_schema_says_what_an_editor_shows():
    schema = docs.json_schema()
    steps = schema["$defs"]["Train"]["properties"]["steps"]
    assert steps["description"] == "optimizer steps (steps)"
    assert (steps["type"], steps["minimum"], steps["default"]) == ("integer", 1, 1800)
    assert schema["properties"]["train"] == {"$ref": "#/$defs/Train"}
    assert (
        schema["additionalProperties"] is schema["$defs"]["Train"]["additionalProperties"] is False
    )
    assert "sdpa" in schema["$defs"]["Train"]["properties"]["attention"]["enum"]
