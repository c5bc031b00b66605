"""Neighbours agree with a naive loop and scikit-learn, votes with hand-computed ones."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from taskclust.config import ConfigError
from taskclust.probes.neighbors import nearest, nearest_counts, neighborhood, vote
from tests.helpers import assert_close
from tests.strategies import seeds


@pytest.mark.parametrize("offset", [0.0, 100.0, 1_000.0])
def test_ranks_do_not_depend_on_the_distance_from_the_origin(offset):
    """In float32, like states; without centering, a seventh of the ranks is wrong at 100 standard deviations."""
    rng = np.random.default_rng(0)
    queries, references = (torch.tensor(rng.normal(size=(1, n, 64)).astype(np.float32)) for n in (50, 400))

    found = nearest(queries + offset, references + offset, 10)

    assert (found == nearest(queries.double(), references.double(), 10)).float().mean() > 0.99


@pytest.mark.parametrize("k", [1, 10, 700])
def test_neighbors_of_counts_are_at_the_smallest_distances(k):
    rng = np.random.default_rng(0)
    queries, references = (torch.tensor(rng.integers(3, size=(2, n, 12)).astype(np.float32)) for n in (300, 700))

    found = nearest_counts(queries, references, k)

    squares = torch.cdist(queries.double(), references.double()).square().round()
    assert torch.equal(squares.gather(-1, found), squares.sort(dim=-1).values[..., :k])
    assert all(len(set(row)) == k for row in found.flatten(0, 1).tolist())


def test_ties_of_counts_do_not_favor_the_references_that_come_first():
    """Of 1,000 references that are all equally far, the first 100 are of the query's task."""
    references = torch.ones(1, 1000, 4)
    tasks = torch.arange(1000) >= 100

    (row,) = nearest_counts(torch.zeros(1, 1, 4), references, 500)[0]

    assert 0.05 < (~tasks[row]).float().mean() < 0.15


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbors_than_references_are_refused(k):
    for find in (nearest, nearest_counts):
        with pytest.raises(ConfigError, match=f"neighbors={k}: use 1 to 3, the size of the training set"):
            find(torch.zeros(1, 2, 4), torch.ones(1, 3, 4), k)


@st.composite
def problems(draw):
    """Queries and references in float64, as :func:`neighborhood` takes them, and an admissible k."""
    rng = np.random.default_rng(draw(seeds))
    layers, n_queries, n, d = (draw(st.integers(1, high)) for high in (3, 12, 40, 20))
    n_classes = draw(st.integers(1, 5))

    def labels(size):
        return torch.tensor(rng.integers(n_classes, size=size))

    return {
        "queries": torch.tensor(rng.normal(size=(layers, n_queries, d))),
        "references": torch.tensor(rng.normal(size=(layers, n, d))),
        "query_tasks": labels(n_queries),
        "query_outputs": labels(n_queries),
        "reference_tasks": labels(n),
        "reference_outputs": labels(n),
        "k": draw(st.integers(1, n)),
    }


def naive(queries, references, query_tasks, query_outputs, reference_tasks, reference_outputs, k):
    """Percentage and accuracy of each layer, one query at a time."""
    percentage, accuracy = [], []
    for layer in range(len(queries)):
        same = right = 0
        for query, task, output in zip(queries[layer], query_tasks.tolist(), query_outputs.tolist(), strict=True):
            distances = [float(((query - reference) ** 2).sum()) for reference in references[layer]]
            found = sorted(range(len(distances)), key=distances.__getitem__)[:k]
            same += sum(reference_tasks[i].item() == task for i in found) / k
            votes = Counter(reference_outputs[i].item() for i in found)
            winner = next(reference_outputs[i].item() for i in found
                          if votes[reference_outputs[i].item()] == max(votes.values()))  # fmt: skip
            right += winner == output
        percentage.append(same / len(query_tasks))
        accuracy.append(right / len(query_tasks))
    return np.array(percentage), np.array(accuracy)


@settings(deadline=None, max_examples=40)
@given(problems())
def test_percentage_and_accuracy_equal_a_naive_loop(problem):
    found = neighborhood(**problem)

    percentage, accuracy = naive(**problem)

    assert_close(found.percentage, percentage)
    assert_close(found.accuracy, accuracy)


@settings(deadline=None, max_examples=40)
@given(problems())
def test_percentage_and_accuracy_are_one_fraction_per_layer(problem):
    found = neighborhood(**problem)

    for values in found:
        assert values.shape == (len(problem["queries"]),)
        assert ((values >= 0) & (values <= 1)).all()


