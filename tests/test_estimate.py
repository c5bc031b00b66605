"""Estimates are zero for stored runs and grow with the work."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig

from taskclust import estimate as module
from taskclust import experiments
from taskclust.config import ARMS, ConfigError, LanguageConfig, ModelConfig
from taskclust.estimate import Estimate, estimate, total
from taskclust.models.outside import outside_model
from taskclust.models.registry import count_parameters
from taskclust.profiles import llm, smoke
from taskclust.runner import Runner
from taskclust.store import Store
from taskclust.store.folders import write_json
from tests.experiments.small import CONFIG


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with a fixed speed."""
    monkeypatch.setattr(module, "matmul_flops", lambda dtype, device: 1e11)


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path))


def training(**changes):
    return replace(CONFIG, training=replace(CONFIG.training, **changes))


def probe(**changes):
    return replace(CONFIG, probe=replace(CONFIG.probe, **changes))


def width(width):
    return replace(CONFIG, model=replace(CONFIG.model, width=width, feed_forward=2 * width))


@pytest.mark.parametrize(
    "dearer",
    [
        training(epochs=16, schedule_epochs=16),
        training(batch_instructions=4),
        training(checkpoints=(0, 1, 2, 3, 8)),
        width(64),
        replace(CONFIG, model=replace(CONFIG.model, layers=4)),
        probe(iterations=2000),
        probe(tsne_restarts=3),
        replace(probe(tsne_at="all"), training=training(checkpoints=tuple(range(9))).training),
    ],
    ids=["epochs", "smaller-batches", "checkpoints", "width", "layers", "iterations", "restarts", "every-embedding"],
)
def test_more_work_costs_more_hours(runner, dearer):
    cheap, dear = estimate(runner, "synthetic", [CONFIG, dearer])

    assert 0 < cheap.hours < dear.hours


def test_data_of_all_seeds_are_sized_once(runner, monkeypatch):
    module._sizes.cache_clear()
    generated = []
    original = module.generate
    monkeypatch.setattr(module, "generate", lambda *args, **named: generated.append(args) or original(*args, **named))

    estimate(runner, "synthetic", [replace(CONFIG, seed=seed) for seed in range(3)])

    assert len(generated) == 1


def test_the_product_is_timed_on_one_core(runner, monkeypatch):
    before = torch.get_num_threads()
    used = []
    monkeypatch.setattr(module, "matmul_flops", lambda *_: used.append(torch.get_num_threads()) or 1e11)
    torch.set_num_threads(2)
    try:
        estimate(runner, "synthetic", [CONFIG])
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

    assert (set(used), after) == ({1}, 2)


def test_few_embeddings_cost_less_than_all(runner):
    every, few = estimate(runner, "synthetic", [probe(iterations=10**6), probe(iterations=10**6, tsne_at="few")])

    assert few.hours == pytest.approx(every.hours * 3 / 5, rel=1e-2)


def test_instances_shuffled_one_by_one_cost_a_row_each(runner):
    whole, single = estimate(runner, "synthetic", [training(), training(shuffled="instances")])

    assert single.hours > 2 * whole.hours


def test_hours_of_a_long_training_grow_in_proportion_to_epochs(runner):
    short, long = estimate(runner, "synthetic", [training(epochs=e, schedule_epochs=e) for e in (10_000, 30_000)])

    assert long.hours == pytest.approx(3 * short.hours, rel=1e-2)


def test_a_wide_model_takes_as_long_as_its_products_and_half_on_a_machine_twice_as_fast(runner, monkeypatch):
    wide = replace(CONFIG, model=ModelConfig.norm_after(2048))
    (slow,) = estimate(runner, "synthetic", [wide])

    monkeypatch.setattr(module, "matmul_flops", lambda dtype, device: 2e11)

    (fast,) = estimate(runner, "synthetic", [wide])
    assert fast.hours == pytest.approx(slow.hours / 2, rel=0.02)


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("bfloat16", 2)])
def test_disk_is_that_of_the_weights_of_every_checkpoint_and_the_best(runner, precision, size):
    config = training(precision=precision)
    parameters = count_parameters(config.data, config.model)

    (found,) = estimate(runner, "synthetic", [config])

    assert found.gigabytes == pytest.approx(parameters * size * 5 / 1e9)


