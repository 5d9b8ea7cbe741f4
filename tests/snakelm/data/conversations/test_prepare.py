"""Conversations to packs: nothing stands on both sides, nothing twice, nothing cut but what was
configured.
"""

import functools
import json
import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snakelm.config import from_mapping
from snakelm.data.bins import idx_path
from snakelm.data.conversations import prepare as prepare_sft_module
from snakelm.data.conversations.chat_template import render
from snakelm.data.conversations.prepare import prepare_sft, shortened
from snakelm.data.conversations.token_store import conversation_bytes, conversation_id
from snakelm.data.documents.forget_list import text_hash
from snakelm.data.documents.shingles import comparable
from snakelm.data.packs import open_packs
from snakelm.errors import UserError
from snakelm.log import Log
from snakelm.tokenizer import CHAT, EOT, Tokenizer, train_bpe
from snakelm.workflow.settings import settings_file
from snakelm.workflow.step import load_steps


@functools.cache
def tokenizer() -> Tokenizer:
    return train_bpe(
        ["What is seven? Seven is a number, and a number is what it is."] * 20,
        280,
        special_tokens=(EOT, *CHAT),
    )


def talk(question, answer="It is what it is.", *more):
    turns = [question, answer, *more]
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]


TALKS = [
    talk(f"What is {i}?", f"{i} is a number" + " and so on" * (i % 5) + ".") for i in range(120)
]


def write(path, talks):
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in talks))
    return str(path)


def prepare(folder, sources, threads=1, **more):
    """(the packs by split, the counts)."""
    forget = more.pop("forget", {})
    config = from_mapping(
        {"sft_data": {"sources": sources, "context": 64, **more}, "forget": forget}
    )
    with Log("prepare_sft_data", folder / "log", quiet=True) as log:
        paths, counts = prepare_sft(config, tokenizer(), folder / "out", threads=threads, log=log)
    return {split: open_packs(path, tokenizer().sha256) for split, path in paths.items()}, counts


def talks_in(packs) -> list[str]:
    """Every conversation of a file as text."""
    places = packs.document_offsets
    return [tokenizer().decode(packs.tokens[a:b]) for a, b in pairwise(places)]


def text(messages) -> str:
    return tokenizer().decode(render(messages, tokenizer())[0])


def test_a_column_that_no_row_has_is_an_error_though_the_usual_one_is_there(tmp_path):
    rows = [{"question": f"{i}?", "better": f"Really {i}?", "answer": "."} for i in range(9)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"columns\.question: found 'beter'.*mean better\?"):
        prepare(tmp_path, [{"path": str(path), "columns": {"question": "beter"}}])


def test_every_conversation_stands_once_on_one_side(tmp_path):
    packs, counts = prepare(
        tmp_path, [{"path": write(tmp_path / "a.jsonl", TALKS)}], val_fraction=0.2
    )
    train, val = (talks_in(packs[split]) for split in ("train", "val"))
    assert sorted(train + val) == sorted(map(text, TALKS))
    assert 5 <= len(val) <= 50
    assert counts["train"]["conversations"] == len(train) == packs["train"].meta.documents
    assert counts["train"]["learned_tokens"] == int(packs["train"].mask.sum())
    assert counts["train"]["efficiency"] == pytest.approx(packs["train"].efficiency, abs=1e-5)
    said = sum(len(m["content"].encode()) for messages in TALKS for m in messages)
    assert packs["train"].meta.text_bytes + packs["val"].meta.text_bytes == said


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            *[
                st.text(
                    # Text that is mostly NULs is refused.
                    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
                    min_size=1,
                    max_size=12,
                ).filter(str.strip)
            ]
            * 2
        ),
        min_size=2,
        max_size=20,
        unique_by=lambda pair: " ".join(pair[0].casefold().split()),
    )
)
def test_what_is_learned_is_what_the_assistant_said(tmp_path, pairs):
    packs, _ = prepare(
        tmp_path,
        [{"path": write(tmp_path / "a.jsonl", [talk(*pair) for pair in pairs])}],
        context=256,
    )
    learned = [
        tokenizer().decode(p.tokens[a:b][p.mask[a:b]])
        for p in packs.values()
        for a, b in pairwise(p.document_offsets)
    ]
    assert sorted(learned) == sorted(answer + "<|end|>" for _, answer in pairs)