@settings(deadline=None, max_examples=40)
@given(problems())
def test_nearest_neighbors_equal_scikit_learns_in_order(problem):
    found = nearest(problem["queries"], problem["references"], problem["k"])

    for ours, queries, references in zip(found, problem["queries"], problem["references"], strict=True):
        oracle = NearestNeighbors(n_neighbors=problem["k"], algorithm="brute").fit(references.numpy())
        np.testing.assert_array_equal(ours, oracle.kneighbors(queries.numpy(), return_distance=False))


@settings(deadline=None, max_examples=30)
@given(problem=problems(), seed=seeds, scale=st.sampled_from([0.01, 1.0, 1000.0]))
def test_rotation_and_scale_change_nothing(problem, seed, scale):
    d = problem["queries"].shape[-1]
    rotation = torch.tensor(np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]) * scale

    plain = neighborhood(**problem)
    moved = neighborhood(
        **{**problem, "queries": problem["queries"] @ rotation, "references": problem["references"] @ rotation}
    )

    assert_close(moved.percentage, plain.percentage)
    assert_close(moved.accuracy, plain.accuracy)


@settings(deadline=None, max_examples=30)
@given(problem=problems(), seed=seeds)
def test_order_of_references_changes_nothing(problem, seed):
    order = np.random.default_rng(seed).permutation(problem["references"].shape[1])
    shuffled = {name: problem[name][order] for name in ("reference_tasks", "reference_outputs")}

    plain = neighborhood(**problem)
    other = neighborhood(**{**problem, **shuffled, "references": problem["references"][:, order]})

    assert_close(other.percentage, plain.percentage)
    assert_close(other.accuracy, plain.accuracy)


def test_paper_scale_in_single_precision_finds_the_neighbours_of_double_precision():
    """Wide states far from the origin: distances must not be lost in float32."""
    rng = np.random.default_rng(0)
    references = rng.normal(size=(1, 2_000, 256)) + 3 * rng.normal(size=256)
    queries = references[:, ::20] + 0.7 * rng.normal(size=(1, 100, 256))

    single = nearest(torch.tensor(queries, dtype=torch.float32), torch.tensor(references, dtype=torch.float32), 10)

    double = nearest(torch.tensor(queries), torch.tensor(references), 10)
    assert (single == double).double().mean() > 0.995
    assert torch.equal(single[..., 0], torch.arange(0, 2_000, 20)[None])


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        ([5], 5),
        ([1, 2, 2], 2),
        ([2, 1], 2),
        ([3, 1, 1, 3], 3),
        ([1, 3, 3, 1, 2], 1),
        ([0, 4, 4, 2, 2], 4),
        ([7, 8, 9], 7),
    ],
    ids=str,
)
def test_the_most_frequent_label_wins_and_ties_go_to_the_nearest(labels, winner):
    assert vote(torch.tensor([labels])).tolist() == [winner]


def test_vote_is_taken_for_each_row():
    assert vote(torch.tensor([[[1, 2, 2], [3, 3, 1]], [[4, 5, 6], [6, 5, 5]]])).tolist() == [[2, 3], [4, 5]]


def test_two_separate_tasks_have_hand_computed_scores():
    """References at 0, 1, 2 (task 0) and 10, 11 (task 1); queries at 0.4 and 9."""
    found = neighborhood(
        torch.tensor([[[0.4], [9.0]]]),
        torch.tensor([[[0.0], [1.0], [2.0], [10.0], [11.0]]]),
        query_tasks=torch.tensor([0, 1]),
        query_outputs=torch.tensor([7, 6]),
        reference_tasks=torch.tensor([0, 0, 0, 1, 1]),
        reference_outputs=torch.tensor([7, 8, 8, 6, 9]),
        k=3,
    )

    assert_close(found.percentage, np.array([(1 + 2 / 3) / 2]))
    assert_close(found.accuracy, np.array([1 / 2]))  # outputs 7, 8, 8 -> 8 is wrong; 6, 9, 8 -> the nearest, 6


@pytest.mark.parametrize("k", [0, 6, -1])
def test_an_impossible_number_of_neighbours_raises(k):
    with pytest.raises(ConfigError, match=f"neighbors={k}: use 1 to 5, the size of the training set"):
        nearest(torch.zeros(1, 2, 3), torch.zeros(1, 5, 3), k)
