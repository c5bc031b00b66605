"""Table 1, its figures and its page from records made by hand."""

from taskclust.claims import judge_model
from taskclust.report import write_report
from taskclust.report.figures import language_figures
from taskclust.report.tables import language_rows, layer_rows
from tests.claims.language_records import language_record


def test_table_1_has_the_papers_rows_then_each_model_and_its_nulls_with_and_without_tsne():
    rows = language_rows([language_record()])

    assert [row["model"] for row in rows[:5]] == [
        f"{name} (paper)" for name in ("LLaMa-7B", "LLaMa-13B", "GPT-J-6B", "LLaMa-2-7B-Instruct", "Instruct-GPT-J-6B")
    ]
    assert (rows[2]["task F1"], rows[2]["distribution ARI"], rows[2]["distribution-mapping AMI"]) == (
        "0.887",
        "0.485",
        "0.602",
    )
    ours = [(row["model"], row["clustered"], row["layer"], row["task F1"]) for row in rows[5:]]
    assert ours[0] == ("a-model", "after t-SNE", "1 of 2", "0.97 [0.96, 0.98]")
    assert ours[3] == ("a-model, null: randomly initialised", "states", "2 of 2", "0.4 [0.39, 0.41]")
    assert ours[4][:3] == ("a-model, null: bag of tokens", "after t-SNE", "–")


def test_a_label_that_was_not_scored_is_a_dash():
    record = language_record()
    for space in ("raw", "tsne"):
        for part in (record["model"], *record["nulls"].values()):
            part["scores"][space].pop("distribution_mapping", None)

    assert language_rows([record])[5]["distribution-mapping F1"] == "–"


def test_a_models_own_table_has_a_row_a_layer_and_one_a_null():
    rows = layer_rows(language_record())

    assert [row["states"] for row in rows] == [
        *(f"layer {layer}" for layer in range(3)),
        "layer 2, null: randomly initialised",
        "bag of tokens",
    ]
    assert [row["task F1"] for row in rows] == ["0.3", "0.97", "0.9", "0.4", "0.5"]


def test_report_holds_verdicts_table_and_figures(tmp_path):
    record = language_record()
    results = [judge_model(record, label, "a-model") for label in ("task", "distribution_mapping")]

    write_report(
        tmp_path / "llm", "llm", results, scores=[], datasets=[], parameters=None, language=[record], command="pytest"
    )
    verdicts = (tmp_path / "llm" / "verdicts.md").read_text()

    assert "a-model: task" in verdicts
    assert "holds (this model)" in verdicts
    assert "not run" not in verdicts
    assert "LLaMa-13B (paper)" in (tmp_path / "llm" / "tables.md").read_text()
    assert {p.stem for p in (tmp_path / "llm" / "figures").iterdir()} == {"layers-a-model", "clusters-a-model"}
    assert "layers-a-model" in (tmp_path / "llm" / "index.html").read_text()


def test_figures_show_every_label_and_both_colorings():
    made = language_figures([language_record()])

    assert [axis.get_title() for axis in made["layers-a-model"].axes] == [
        "Task identity",
        "Distribution identity",
        "Distribution-mapping identity",
    ]
    assert [axis.get_title() for axis in made["clusters-a-model"].axes] == ["by category", "by task"]
    legend = made["clusters-a-model"].axes[1].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["French", "Capital", "Religion"]