def test_the_same_question_never_stands_on_both_sides(tmp_path):
    twice = [
        talk(question, f"Answer {n}.")
        for i in range(40)
        for n, question in enumerate((f"Hm’s {i}?", f" hm's\u00a0 {i} "))
    ]
    packs, counts = prepare(
        tmp_path, [{"path": write(tmp_path / "a.jsonl", twice)}], val_fraction=0.3
    )
    questions = {
        split: {
            comparable(t.split("<|user|>")[1].split("<|end|>")[0]) for t in talks_in(packs[split])
        }
        for split in packs
    }
    assert not questions["train"] & questions["val"]
    assert sum(counts[split]["conversations"] for split in packs) == 80


def learned_in(packs) -> list[str]:
    """What is learned of every conversation."""
    places = pairwise(packs.document_offsets)
    return [tokenizer().decode(packs.tokens[a:b][packs.mask[a:b]]) for a, b in places]


def test_answers_that_are_marked_are_in_the_packs_but_not_learned(tmp_path):
    talks = [
        [*talk(f"What is {i}?", f"Wrong {i}."), *talk("Is it?", f"Right {i}.")] for i in range(60)
    ]
    for i, messages in enumerate(talks):
        messages[1]["weight"] = 0.0 if i % 2 else None
    packs, counts = prepare(tmp_path, [{"path": write(tmp_path / "a.jsonl", talks)}])
    assert sorted(t for p in packs.values() for t in talks_in(p)) == sorted(map(text, talks))
    assert sorted(t for p in packs.values() for t in learned_in(p)) == sorted(
        f"Right {i}.<|end|>" if i % 2 else f"Wrong {i}.<|end|>Right {i}.<|end|>" for i in range(60)
    )
    assert counts["sources"][0]["answers_only_read"] == 30
    assert "(nothing left out; 30 answers read but not learned)" in (tmp_path / "log").read_text()


def test_one_conversation_with_two_marks_is_two(tmp_path):
    """Each row says what is learned of it, wherever the other one stands."""
    once = [*talk("What is 1?", "Wrong."), *talk("Is it?", "Right.")]
    marked = [once[0], {**once[1], "weight": 0}, *once[2:]]
    learned = []
    for order in ([once, marked], [marked, once]):
        path = write(tmp_path / "a.jsonl", [*order, *order, *TALKS[:9]])
        packs, counts = prepare(tmp_path, [{"path": path}])
        assert counts["sources"][0]["duplicates"] == 2
        learned.append(sorted(t for p in packs.values() for t in learned_in(p)))
    assert learned[0] == learned[1]
    assert {"Right.<|end|>", "Wrong.<|end|>Right.<|end|>"} < set(learned[0])


def test_what_is_left_of_a_long_conversation_has_something_to_learn(tmp_path):
    marked = [*LONG[:-1], {**LONG[-1], "learned": False}]
    sizes = [render(LONG[first:], tokenizer())[0].size for first in (0, 2, 4)]
    assert shortened(marked, sizes[1], tokenizer()) == marked[2:]
    assert shortened(LONG, sizes[2], tokenizer()) == LONG[4:]
    assert shortened(marked, sizes[2], tokenizer()) is None


def test_what_nobody_reads_is_in_the_log_and_in_the_manifest(tmp_path):
    rows = [{"messages": messages, "mood": "dry"} for messages in TALKS]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(tmp_path / "a.jsonl")}
    _, counts = prepare(tmp_path, [source])
    assert counts["sources"][0]["reading"]["unread"] == {"mood": 120}
    log = (tmp_path / "log").read_text()
    assert log.count("not read, as no format has it: mood (120 rows)") == 1
    (tmp_path / "again").mkdir()
    _, counts = prepare(tmp_path / "again", [{**source, "ignore": ["mood"]}])
    assert counts["sources"][0]["reading"]["unread"] == {}
    assert "not read" not in (tmp_path / "again/log").read_text()


