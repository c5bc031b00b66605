"""Table 1 from hand-made records."""

from dataclasses import replace

from taskclust.experiments.natural_language.tables import language_rows, layer_rows, tables
from tests.language_records import language_record


def test_table_1_begins_with_the_papers_rows():
    rows = language_rows([language_record()])

    assert [row["model"] for row in rows[:5]] == [
        f"{name} (paper)" for name in ("LLaMa-7B", "LLaMa-13B", "GPT-J-6B", "LLaMa-2-7B-Instruct", "Instruct-GPT-J-6B")
    ]
    assert (rows[2]["task F1"], rows[2]["distribution ARI"], rows[2]["distribution-mapping AMI"]) == (
        "0.887",
        "0.485",
        "0.602",
    )


def test_table_1_then_has_each_model_and_its_nulls_with_and_without_tsne():
    ours = [
        (row["model"], row["clustered"], row["layer"], row["task F1"]) for row in language_rows([language_record()])[5:]
    ]

    assert len(ours) == 8
    assert ours[0] == ("a-model", "after t-SNE", "1 of 2", "0.97 [0.96, 0.98]")
    assert ours[3] == ("a-model, null: untrained, draw 1", "states", "2 of 2", "0.4 [0.39, 0.41]")
    assert ours[5] == ("a-model, null: untrained, draw 2", "states", "0 of 2", "0.4 [0.39, 0.41]")
    assert ours[6][:3] == ("a-model, null: bag of tokens", "after t-SNE", "–")


def without_mappings(part):
    scores = {
        space: {label: found for label, found in table.items() if label != "distribution_mapping"}
        for space, table in part.scores.items()
    }
    return replace(part, scores=scores)


def test_a_label_that_was_not_scored_is_a_dash():
    record = language_record()
    few = replace(
        record,
        model=without_mappings(record.model),
        untrained=[without_mappings(part) for part in record.untrained],
        bag=without_mappings(record.bag),
    )

    rows = language_rows([few])

    assert rows[5]["distribution-mapping F1"] == "–"
    assert rows[5]["task F1"] == "0.97 [0.96, 0.98]"


def test_without_models_the_papers_rows_are_not_shown_either():
    assert list(tables([]).values()) == [[]]


def test_a_layer_0_other_than_the_embedding_is_labelled():
    record = language_record(model=(0.9, 0.3))
    record = replace(record, architecture=replace(record.architecture, layer_0="first block"))

    assert layer_rows(record)[0]["of"] == "layer 0 (after the first block)"
    assert language_rows([record])[5]["layer"] == "0 (after the first block) of 1"


def test_a_models_table_has_one_row_per_layer_and_control():
    rows = layer_rows(language_record())

    assert [row["of"] for row in rows[:6]] == [
        *(f"layer {layer}" for layer in range(3)),
        "layer 2, null: untrained, draw 1",
        "layer 0, null: untrained, draw 2",
        "null: bag of tokens",
    ]
    assert [row["task F1"] for row in rows[:6]] == ["0.3", "0.97", "0.9", "0.4", "0.4", "0.5"]
    assert [row["clustered"] for row in rows] == ["states"] * 6 + ["after t-SNE"] * 6
