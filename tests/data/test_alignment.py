"""Alignment data: sources share inputs with their targets, get their outputs, and are tested on unseen instructions."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskclust.config import ConfigError, PairedDataConfig, RegexConfig
from taskclust.data import Split, alignment, generate, generate_alignment
from tests.helpers import read_instructions, tiny_pairs
from tests.strategies import seeds

modest = settings(deadline=None, max_examples=20)
paired = st.builds(
    lambda pairs, rest, measured, mappings, instructions: PairedDataConfig(
        regex=RegexConfig(min_metacharacters=3),
        n_tasks=2 * pairs + rest,
        n_pairs=pairs,
        n_validation_tasks=min(pairs + measured, 2 * pairs + rest),
        n_subset_tasks=pairs,
        max_distributions=2,
        n_mappings=mappings,
        n_instructions=instructions,
        n_task_symbols=16,
    ),
    *(st.integers(low, high) for low, high in ((1, 2), (0, 3), (1, 3), (1, 4), (6, 8))),
)


@modest
@given(config=paired, seed=seeds)
def test_a_target_has_its_sources_inputs_and_other_outputs(config, seed):
    tasks = generate(config, seed).tasks

    for source, target in zip(tasks[: config.n_pairs], tasks[config.n_pairs : 2 * config.n_pairs], strict=True):
        assert source.function.inputs == target.function.inputs
        assert source.function.mappings().isdisjoint(target.function.mappings())


@modest
@given(config=paired, seed=seeds)
def test_no_two_tasks_share_a_mapping(config, seed):
    mappings = [m for task in generate(config, seed).tasks for m in task.function.mappings()]

    assert len(set(mappings)) == len(mappings) == config.n_tasks * config.n_mappings


@modest
@given(config=paired, seed=seeds)
def test_toxic_instructions_have_their_targets_outputs(config, seed):
    data = generate_alignment(config, seed)
    first = 1 + config.regex.n_symbols

    for split in (data.train, data.validation):
        assert set(split.task) == set(range(config.n_pairs))
        for row, task in enumerate(split.task):
            target = data.base.tasks[config.n_pairs + task].function
            assert tuple(split.inputs[row] - first) == target.inputs
            assert tuple(split.outputs[row] - first) == target.outputs


def check_validation_is_unseen(data):
    """No validation instruction is trained on, by the base model or in alignment."""
    judged = set(read_instructions(data.validation)) | set(read_instructions(data.others))
    for split in (data.base.train, data.train, data.one_each):
        assert judged.isdisjoint(read_instructions(split)), "a validation instruction is trained on"


@modest
@given(config=paired, seed=seeds)
def test_validation_instructions_are_unseen(config, seed):
    check_validation_is_unseen(generate_alignment(config, seed))


@modest
@given(config=paired, seed=seeds)
def test_others_are_all_validation_instances_except_sources(config, seed):
    data = generate_alignment(config, seed)

    assert data.others.n_instances + data.validation.n_instances == data.base.validation.n_instances
    assert (data.others.task >= config.n_pairs).all()


@modest
@given(config=paired, seed=seeds)
def test_switch_sees_one_training_instance_of_each_other_task(config, seed):
    data = generate_alignment(config, seed)
    known = {
        (*i, x, y)
        for i, xs, ys in zip(
            read_instructions(data.base.train), data.base.train.inputs, data.base.train.outputs, strict=True
        )
        for x, y in zip(xs, ys, strict=True)
    }

    assert Counter(data.one_each.task.tolist()) == Counter(range(config.n_pairs, config.n_tasks))
    assert data.one_each.inputs.shape == (config.n_tasks - config.n_pairs, 1)
    for i, (x,), (y,) in zip(
        read_instructions(data.one_each), data.one_each.inputs, data.one_each.outputs, strict=True
    ):
        assert (*i, x, y) in known


def test_same_seed_same_data_another_seed_other_data():
    first, second, other = (generate_alignment(tiny_pairs(), seed) for seed in (3, 3, 4))

    assert read_instructions(first.one_each) == read_instructions(second.one_each)
    assert read_instructions(first.train) != read_instructions(other.train)


@pytest.mark.parametrize("seed", range(3))
def test_defaults_are_table_7(seed):
    data = generate_alignment(PairedDataConfig(), seed)
    tasks = data.base.tasks

    assert len(tasks) == 50
    assert not any(task.original is not None for task in tasks)
    assert {len(task.function.mappings()) for task in tasks} == {5}
    assert {len(task.distributions) for task in tasks} <= set(range(1, 7))
    assert len(set(data.validation.task)) == 3
    assert len(set(data.base.validation.task)) == 10
    assert set(Counter(data.base.validation.distribution.tolist()).values()) == {3}
    assert data.base.config.vocab_size == 1 + 35 + 65
    assert len(data.one_each.task) == 47


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("n_pairs", 0, "use 1 to n_tasks / 2=3"),
        ("n_pairs", 4, "use 1 to n_tasks / 2=3"),
        ("n_validation_tasks", 2, "use more than n_pairs=2"),
        ("n_hard_tasks", 2, "no hard examples: use 0"),
    ],
)
def test_invalid_settings_are_refused_with_the_fix(name, value, fix):
    with pytest.raises(ConfigError, match=f"{name}={value}: .*{fix}"):
        tiny_pairs(**{name: value})


# ---------------------------------------------------------------- planted faults


def leaking_generate(config, seed):
    """A base data set whose training split also has its validation instructions."""
    base = generate(config, seed)
    width = max(s.instructions.shape[1] for s in (base.train, base.validation))

    def padded(split):
        missing = width - split.instructions.shape[1]
        return replace(split, instructions=np.pad(split.instructions, ((0, 0), (0, missing))))

    parts = padded(base.train), padded(base.validation)
    joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in Split.__slots__}
    return replace(base, train=Split(**joined))


def test_validation_instances_used_in_training_are_caught(monkeypatch):
    monkeypatch.setattr(alignment, "generate", leaking_generate)

    with pytest.raises(AssertionError, match="a validation instruction is trained on"):
        check_validation_is_unseen(generate_alignment(tiny_pairs(), 0))