def test_duplicates_are_dropped_and_counted_over_all_sources(tmp_path):
    a, b = (
        write(tmp_path / "a.jsonl", TALKS[:20] + TALKS[:5]),
        write(tmp_path / "b.jsonl", TALKS[10:40]),
    )
    packs, counts = prepare(tmp_path, [{"path": a}, {"path": b}])
    assert sorted(t for p in packs.values() for t in talks_in(p)) == sorted(map(text, TALKS[:40]))
    assert [(s["duplicates"], s["kept"]) for s in counts["sources"]] == [(5, 20), (10, 20)]


def test_the_bytes_do_not_depend_on_the_order_of_rows(tmp_path):
    shuffled = TALKS.copy()
    random.Random(0).shuffle(shuffled)
    files = []
    for name, talks in (("one", TALKS), ("two", shuffled)):
        (tmp_path / name).mkdir()
        (tmp_path / "a.jsonl").unlink(missing_ok=True)
        packs, _ = prepare(tmp_path / name, [{"path": write(tmp_path / "a.jsonl", talks)}])
        files.append([f.read_bytes() for p in packs.values() for f in (p.path, idx_path(p.path))])
    assert files[0] == files[1]


def test_limit_takes_so_many_by_hash_and_weight_repeats_them(tmp_path):
    path = write(tmp_path / "a.jsonl", TALKS)
    packs, counts = prepare(tmp_path, [{"path": path, "limit": 30, "weight": 2.5}])
    assert counts["sources"][0]["over_limit"] == 90
    train, val = (talks_in(packs[split]) for split in ("train", "val"))
    assert len(set(train)) + len(val) == 30
    assert len(set(val)) == len(val)
    assert {train.count(t) for t in train} == {2, 3}
    assert (counts["train"]["conversations"], counts["train"]["different"]) == (
        len(train),
        len(set(train)),
    )


LONG = talk(
    "What is seven?", "A number.", "And what is it? " * 3, "It is what it is.", "Hm? " * 5, "Seven."
)


def test_too_long_is_dropped_and_counted(tmp_path):
    packs, counts = prepare(tmp_path, [{"path": write(tmp_path / "a.jsonl", [*TALKS, LONG])}])
    assert counts["sources"][0]["too_long"] == 1
    assert text(LONG) not in talks_in(packs["train"]) + talks_in(packs["val"])


def test_too_long_may_lose_its_oldest_turns(tmp_path):
    endless = talk("What is seven?", "a number " * 60)
    path = write(tmp_path / "a.jsonl", [*TALKS, LONG, endless])
    packs, counts = prepare(tmp_path, [{"path": path}], too_long="truncate")
    assert (counts["sources"][0]["truncated"], counts["sources"][0]["too_long"]) == (1, 1)
    found = talks_in(packs["train"]) + talks_in(packs["val"])
    assert text(shortened(LONG, 64, tokenizer())) in found
    assert len(found) == len(TALKS) + 1


@pytest.mark.parametrize(
    "head", [[], [{"role": "system", "content": "Be brief."}]], ids=["", "system"]
)
def test_shortening_takes_the_oldest_pairs_and_no_more(head):
    sizes = [render(head + LONG[first:], tokenizer())[0].size for first in (0, 2, 4)]
    for first, size in zip((0, 2, 4), sizes, strict=True):
        assert shortened(head + LONG, size, tokenizer()) == head + LONG[first:]
    assert shortened(head + LONG, sizes[-1] - 1, tokenizer()) is None


