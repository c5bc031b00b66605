"""The natural-language data are those of Table 9; users' files are read, or refused with name and line."""

import hashlib
import json
from collections import Counter

import pytest

from taskclust.config import ConfigError
from taskclust.data.natural import (
    CATEGORIES,
    Prompt,
    identities,
    natural_tasks,
    prompts,
    read_pairs,
    read_prompts,
)

TASKS = natural_tasks()


def test_there_are_the_sixteen_tasks_of_table_9():
    assert Counter(task.category for task in TASKS) == {"Translation": 6, "Linguistic": 6, "Knowledge": 4}
    assert list(dict.fromkeys(task.category for task in TASKS)) == list(CATEGORIES)
    assert len({task.description for task in TASKS}) == len({task.name for task in TASKS}) == 16
    assert all(task.description.startswith("Given a") for task in TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_has_fifty_expressions_that_differ_in_more_than_case_and_stops(task):
    plain = {" ".join("".join(c for c in e.lower() if c.isalnum() or c == " ").split()) for e in task.expressions}

    assert len(task.expressions) == len(plain) == 50
    assert all(expression == expression.strip() and len(expression.split()) >= 3 for expression in task.expressions)


def test_no_expression_is_in_two_tasks():
    every = [expression.lower() for task in TASKS for expression in task.expressions]

    assert len(set(every)) == 800


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_has_ten_pairs_of_single_words_or_more_with_unique_inputs(task):
    inputs = [x for x, _ in task.pairs]

    assert len(inputs) == len(set(inputs)) >= 10
    assert all(word.isalpha() for pair in task.pairs for word in pair)
    assert all(x.lower() != y.lower() for x, y in task.pairs)


def test_prompts_are_every_expression_with_every_mapping():
    every = prompts(TASKS)

    assert len(every) == len(set(every)) == 16 * 50 * 10
    assert {p.task for p in every} == set(CATEGORIES)
    assert len({(p.distribution, p.input) for p in every}) == 160


def test_fewer_prompts_are_the_first_ones():
    few = prompts(TASKS[:1], 2, 1)

    assert [prompt.instruction for prompt in few] == list(TASKS[0].expressions[:2])
    assert {(p.input, p.output, p.task, p.distribution) for p in few} == {
        ("chien", "dog", "Translation", "French to English")
    }


@pytest.mark.parametrize(("arguments", "message"), [((51, 10), "n_expressions=51"), ((50, 0), "n_pairs=0: .* has 12")])
def test_more_prompts_than_exist_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        prompts(TASKS, *arguments)


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        ("state its continent", "state its continent Kenya"),
        ("What is the capital of", "What is the capital of Kenya"),
        ("Which continent?", "Which continent? Kenya"),
        ("Translate to French: ", "Translate to French: Kenya"),
        ("Q: opposite of hot\nA: cold\nQ:", "Q: opposite of hot\nA: cold\nQ: Kenya"),
        ("Translate:\n", "Translate:\nKenya"),
        ("翻译成英文：", "翻译成英文： Kenya"),
    ],
)
def test_a_prompt_is_read_as_written_and_ends_with_the_input_word(instruction, text):
    assert Prompt(instruction, "Kenya", "Africa", "Knowledge", "Location to continent").text == text


def test_a_template_joins_instruction_and_input():
    prompt = Prompt("say {input}", "Kenya", "Africa", "Knowledge", "continent", "Q: {instruction}? {input}")

    assert prompt.text.startswith("Q: say ")
    assert prompt.text.endswith("? Kenya")


def test_the_projects_prompts_are_joined_by_a_full_stop_as_the_papers():
    texts = [prompt.text for prompt in prompts(TASKS, 50, 1)]

    assert hashlib.sha256("\n".join(p.text for p in prompts(TASKS)).encode()).hexdigest()[:16] == "aee8f7de3349dece"
    assert all(". " in text or "? " in text or ": " in text or "! " in text for text in texts)


@pytest.mark.parametrize("template", ["{instruction}", "{input} {instruction}", "{input}", "{instruction} {input} ="])
def test_a_template_that_does_not_end_with_the_input_is_refused(tmp_path, template):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(ROW))

    with pytest.raises(ConfigError, match=r'template=.*"\{input\}" at its end'):
        read_prompts(path, template)


def test_a_files_prompts_have_the_template(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(ROW))

    (prompt,) = read_prompts(path, "Do: {instruction} => {input}")

    assert prompt.text == f"Do: {ROW['instruction']} => {ROW['input']}"


def test_an_input_that_ends_in_white_space_is_refused_by_its_line(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "input": "cat "}))

    with pytest.raises(ConfigError, match="jsonl:2: input='cat ' ends in white space"):
        read_prompts(path)


def test_pairs_are_read_from_folders_of_categories_and_phrases_left_out(tmp_path):
    (tmp_path / "translation").mkdir()
    (tmp_path / "translation" / "en_fr.json").write_text(json.dumps({"dog": "chien", "good day": "bonjour"}))

    assert read_pairs(tmp_path) == {("translation", "en_fr"): (("dog", "chien"),)}


