"""Affinities, start, force and schedule equal those of scikit-learn's exact TSNE, step by step."""

import math
import os

import numpy as np
import pytest
import torch
from llvmlite.binding import get_host_cpu_features
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, _t_sne, trustworthiness
from sklearn.neighbors import NearestNeighbors

from taskclust.config import ConfigError
from taskclust.probes import forces
from taskclust.probes import tsne as module
from taskclust.probes.forces import neighbor_descent
from taskclust.probes.tsne import joint_probabilities, nearest_probabilities, pca_start, tsne
from tests.helpers import assert_close


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clouds(n_sets=3, n=40, d=20, seed=0):
    """Sets [B, N, D] of five loose clusters: neither well separated nor structureless."""
    rng = np.random.default_rng(seed)
    centers = 2 * rng.normal(size=(n_sets, 5, d))
    return torch.tensor(centers[:, np.arange(n) % 5] + rng.normal(size=(n_sets, n, d)), dtype=torch.float32)


def sklearn_affinities(points, perplexity):
    """The condensed affinities of one set, in float64."""
    points = points.double().numpy()
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    return _t_sne._joint_probabilities(distances.astype(np.float32), perplexity, 0)


def small_start(n_sets=1, n=40, components=3, scale=1e-4, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(scale * rng.normal(size=(n_sets, n, components)), dtype=torch.float32)


# --- affinities


def test_affinities_are_symmetric_sum_to_one_and_leave_out_the_point_itself():
    P = joint_probabilities(clouds(), perplexity=10.0)

    assert_close(P, P.transpose(1, 2), rtol=0)
    assert_close(P.double().sum(dim=(1, 2)), np.ones(3))
    assert (P.diagonal(dim1=1, dim2=2) <= 1e-15).all()
    assert (P > 0).all()


@pytest.mark.parametrize("perplexity", [2.0, 10.0, 30.0])
def test_affinities_are_those_of_rows_with_the_requested_perplexity(perplexity):
    """By a naive search for each row's bandwidth, and the definition."""
    points = clouds(1, seed=1)[0].double().numpy()
    n = len(points)
    conditional = np.zeros((n, n))
    for i in range(n):
        others = np.arange(n) != i
        squares = ((points[others] - points[i]) ** 2).sum(axis=1)
        low, high = 1e-8, 1e4
        for _ in range(200):
            beta = math.sqrt(low * high)
            p = np.exp(-beta * (squares - squares.min()))
            p /= p.sum()
            flat = math.exp(-(p * np.log(np.maximum(p, 1e-300))).sum()) > perplexity
            low, high = (beta, high) if flat else (low, beta)
        conditional[i, others] = p

    P = joint_probabilities(torch.tensor(points)[None], perplexity)[0]

    assert_close(P, (conditional + conditional.T) / (2 * n), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("perplexity", [5.0, 10.0, 25.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_affinities_equal_those_of_scikit_learn(perplexity, scale):
    points = clouds() * scale

    P = joint_probabilities(points, perplexity)

    for ours, cloud in zip(P, points, strict=True):
        theirs = squareform(sklearn_affinities(cloud, perplexity))
        large = theirs > 1e-5
        assert large.sum() > 100
        assert_close(ours[large], theirs[large], rtol=1e-4)


def test_affinities_do_not_depend_on_scale_place_or_neighbouring_problems():
    points = clouds()

    P = joint_probabilities(points, 10.0)

    assert_close(joint_probabilities(points * 1000 + 5, 10.0), P, rtol=1e-3, atol=1e-9)
    assert_close(joint_probabilities(points[1:2], 10.0), P[1:2], atol=1e-12)


def test_affinities_of_coinciding_points_are_finite():
    points = clouds(1)
    points[:, 20:] = points[:, :20]

    P = joint_probabilities(points, 5.0)

    assert torch.isfinite(P).all()
    assert_close(P.double().sum(), 1.0)


# --- start


@pytest.mark.parametrize(("n", "d"), [(40, 20), (15, 60)], ids=["narrow", "wider-than-points"])
def test_start_equals_scikit_learns_up_to_sign(n, d):
    points = clouds(n=n, d=d) + 7

    start = pca_start(points, 3)

    for ours, cloud in zip(start.numpy(), points, strict=True):
        theirs = PCA(3, svd_solver="full").fit_transform(cloud.double().numpy())
        theirs = theirs / np.std(theirs[:, 0]) * 1e-4
        signs = np.sign((ours * theirs).sum(axis=0))
        # their deviation divides by N, ours by N - 1
        assert_close(ours, theirs * signs * math.sqrt((n - 1) / n), rtol=1e-3, atol=1e-8)


def test_start_has_empty_components_where_points_have_too_few_dimensions():
    start = pca_start(clouds(d=2), 3)

    assert start.shape == (3, 40, 3)
    assert (start[..., 2] == 0).all()
    assert (start[..., 1] != 0).any()


@pytest.mark.parametrize("perplexity", [2.0, 10.0])
def test_affinities_to_the_nearest_are_those_of_scikit_learn(perplexity):
    """By scikit-learn's own function, given its distances."""
    points = clouds(1, n=120)[0]
    found = NearestNeighbors(n_neighbors=int(3 * perplexity + 1)).fit(points).kneighbors_graph(mode="distance")
    found.data **= 2

    P = nearest_probabilities(points, perplexity)

    theirs = _t_sne._joint_probabilities_nn(found, perplexity, 0)
    assert P.nnz < 120 * 119
    assert_close(P.toarray(), theirs.toarray(), rtol=1e-4, atol=1e-8)


def test_affinities_equal_those_of_all_pairs_if_all_others_are_nearest():
    points = clouds(1)

    P = nearest_probabilities(points[0], 15.0)

    assert_close(P.toarray(), joint_probabilities(points, 15.0)[0], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("distance", [1e2, 1e4])
def test_nearest_neighbors_are_distinguished_far_from_the_origin(distance):
    points = clouds(1, n=120)[0].double()

    moved = nearest_probabilities(points + distance, 10.0)

    assert_close(moved.toarray(), nearest_probabilities(points, 10.0).toarray(), rtol=1e-5, atol=1e-12)


# --- force and schedule


def descend_compiled(P, start, iterations, dof):
    found = module._descend_compiled(P, start[:, None], iterations, dof)
    return found.points[:, 0], found.divergence[:, 0]


def descend_among_neighbors(P, start, iterations, dof):
    """The descent with every pair as neighbors."""
    Y = module._rows_of_coordinates(start[:, None])
    steps = module._schedule(iterations, dof, 50.0)
    threads = torch.get_num_threads()
    divergence = [neighbor_descent(csr_array(p.numpy()), y[0], steps, threads) for p, y in zip(P, Y, strict=True)]
    return torch.from_numpy(Y[:, 0, : start.shape[-1]]).transpose(1, 2), torch.tensor(divergence)


DESCENTS = pytest.mark.parametrize(
    "descend", [module._descend, descend_compiled, descend_among_neighbors], ids=["torch", "compiled", "neighbors"]
)


def sklearn_gradient(Y, P, dof):
    """Divergence and gradient of one embedding by scikit-learn, with condensed P."""
    kl, gradient = _t_sne._kl_divergence(Y.double().numpy().ravel(), P, dof, *Y.shape)
    return kl, gradient.reshape(Y.shape)


def learning_rate(n):
    return max(n / 12 / 4, 50)  # scikit-learn's "auto" with its early exaggeration of 12


def assert_first_step_is_that_of_scikit_learn(dof, components, scale, descend=module._descend):
    points = clouds(1)
    Y = small_start(components=components, scale=scale)
    P = sklearn_affinities(points[0], 10.0)

    after, _ = descend(joint_probabilities(points, 10.0), Y, 1, dof)

    _, gradient = sklearn_gradient(Y[0], P * 12, dof)
    expected = -learning_rate(40) * 0.8 * gradient  # the first step finds no agreement: gain 0.8
    assert_close((after - Y)[0], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1e-2, 1.0, 20.0])
@pytest.mark.parametrize(("dof", "components"), [(2.0, 3), (1.0, 3), (1.0, 2), (3.0, 4)])
@DESCENTS
def test_first_step_is_that_of_scikit_learn(descend, dof, components, scale):
    if components > 3 and descend is not module._descend:
        pytest.skip("three components at most are compiled")
    assert_first_step_is_that_of_scikit_learn(dof, components, scale, descend)


def test_other_degrees_of_freedom_are_noticed():
    Y, P = small_start(scale=1.0), joint_probabilities(clouds(1), 10.0)

    two, one = (module._descend(P, Y, 1, dof)[0] - Y for dof in (2.0, 1.0))

    assert (two - one).norm() > 0.1 * two.norm()


@pytest.mark.parametrize("dof", [1.0, 2.0])
@DESCENTS
def test_divergence_is_that_of_scikit_learn(descend, dof):
    points, Y = clouds(1), small_start(scale=3.0)

    after, divergence = descend(joint_probabilities(points, 10.0), Y, 0, dof)

    assert torch.equal(after, Y)
    assert_close(divergence[0], sklearn_gradient(Y[0], sklearn_affinities(points[0], 10.0), dof)[0], rtol=1e-4)


def sklearn_descent(Y, P, dof, exaggerated, iterations):
    """The two stages of scikit-learn's exact method, of given lengths."""
    settings = {
        "n_iter_check": 1000,
        "min_grad_norm": 0.0,
        "learning_rate": learning_rate(len(Y)),
        "objective": _t_sne._kl_divergence,
    }
    p = Y.double().numpy().ravel()
    first = min(exaggerated, iterations)
    p, _, _ = _t_sne._gradient_descent(
        p0=p, it=0, max_iter=first, momentum=0.5, args=[P * 12, dof, *Y.shape], **settings
    )
    if iterations > first:
        p, _, _ = _t_sne._gradient_descent(
            p0=p, it=first, max_iter=iterations, momentum=0.8, args=[P, dof, *Y.shape], **settings
        )
    return p.reshape(Y.shape)


def assert_descent_is_that_of_scikit_learn(exaggerated, iterations, dof=2.0, descend=module._descend):
    """Both from one start that is far enough from a symmetry, so that rounding does not decide."""
    points, Y = clouds(1), small_start(scale=1.0)

    ours, _ = descend(joint_probabilities(points, 10.0), Y, iterations, dof)

    theirs = sklearn_descent(Y[0], sklearn_affinities(points[0], 10.0), dof, exaggerated, iterations)
    assert_close(ours[0], theirs, rtol=0, atol=0.02 * theirs.std())


@pytest.mark.parametrize("dof", [1.0, 2.0])
@DESCENTS
def test_first_iterations_are_those_of_scikit_learn(descend, dof):
    assert_descent_is_that_of_scikit_learn(exaggerated=250, iterations=15, dof=dof, descend=descend)


@DESCENTS
def test_second_stage_starts_from_rest_without_exaggeration_as_in_scikit_learn(monkeypatch, descend):
    monkeypatch.setattr(module, "EXAGGERATED_ITERATIONS", 5)

    assert_descent_is_that_of_scikit_learn(exaggerated=5, iterations=15, descend=descend)


@pytest.mark.parametrize(
    ("fault", "value"), [("EXAGGERATION", 1.0), ("EXAGGERATED_ITERATIONS", 5)], ids=["none", "too-short"]
)
@DESCENTS
def test_wrong_exaggeration_is_noticed(monkeypatch, descend, fault, value):
    monkeypatch.setattr(module, fault, value)

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_descent_is_that_of_scikit_learn(exaggerated=250, iterations=15, descend=descend)


def test_textbook_gradient_is_noticed_where_it_departs_from_scikit_learns(monkeypatch):
    """With the power -1 in the force (the true gradient), the first step differs at two degrees of freedom."""
    real = module._Points.student_t

    def textbook(self, kernel, scratch):
        self.dof = 1.0
        real(self, kernel, scratch)

    monkeypatch.setattr(module._Points, "student_t", textbook)

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_first_step_is_that_of_scikit_learn(dof=2.0, components=3, scale=1.0)


# --- whole embeddings


def sklearn_embeddings(points, components, n):
    """n runs of 500 iterations: from scikit-learn's PCA start, and from jittered copies of ours."""
    start = pca_start(points[None], components)[0].numpy()
    rng = np.random.default_rng(0)
    starts = ["pca", *(start + 1e-5 * rng.normal(size=start.shape).astype(np.float32) for _ in range(n - 1))]
    return [
        TSNE(components, perplexity=10, init=init, method="exact", max_iter=500, random_state=0).fit(points.numpy())
        for init in starts
    ]


@pytest.fixture(scope="module")
def problems():
    return clouds(3, n=60)


@pytest.fixture(scope="module")
def planar(problems):
    """Embeddings in the plane, where 500 iterations come near the optimum from any start."""
    return tsne(problems, generator=generator(), iterations=500, components=2, degrees_of_freedom=1.0)


@pytest.fixture(scope="module")
def embedding(problems):
    """Embeddings in the paper's three dimensions, where small problems depend strongly on the start."""
    return tsne(problems, generator=generator(), iterations=500, restarts=12)


@pytest.mark.parametrize("number", range(3))
def test_embeddings_in_the_plane_are_as_good_as_those_of_scikit_learn(problems, planar, number):
    """Means of ten starts and of four differ by 2 %, 0.04 % in trustworthiness: the bounds are 6 deviations away.

    Half the perplexity has five times the divergence, two degrees of freedom fifty times.
    """
    points = problems[number]

    runs = sklearn_embeddings(points, components=2, n=4)

    theirs = np.mean([run.kl_divergence_ for run in runs])
    assert planar.divergence[number].mean().item() == pytest.approx(theirs, rel=0.13)
    ours = np.mean([trustworthiness(points.numpy(), start.numpy()) for start in planar.points[number]])
    assert ours == pytest.approx(np.mean([trustworthiness(points.numpy(), run.embedding_) for run in runs]), rel=0.01)


def test_divergences_in_three_dimensions_are_distributed_as_those_of_scikit_learn(problems, embedding):
    """Starts differ a lot, so means are compared: 5 standard errors (60 degrees of freedom), once in 200,000.

    No exaggeration or 50 iterations of it, one degree of freedom, half the perplexity or 300 iterations are 9 to 19
    standard errors away.
    """
    theirs = [[run.kl_divergence_ for run in sklearn_embeddings(points, components=3, n=10)] for points in problems]

    both = embedding.divergence.numpy(), np.array(theirs)
    difference = np.mean(both[0].mean(axis=1) - both[1].mean(axis=1))
    error = np.sqrt(sum(np.mean(x.var(axis=1, ddof=1)) / x.shape[1] for x in both) / len(problems))
    assert abs(difference) < 5 * error


def test_kept_embedding_has_the_lowest_divergence(embedding):
    kept = embedding.best()

    for number, divergence in enumerate(embedding.divergence):
        assert torch.equal(kept[number], embedding.points[number, divergence.argmin()])
    assert (embedding.divergence.std(dim=1) > 0).all(), "restarts differ"


def test_reported_divergence_is_that_of_the_reported_points(problems, embedding):
    P = [sklearn_affinities(points, 10.0) for points in problems]

    for number, restart in np.ndindex(*embedding.divergence.shape):
        expected, _ = sklearn_gradient(embedding.points[number, restart], P[number], 2.0)
        assert_close(embedding.divergence[number, restart], expected, rtol=1e-3)


def test_descent_lowers_the_divergence_far_below_that_of_the_start(problems, planar):
    start = tsne(problems, generator=generator(), iterations=0, components=2, degrees_of_freedom=1.0).divergence

    assert (planar.divergence < start / 5).all()


def test_first_restart_is_the_principal_components_and_the_others_stay_near(problems):
    start = pca_start(problems, 3)

    embedded = tsne(problems, generator=generator(), iterations=0, restarts=4)

    others = embedded.points[:, 1:] - start[:, None]
    assert torch.equal(embedded.points[:, 0], start)
    assert (others.flatten(2).std(dim=-1) < 2e-5).all()
    assert (others.flatten(2).std(dim=-1) > 5e-6).all()


# --- batches and seeds


def test_older_start_is_the_unscaled_components_with_a_rate_of_200(monkeypatch):
    points, given = clouds(), {}

    def descend(_affinity, start, _iterations, _dof, rate):
        given.update(start=start, rate=rate)
        return start, torch.zeros(len(start))

    monkeypatch.setattr(module, "_descend_compiled", descend)
    tsne(points, generator=torch.Generator().manual_seed(0), restarts=2, older=True)

    start = given["start"]
    for ours, cloud in zip(start[:, 0].numpy(), points, strict=True):
        theirs = PCA(3, svd_solver="full").fit_transform(cloud.double().numpy())
        assert_close(ours, theirs * np.sign((ours * theirs).sum(axis=0)), rtol=1e-3, atol=1e-5)
    apart = (start[:, 1] - start[:, 0]).std(dim=(1, 2)) / start[:, 0, :, 0].std(dim=1)
    assert_close(apart, torch.full_like(apart, 0.1), rtol=0.3)
    assert given["rate"] == 200


@pytest.mark.parametrize("chunk", [1, 40 * 40 * 2, 40 * 40 * 4], ids=["one", "two", "four"])
def test_chunked_and_single_embeddings_equal_the_batch(chunk):
    points = clouds()
    settings = {"iterations": 30, "restarts": 2, "components": 4}  # in PyTorch

    together = tsne(points, generator=generator(), **settings, chunk_elements=10**9)
    chunked = tsne(points, generator=generator(), **settings, chunk_elements=chunk)

    assert_close(chunked.points, together.points, rtol=1e-3, atol=1e-3 * float(together.points.std()))
    assert_close(chunked.divergence, together.divergence, rtol=1e-4)


def test_problem_embedded_alone_equals_the_one_in_the_batch():
    points = clouds()

    together = tsne(points, generator=generator(), iterations=30, restarts=1)

    for number in range(3):
        alone = tsne(points[number : number + 1], generator=generator(), iterations=30, restarts=1)
        expected = together.points[number]
        # PCA fixes no sign
        signs = torch.sign((alone.points[0] * expected).sum(dim=1, keepdim=True))
        assert_close(alone.points[0] * signs, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


@pytest.mark.parametrize("descend", [descend_compiled, descend_among_neighbors], ids=["compiled", "neighbors"])
def test_the_number_of_threads_does_not_change_a_descent(descend):
    P, start = joint_probabilities(clouds(), 10.0), small_start(3, scale=1.0)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(descend(P, start, 300, 2.0))
    finally:
        torch.set_num_threads(threads)

    for points, divergence in found[1:]:
        assert torch.equal(points, found[0][0])
        assert torch.equal(divergence, found[0][1])


def test_same_generator_seed_gives_the_same_embedding_and_another_one_another():
    one, same, other = (tsne(clouds(), generator=generator(seed), iterations=20).points for seed in (0, 0, 1))

    assert torch.equal(one, same)
    assert torch.equal(one[:, 0], other[:, 0]), "the first restart is not jittered"
    assert not torch.equal(one[:, 1:], other[:, 1:])


def test_shapes_are_problems_restarts_points_components():
    embedded = tsne(clouds(2, n=20), generator=generator(), components=2, iterations=3, restarts=4, perplexity=5.0)

    assert embedded.points.shape == (2, 4, 20, 2)
    assert embedded.divergence.shape == (2, 4)
    assert embedded.best().shape == (2, 20, 2)


def test_coinciding_points_are_embedded_finitely():
    points = clouds(1)
    points[:, 20:] = points[:, :20]

    embedded = tsne(points, generator=generator(), iterations=300)

    assert torch.isfinite(embedded.points).all()
    assert torch.isfinite(embedded.divergence).all()


# --- settings that cannot be


@pytest.mark.parametrize("perplexity", [40.0, 41.0])
def test_perplexity_that_is_not_below_the_number_of_points_raises(perplexity):
    with pytest.raises(ConfigError, match=f"perplexity={perplexity}: must be below the number of points, 40"):
        tsne(clouds(), generator=generator(), perplexity=perplexity)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")], ids=str)
def test_states_that_are_not_finite_raise(value):
    points = clouds()
    points[2, 5, 1] = value

    with pytest.raises(ConfigError, match="points: hidden states contain NaN or infinity"):
        tsne(points, generator=generator())


# --- many points, and scikit-learn's default method


def test_many_points_are_attracted_only_by_nearest_neighbors(monkeypatch):
    monkeypatch.setattr(module, "EXACT_POINTS", 10)
    points = clouds(2, n=60)

    found = tsne(points, generator=generator(), iterations=6, restarts=2)

    monkeypatch.setattr(module, "EXACT_POINTS", 3_000)
    starts = tsne(points, generator=generator(), iterations=0, restarts=2).points
    for number, problem in enumerate(points):
        P = torch.from_numpy(nearest_probabilities(problem, 10.0).toarray()).clamp(min=2.2e-16)
        for start in range(2):
            expected, divergence = module._descend(P[None], starts[number, start][None], 6, 2.0)
            assert_close(found.points[number, start], expected[0], rtol=0, atol=1e-3 * float(expected.std()))
            assert_close(found.divergence[number, start], divergence[0], rtol=1e-4)


def test_divergences_of_many_points_are_distributed_as_those_of_scikit_learns_default():
    """Ten starts of three problems: 5 standard errors; half the perplexity or no exaggeration are 20 away or more."""
    problems = clouds(3, n=150)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EXACT_POINTS", 10)
        ours = tsne(problems, generator=generator(), iterations=500, restarts=10)
    theirs = tsne(problems, generator=generator(1), iterations=500, restarts=10, barnes_hut=True)

    both = ours.divergence.numpy(), theirs.divergence.numpy()
    difference = np.mean(both[0].mean(axis=1) - both[1].mean(axis=1))
    error = np.sqrt(sum(np.mean(x.var(axis=1, ddof=1)) / x.shape[1] for x in both) / len(problems))
    assert abs(difference) < 5 * error + 0.01 * both[1].mean()  # Barnes-Hut approximates


def test_barnes_hut_is_scikit_learns_from_the_same_starts(monkeypatch):
    points, starts, made = clouds(2), [], []

    def spied(*args, **kwargs):
        starts.append(kwargs["init"])
        made.append(TSNE(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(module, "TSNE", spied)

    found = tsne(points, generator=generator(), perplexity=5.0, iterations=251, restarts=2, barnes_hut=True)

    assert {(one.method, one.perplexity, one.max_iter, one.n_components) for one in made} == {("barnes_hut", 5, 251, 3)}
    np.testing.assert_array_equal([starts[0], starts[2]], pca_start(points, 3))
    assert 0 < np.abs(starts[1] - starts[0]).max() < 1e-4
    np.testing.assert_array_equal(found.points.flatten(0, 1), [one.embedding_ for one in made])
    np.testing.assert_allclose(found.divergence.flatten(), [one.kl_divergence_ for one in made], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": 4, "degrees_of_freedom": 3.0}, "by scikit-learn's Barnes-Hut only 3 components or fewer"),
        ({"degrees_of_freedom": 1.0}, "degrees_of_freedom=1: by scikit-learn's Barnes-Hut only 3 components or fewer"),
        ({"iterations": 250}, "iterations=250: scikit-learn's Barnes-Hut gives no divergence below 251"),
        ({"older": True}, "older=True: this version of scikit-learn's Barnes-Hut has another start"),
    ],
)
def test_settings_that_barnes_hut_lacks_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tsne(clouds(1), generator=generator(), perplexity=5.0, barnes_hut=True, **changes)


@pytest.mark.parametrize(("components", "dof"), [(4, 2.0), (3, 3.0)])
def test_many_points_with_more_components_or_other_degrees_of_freedom_are_refused(monkeypatch, components, dof):
    monkeypatch.setattr(module, "EXACT_POINTS", 10)

    with pytest.raises(ConfigError, match=f"components={components}, degrees_of_freedom={dof:g}: more than 10 points"):
        tsne(clouds(1), generator=generator(), components=components, degrees_of_freedom=dof)


@pytest.mark.skipif(
    "NUMBA_CPU_NAME" in os.environ or not get_host_cpu_features().get("avx512f"), reason="no registers of sixteen"
)
def test_sixteen_points_are_processed_at_once_if_the_processor_can():
    points, mass = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32), np.zeros(64, np.float32)

    forces._repel(*points, 0, 64, True, np.zeros_like(points), mass)

    assert all("zmm" in text for text in forces._repel.inspect_asm().values())
