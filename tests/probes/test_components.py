"""States made from known class means give back their shares."""

import numpy as np
import pytest
import torch

from taskclust.config import DataConfig
from taskclust.data import generate
from taskclust.probes.components import instance_identities, instruction_identities, variance_components
from tests.helpers import assert_close, tiny_data

DIMENSIONS = 600  # room for all class means to be orthogonal
WITHIN = 0.03


def design(n_tasks=8, n_distributions=3, n_instructions=3, n_inputs=5, n_symbols=25, seed=0):
    """The identities of a crossed design: each task draws its inputs from one alphabet."""
    rng = np.random.default_rng(seed)
    inputs = np.array([rng.choice(n_symbols, size=n_inputs, replace=False) for _ in range(n_tasks)])
    shape = (n_tasks, n_distributions, n_instructions, n_inputs)
    task, within, _, mapping = (axis.ravel() for axis in np.indices(shape))
    symbol = inputs[task, mapping]
    return {
        "task": task,
        "distribution": task * n_distributions + within,
        "input": symbol,
        "output": rng.permutation(n_symbols)[(symbol * 3 + task * 7) % n_symbols],
        "task and input": task * n_symbols + symbol,
    }


def planted(identities, variances, seed=0):
    """States [1, N, D]: orthonormal class means of each identity, scaled to the variances; noise is "instance"."""
    rng = np.random.default_rng(seed)
    free = np.linalg.qr(rng.normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    n = len(next(iter(identities.values())))
    states = np.zeros((n, DIMENSIONS))
    for name, variance in variances.items():
        values = np.arange(n) if name == "instance" else np.unique(identities[name], return_inverse=True)[1]
        codes, free = np.split(free, [values.max() + 1])
        states += np.sqrt(variance) * codes[values]
    return torch.tensor(states, dtype=torch.float32)[None]


@pytest.fixture(scope="module")
def paper_data():
    return generate(DataConfig(), seed=0)


MIXTURES = {
    "all-codes": {"task": 3, "distribution": 2, "input": 2, "output": 1, "task and input": 1, "instance": 1},
    "task-and-input": {"task": 1, "input": 1},
    "distribution-alone": {"distribution": 1},
    "input-alone": {"input": 1},
    "output-alone": {"output": 1},
    "conjunction-alone": {"task and input": 1},
    "noise-alone": {"instance": 1},
    "mostly-noise": {"task": 1, "instance": 9},
}


def share_of_each(identities, variances):
    """The true shares: each identity's variance divided by their sum."""
    total = sum(variances.values())
    return {name: variances.get(name, 0) / total for name in (*identities, "instance")}


@pytest.mark.parametrize("n_tasks", [4, 8])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_planted_class_means_have_their_shares(mixture, n_tasks):
    identities, variances = design(n_tasks=n_tasks), MIXTURES[mixture]

    shares = variance_components(planted(identities, variances), identities)

    expected = share_of_each(identities, variances)
    assert set(shares) == set(expected)
    for name, share in shares.items():
        assert_close(share, np.array([expected[name]]), rtol=0, atol=WITHIN)


@pytest.mark.parametrize("name", ["task", "distribution", "input", "output"])
@pytest.mark.parametrize("split", ["subset", "validation"])
def test_a_single_identity_has_all_the_variance_in_the_papers_splits(paper_data, split, name):
    identities = instance_identities(paper_data.splits[split])

    shares = variance_components(planted(identities, {name: 1}), identities)

    for other, share in shares.items():
        assert_close(share, np.array([float(other == name)]), rtol=0, atol=WITHIN)


def test_a_pure_task_encoding_gives_the_input_no_share_unlike_r_squared():
    """Few tasks with nearly disjoint inputs: the input determines the task."""
    identities = design(n_tasks=4, n_symbols=30)
    states = planted(identities, {"task": 1})

    shares = variance_components(states, identities)

    centered = states[0].double() - states[0].double().mean(dim=0)
    means = torch.stack([centered[identities["input"] == i].mean(dim=0) for i in identities["input"]])
    assert means.square().sum() / centered.square().sum() > 0.5, "plain R squared of the input"
    assert_close(shares["input"], np.zeros(1), atol=WITHIN)
    assert_close(shares["task"], np.ones(1), atol=WITHIN)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_shares_sum_to_one(mixture):
    identities = design(n_tasks=4, n_distributions=2, n_instructions=2)

    shares = variance_components(planted(identities, MIXTURES[mixture]), identities)

    assert_close(sum(shares.values()), np.ones(1), rtol=1e-6)


def test_layers_are_independent_of_each_other():
    identities = design()
    layers = [planted(identities, {"task": 1, "instance": 1}), planted(identities, {"input": 1}, seed=1)]

    together = variance_components(torch.cat(layers), identities)

    for layer, states in enumerate(layers):
        for name, share in variance_components(states, identities).items():
            assert_close(together[name][layer : layer + 1], share, rtol=1e-6, atol=1e-9)


def transformed(states, identities, how):
    rng = np.random.default_rng(1)
    if how == "row-order":
        order = rng.permutation(states.shape[1])
        return states[:, order], {name: ids[order] for name, ids in identities.items()}
    if how == "rotation":
        narrow = torch.tensor(np.linalg.qr(rng.normal(size=(states.shape[-1],) * 2))[0], dtype=torch.float32)
        return states @ narrow, identities
    if how == "names":
        return states, {name: 5 - 2 * ids for name, ids in identities.items()}
    return (states * 1000, identities) if how == "scale" else (states + 3, identities)


@pytest.mark.parametrize("how", ["row-order", "rotation", "scale", "translation", "names"])
def test_shares_do_not_depend_on(how):
    identities = design(n_tasks=4, n_distributions=2)
    states = planted(identities, MIXTURES["all-codes"])[..., :300]

    shares = variance_components(states, identities)
    others = variance_components(*transformed(states, identities, how))

    for name, share in shares.items():
        assert_close(others[name], share, rtol=1e-3, atol=1e-4)


def test_identities_that_coincide_split_their_share_evenly():
    task = np.repeat(np.arange(10), 6)
    identities = {"task": task, "distribution": task + 20}
    states = planted(identities, {"task": 1})

    shares = variance_components(states, identities)

    assert_close(shares["task"], shares["distribution"], rtol=1e-6)
    assert_close(shares["task"], np.array([0.5]), atol=WITHIN)


def test_equal_states_have_shares_of_zero():
    identities = design(n_tasks=2)

    shares = variance_components(torch.ones(1, len(identities["task"]), 5), identities)

    for share in shares.values():
        assert_close(share, np.zeros(1))


@pytest.mark.parametrize("name", ["validation", "subset"])
def test_identities_of_a_split_are_its_labels_and_their_conjunctions(name):
    split = generate(tiny_data(), seed=0).splits[name]
    lineage = ["lineage"] if name == "subset" else []

    identities = instance_identities(split)

    plain, conjoined = ["task", "distribution", "input", "output"], ["task", "distribution", *lineage]
    assert list(identities) == [*plain, *lineage, *(f"{c} and input" for c in conjoined)]
    for label in plain:
        np.testing.assert_array_equal(identities[label], split.labels(label))
    for label in conjoined:
        pairs = list(zip(identities[label].tolist(), split.labels("input").tolist(), strict=True))
        joint = identities[f"{label} and input"].tolist()
        assert len(set(joint)) == len(set(pairs)) == len(set(zip(joint, pairs, strict=True)))
    of_instructions = instruction_identities(split)
    assert list(of_instructions) == ["task", "distribution", *lineage]
    np.testing.assert_array_equal(of_instructions["task"], split.task)
    np.testing.assert_array_equal(of_instructions["distribution"], split.distribution)


def test_hard_examples_have_their_originals_lineage():
    split = generate(tiny_data(), seed=0).subset
    hard, original = split.hard_pairs()

    lineage = instance_identities(split)["lineage"]

    np.testing.assert_array_equal(lineage[hard], lineage[original])
    np.testing.assert_array_equal(lineage[original], split.labels("distribution")[original])
    assert len(set(lineage)) * 2 == len(set(split.labels("distribution")))


def test_similarity_to_originals_is_not_attributed_to_the_inputs(paper_data):
    """The negative control: without the lineage, the input's share is twice as large."""
    split = paper_data.subset
    identities = instance_identities(split)
    truth = {"lineage": 0.5, "task": 0.1, "input": 0.2, "instance": 0.2}
    states = planted(identities, truth)

    shares = variance_components(states, identities)
    blind = variance_components(states, {n: ids for n, ids in identities.items() if not n.startswith("lineage")})

    for name, share in shares.items():
        assert_close(share, np.array([truth.get(name, 0.0)]), rtol=0, atol=WITHIN)
    assert blind["input"][0] > 0.3
    assert blind["task and input"][0] < -0.1