@pytest.mark.parametrize("content", ["{", "[1]", '{"dog": 1}', '{"dog": "chien", "dog": "clebs"}'])
def test_a_file_without_a_mapping_is_named(tmp_path, content):
    (tmp_path / "translation").mkdir()
    (tmp_path / "translation" / "en_fr.json").write_text(content)

    with pytest.raises(ConfigError, match=r"en_fr\.json: not .*input: output"):
        read_pairs(tmp_path)


def test_a_byte_order_mark_is_ignored_in_pairs(tmp_path):
    (tmp_path / "translation").mkdir()
    (tmp_path / "translation" / "en_fr.json").write_text('\ufeff{"dog": "chien"}', "utf-8")

    assert read_pairs(tmp_path) == {("translation", "en_fr"): (("dog", "chien"),)}


def test_a_folder_without_tasks_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^folder=.*<category>/<task>\.json"):
        read_pairs(tmp_path)


ROW = {"instruction": "Name its colour", "input": "snow", "output": "white", "task": "colours"}


def test_own_prompts_are_read_one_per_line(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "distribution": "short"}) + "\n")

    first, second = read_prompts(path)

    assert first == Prompt("Name its colour", "snow", "white", "colours", "colours")
    assert second.distribution == "short"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        (json.dumps(ROW)[:-1] + ', "input": "coal"}', "not JSON \\('input' occurs twice\\)"),
        (json.dumps({**ROW, "distribution": " "}), '"distribution" is not a text'),
        (json.dumps({**ROW, "distribution": "\ud800"}), '"distribution" holds half of a character'),
        ("3", 'no text under "instruction"'),
        (json.dumps({k: v for k, v in ROW.items() if k != "task"}), 'no text under "task"'),
        (json.dumps({**ROW, "input": " "}), 'no text under "input"'),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, message):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + line + "\n")

    with pytest.raises(ConfigError, match=rf"mine\.jsonl:2: {message}"):
        read_prompts(path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "none.jsonl").write_text("")

    with pytest.raises(ConfigError, match=r"^prompts=.*empty"):
        read_prompts(tmp_path / "none.jsonl")


def test_identities_number_tasks_distributions_and_mappings():
    rows = [("a", "x", "1"), ("a", "x", "2"), ("a", "y", "1"), ("b", "x", "1"), ("a", "x", "1")]
    some = [Prompt("i", x, "out", task, distribution) for task, distribution, x in rows]

    found = identities(some)

    assert found["task"].tolist() == [0, 0, 0, 1, 0]
    assert found["distribution"].tolist() == [0, 0, 1, 2, 0]
    assert found["distribution_mapping"].tolist() == [0, 1, 2, 3, 0]


def test_prompts_of_one_task_cannot_be_clustered():
    with pytest.raises(ConfigError, match=r"task=\['a'\]: clustering needs prompts of two tasks"):
        identities([Prompt("i", "x", "y", "a", "a")])


def test_lines_end_only_at_line_feeds_and_blank_ones_are_skipped(tmp_path):
    row = {"instruction": "one\u2028two", "input": "x", "output": "y", "task": "t"}
    (tmp_path / "own.jsonl").write_text("\n" + json.dumps(row, ensure_ascii=False) + "\n\n", "utf-8")

    assert read_prompts(tmp_path / "own.jsonl") == [Prompt("one\u2028two", "x", "y", "t", "t")]


@pytest.mark.parametrize("distribution", [None, [], 3])
def test_a_distribution_that_is_not_text_is_refused(tmp_path, distribution):
    row = {"instruction": "i", "input": "x", "output": "y", "task": "t", "distribution": distribution}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))

    with pytest.raises(ConfigError, match=r'own\.jsonl:1: "distribution" is not a text'):
        read_prompts(tmp_path / "own.jsonl")


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08 compressed", None], ids=["no text", "nothing"])
def test_prompts_that_cannot_be_read_are_refused_by_the_files_name(tmp_path, content):
    if content is not None:
        (tmp_path / "prompts.jsonl").write_bytes(content)

    with pytest.raises(ConfigError, match=r"^prompts='.*prompts.jsonl': cannot be read as UTF-8 \("):
        read_prompts(tmp_path / "prompts.jsonl")


@pytest.mark.parametrize("pairs", [{}, {"hot dog": "chaud"}, {"": ""}], ids=["none", "two words", "no words"])
def test_a_file_without_a_pair_of_words_is_refused(tmp_path, pairs):
    (tmp_path / "translation").mkdir()
    (tmp_path / "translation" / "en_fr.json").write_text(json.dumps(pairs))

    with pytest.raises(ConfigError, match=r"en_fr.json': no pair has two single words; leave the file out"):
        read_pairs(tmp_path)


def test_a_template_is_filled_once():
    prompt = Prompt("Fill in {input} here", "dog {instruction}", "y", "t", "t", "{instruction}: {input}")

    assert prompt.text == "Fill in {input} here: dog {instruction}"


def test_prompts_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "p.jsonl").write_text(
        json.dumps(dict.fromkeys(("instruction", "input", "output", "task"), "a")), "utf-8-sig"
    )

    assert len(read_prompts(tmp_path / "p.jsonl")) == 1
