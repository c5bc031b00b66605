"""§3.4, Table 1: open language models cluster prompts by task category, and LLaMa's by distribution and mapping."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["open-llm-clusters"]


def test_open_language_model_clusters(model, label, decide_model):
    result = decide_model(model, label)

    assert result.verdict == "reproduced", result.explain()
