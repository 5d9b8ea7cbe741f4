"""The training-content summary says what the manifests and the configuration say, and marks the
rest as blank.
"""

import pytest

from snakelm.analysis.training_summary import BLANK, training_summary
from snakelm.config import from_mapping

CONFIG = {
    "sources": [
        {"name": "notes", "path": "my/*.parquet", "licence": "CC BY 4.0", "kind": "licensed"},
        {"name": "web", "path": "/home/anna/web.jsonl"},
        {"name": "wiki", "url": "https://a:b@example.org/wiki.jsonl", "sha256": "0" * 64,
         "kind": "public"},
        {"builtin": "synthetic"},
    ],
    "sft_data": {"sources": [{"path": "talks.jsonl", "kind": "user"}, {"builtin": "docs"}]},
}  # fmt: skip


@pytest.fixture
def artefacts(manifest):
    kept = {"notes": 10, "web": 20, "wiki": 30, "synthetic": 40}
    sources = {
        name: {"kept": n, "kept_bytes": n * 1000, "dropped": {"named": 2}}
        for name, n in kept.items()
    }
    earlier = {name: {"kept": 9999} for name in kept}
    return [
        *(manifest(f"sampled/{name}.parquet", "sample_data", inputs=[{}]) for name in kept),
        manifest("deduplicated/documents.parquet", "deduplicate", sources=earlier),
        manifest("not_forgotten/documents.parquet", "forget", sources=sources),
        manifest("train.bin", "prepare_data",
                 train={"documents": 90, "tokens": 99_000, "text_bytes": 400_000}),
        manifest("train_sft_packed.bin", "prepare_sft_data", train={"tokens": 1000},
                 sources=[{"name": "talks.jsonl", "kept": 77}, {"name": "docs", "kept": 88}]),
        manifest("final_model.pt", "train"),
    ]  # fmt: skip


def parts(text):
    """Heading's number → what stands below it."""
    found, name = {}, ""
    for line in text.splitlines():
        if line.startswith("#"):
            name = line.lstrip("# ").split(" ")[0]
        found[name] = found.get(name, "") + line + "\n"
    return found


def test_each_source_stands_in_the_section_of_its_kind(artefacts):
    summary = parts(training_summary(from_mapping(CONFIG), artefacts))
    assert "| notes | 1 local file | 10 documents, 10.0 kB | CC BY 4.0 |" in (summary["2.2.1"])
    assert "https://example.org/wiki.jsonl | 30 documents" in summary["2.1"]
    assert "a:b" not in str(summary)
    assert "| conversations of talks.jsonl | conversations | 77 conv" in summary["2.4"]
    assert f"Services and interactions that it is from: {BLANK}" in summary["2.4"]
    assert "no AI model took part" in summary["2.6"]
    assert "88 conversations" in summary["2.6"]


def test_documents_that_a_weight_repeats_are_told_apart(artefacts, manifest):
    said = training_summary(from_mapping(CONFIG), artefacts)
    assert "400.0 kB of text before tuning)" in said
    train = {"documents": 90, "different": 60, "tokens": 99_000, "text_bytes": 400_000}
    bins = manifest("train.bin", "prepare_data", train=train)
    again = [*(one for one in artefacts if one.name != "train.bin"), bins]
    said = training_summary(from_mapping(CONFIG), again)
    assert "400.0 kB of text before tuning, where 30 documents are repeats of others)" in said


def test_a_source_that_nobody_assigned_leaves_blanks_and_no_section_says_none(artefacts):
    summary = parts(training_summary(from_mapping(CONFIG), artefacts))
    assert f"| web | 1 local file | 20 documents, 20.0 kB | {BLANK} licence" in (summary["Sources"])
    assert "/home/anna" not in str(summary)
    for number in ("2.2.2", "2.3", "2.5"):
        assert f"{BLANK} none is assigned to this section yet" in summary[number]


def test_where_every_source_is_assigned_the_other_sections_say_none(artefacts):
    sources = [{**one, "kind": one.get("kind", "other")} for one in CONFIG["sources"]]
    summary = parts(training_summary(from_mapping(CONFIG | {"sources": sources}), artefacts))
    assert "Sources" not in summary
    for number in ("2.2.2", "2.3", "2.5"):
        assert "None." in summary[number]
        assert BLANK not in summary[number]


def test_size_dates_and_processing_are_those_of_the_manifests(artefacts, manifest):
    found = {"notes": {"found": {"email": 3}}, "web": {"found": {"email": 4, "iban": 1}}}
    masked = manifest(
        "personal_data/documents.parquet", "personal_data", action="mask", sources=found
    )
    plain = parts(training_summary(from_mapping(CONFIG), artefacts))
    assert (
        "less than 1 billion tokens (100,000 tokens of its own tokenizer, 400.0 kB"
        in (plain["1.3"])
    )
    assert (
        "read its sources last on 2026-01-01; when the provider acquired them: " + BLANK
        in (plain["1.3"])
    )
    assert "requests, rules, near copies): 8\n" in plain["3.2"]
    assert "account numbers): not looked for" in plain["3.2"]

    summary = parts(training_summary(from_mapping(CONFIG), [*artefacts, masked]))
    assert "account numbers): mask; places found: email 7, iban 1" in summary["3.2"]


def test_what_only_a_person_knows_is_blank(artefacts):
    text = training_summary(from_mapping(CONFIG), artefacts)
    summary = parts(text)
    for number, count in (("1.1", 2), ("1.2", 2), ("3.1", 2)):
        assert summary[number].count(BLANK) == count, summary[number]
    assert "its weights were trained from the beginning" in summary["1.2"]

    named = from_mapping(CONFIG | {"publish": {"name": "Otter 1", "languages": ["it", "en"]}})
    filled = parts(training_summary(named, artefacts))
    assert "Name and version: Otter 1" in filled["1.2"]
    assert "Languages: it, en" in filled["1.3"]
    assert training_summary(named, artefacts).count(BLANK) == text.count(BLANK) - 2


def test_a_model_that_it_was_made_of_is_named(artefacts, manifest):
    started = manifest("other/final_model.pt", "train", base={"name": "Qwen3", "sha256": "cd" * 32})
    summary = parts(training_summary(from_mapping(CONFIG), [*artefacts[:-1], started]))
    assert (
        f"Models that it was made of: Qwen3 (SHA-256 of its weights {'cd' * 32})"
        in (summary["1.2"])
    )
    assert f"its own summary: {BLANK} link" in summary["1.2"]


@pytest.mark.parametrize("mix", [0.0, 0.4], ids=["conversations", "with_text"])
def test_a_model_that_tuning_began_with_is_named_and_not_the_text_that_it_never_read(
    artefacts, manifest, mix
):
    tuned = manifest(
        "sft_model.pt",
        "train_sft",
        config={"sft": {"base": "models/Qwen3", "mix": mix}},
        inputs=[{"path": "a/model.safetensors", "sha256": "cd" * 32}],
    )
    text = training_summary(from_mapping(CONFIG), [*artefacts, tuned])
    summary = parts(text)
    assert f"made of: models/Qwen3 (SHA-256 of its weights {'cd' * 32})" in summary["1.2"]
    both = parts(training_summary(from_mapping(CONFIG), artefacts))
    assert (summary["1.3"] == both["1.3"]) is (mix > 0), "its tokens"
    assert (text.count("documents, ") > 0) is (mix > 0)
    assert "conversations of" in text


def test_a_run_without_manifests_is_all_blanks_and_no_error():
    assert training_summary(from_mapping(CONFIG), []).count(BLANK) > 10