NOTHING = {
    "all rejected": (
        [[{"role": "narrator", "content": "Once."}], talk("x", "")],
        r"no conversation left to learn from; .*a.jsonl: 2 rows → 0 conversations "
        r"\(unknown role 1, empty turn 1",
    ),
    "all too long": ([talk("a", "b " * 200)], r"longer than the context 1"),
    "one question": (
        [talk("a", "b"), talk("A ", "c")],
        "2 conversations, but all begin with the same question",
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_learn_from_is_an_error_with_counts(tmp_path, name):
    talks, message = NOTHING[name]
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, [{"path": write(tmp_path / "a.jsonl", talks)}])
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_leave_nothing_are_an_error(tmp_path):
    with pytest.raises(UserError, match="no conversation is left to train on; raise the weights"):
        prepare(tmp_path, [{"path": write(tmp_path / "a.jsonl", TALKS[:3]), "weight": 1e-9}])


def test_context_is_that_of_the_model_unless_it_is_said():
    assert from_mapping({"model": {"context": 128}}).sft_data.context == 128
    assert (
        from_mapping({"model": {"context": 128}, "sft_data": {"context": 64}}).sft_data.context
        == 64
    )


def test_it_runs_again_for_its_own_settings_only(tmp_path):
    def names(**values):
        config = from_mapping(values)
        steps = load_steps()
        return [
            settings_file(tmp_path, config, steps[name]) for name in ("prepare_sft_data", "train")
        ]

    packing, training = names()
    assert names(sft={"lr": 0.5}, model={"layers": 3}, train={"steps": 7})[0] == packing
    assert names(model={"context": 128})[0] != packing
    assert names(sft={"lr": 0.5}, sft_data={"too_long": "truncate", "context": 64})[1] == training


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "sft_data.sources: empty"),
        ([{}], r"sft_data.sources\[0\]: found none of path, builtin"),
        (
            [{"builtin": "docs", "path": "a"}],
            r"found path and builtin of path, builtin; give exactly one",
        ),
    ],
    ids=["none", "no place", "two places"],
)
def test_a_source_says_where_it_is(sources, message):
    with pytest.raises(UserError, match=message):
        from_mapping({"sft_data": {"sources": sources}})


def test_neither_threads_nor_the_ends_of_batches_change_anything(tmp_path, monkeypatch):
    many = [talk(f"What is {i}?", f"{i}." + " a number" * (i % 7)) for i in range(1500)]
    source = {"path": write(tmp_path / "a.jsonl", many)}
    one, _ = prepare(tmp_path, [source])
    before = [
        (p.tokens.tobytes(), p.mask_bits.tobytes(), p.pack_offsets.tolist()) for p in one.values()
    ]
    monkeypatch.setattr(prepare_sft_module, "BATCH", 100)
    monkeypatch.setattr(prepare_sft_module, "GATHERED", 1000)
    two, _ = prepare(tmp_path, [source], threads=3)
    assert [
        (p.tokens.tobytes(), p.mask_bits.tobytes(), p.pack_offsets.tolist()) for p in two.values()
    ] == before
    assert sorted(t for p in two.values() for t in talks_in(p)) == sorted(map(text, many))


def test_conversations_to_be_forgotten_are_not_packed(tmp_path):
    path = write(tmp_path / "talks.jsonl", TALKS)
    named = tmp_path / "list.txt"
    ids = [f"{int(conversation_id(TALKS[7])):016x}", text_hash(conversation_bytes(TALKS[8]))]
    named.write_text("\n".join(ids))
    packs, counts = prepare(
        tmp_path,
        [{"path": path}],
        forget={"conversations": str(named), "text": r"is 9\d\?"},
    )
    said = [text for one in packs.values() for text in talks_in(one)]
    assert counts["sources"][0]["forgotten"] == 12
    assert len(said) == len(TALKS) - 12
    assert not any(f"What is {i}?" in text for i in (7, 8, *range(90, 100)) for text in said)


def test_conversations_of_a_source_go_by_its_name(tmp_path):
    one = write(tmp_path / "one.jsonl", TALKS[:60])
    two = write(tmp_path / "two.jsonl", TALKS[60:])
    sources = [{"path": one}, {"path": two}]
    _, counts = prepare(tmp_path, sources, forget={"origin": r"/two\."})
    assert [(s["kept"], s["forgotten"]) for s in counts["sources"]] == [(60, 0), (0, 60)]


def test_a_conversation_to_be_forgotten_that_is_not_there_is_an_error(tmp_path):
    path = write(tmp_path / "talks.jsonl", TALKS)
    (tmp_path / "list.txt").write_text("0" * 64)
    with pytest.raises(UserError, match="1 of 1 lines name no conversation there is"):
        prepare(tmp_path, [{"path": path}], forget={"conversations": str(tmp_path / "list.txt")})