def test_a_stored_run_costs_nothing_unless_it_is_to_be_recomputed(runner):
    runner.store.obtain(
        "synthetic", runner.key("synthetic", CONFIG), lambda folder: write_json(folder / "record.json", {})
    )

    stored, missing = estimate(runner, "synthetic", [CONFIG, replace(CONFIG, seed=4)])
    (again,) = estimate(replace(runner, recompute=True), "synthetic", [CONFIG])

    assert stored == Estimate("synthetic width 16 seed 3", 0.0, 0.0, is_stored=True)
    assert not missing.is_stored
    assert missing.hours > 0
    assert not again.is_stored
    assert again.hours > 0


def test_a_row_is_in_minutes_and_megabytes():
    row = Estimate("width 768 seed 0", 1.5, 0.25, is_stored=False).row()

    assert row == {"run": "width 768 seed 0", "estimated minutes": "90", "disk (MB)": "250", "stored": "no"}
    assert Estimate("", 0.0, 0.0, is_stored=True).row()["stored"] == "yes"


def test_a_run_of_several_trainings_costs_the_sum_of_them(runner):
    config = experiments.part("pretraining", "config").smoke()
    stages = experiments.part("pretraining", "config").stages(config)

    (whole,) = estimate(runner, "pretraining", [config])

    parts = [estimate(runner, "synthetic", [stage])[0] for stage in stages]
    assert len(parts) == 2 * len(ARMS) - 1
    assert whole.name == "pretraining width 64 seed 0"
    assert whole.hours == pytest.approx(sum(part.hours for part in parts))
    assert whole.gigabytes == pytest.approx(sum(part.gigabytes for part in parts))


def test_a_missing_language_model_has_unknown_cost_and_counts_have_none(runner):
    (found,) = estimate(runner, "natural_language", [LanguageConfig(source="some/model", n_expressions=2, n_pairs=3)])

    assert found.name.startswith("natural_language some/model, ")
    assert found.name.endswith(" prompts")
    assert (found.hours, found.gigabytes, found.is_stored) == (None, None, None)
    assert set(found.row().values()) == {found.name, "–"}
    assert estimate(runner, "paper_tables", [experiments.part("paper_tables", "config").smoke()]) == []


def test_a_language_models_hours_grow_with_its_layers_prompts_and_untrained_models(runner, tmp_path):
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    for layers in (3, 7):
        AutoConfig.for_model("llama", num_hidden_layers=layers, **sizes).save_pretrained(tmp_path / str(layers))
    usual = LanguageConfig(source=str(tmp_path / "3"), n_expressions=2, n_pairs=3)
    dearer = {"source": str(tmp_path / "7"), "n_expressions": 4, "untrained": 7}

    hours = estimate(runner, "natural_language", [usual])[0].hours
    others = [estimate(runner, "natural_language", [replace(usual, **{n: v})])[0].hours for n, v in dearer.items()]

    assert hours > 0
    assert others == [pytest.approx(factor * hours, rel=0.1) for factor in (2, 4, 2)]


def test_models_from_outside_are_estimated_to_read_each_instruction_once_per_input(runner):
    own = replace(CONFIG, model=ModelConfig.gpt2(32))
    outside = replace(own, model=outside_model("gpt2", own.model, own.data))

    assert _only(runner, outside).hours > _only(runner, own).hours


def _only(runner, config):
    (found,) = estimate(runner, "synthetic", [config])
    return found


@pytest.mark.parametrize("kind", ["synthetic", "pretraining", "natural_language"])
def test_runs_on_a_gpu_elsewhere_are_named_at_unknown_cost(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    profile = llm() if kind == "natural_language" else smoke()

    found = estimate(Runner(Store(tmp_path), device="cuda"), kind, profile.subjects(kind)[0])

    assert [(one.hours, one.gigabytes, one.is_stored) for one in found] == [(None, None, None)] * len(found)
    assert all(one.name.startswith(kind) for one in found)
    assert set(total(found).row().values()) == {"all", "–"}


def test_an_unknown_architecture_is_refused_for_a_gpu_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = replace(CONFIG, model=replace(CONFIG.model, architecture="foo"))

    with pytest.raises(ConfigError, match="architecture='foo'"):
        estimate(Runner(Store(tmp_path), device="cuda"), "synthetic", [config])


def test_the_total_sums_known_costs():
    made = [Estimate("a", 1.5, 0.5, False), Estimate("b", 0.0, 0.0, True), Estimate("c", None, None, None)]

    assert total(made) == Estimate("all", 1.5, 0.5, is_stored=False)
    assert total(made[1:]).is_stored
    assert total([]) == Estimate("all", 0, 0, is_stored=None)
