"""Planted faults, each with the tests that must notice it: a suite that passes with one of these proves nothing.

A fault is a patch of one function. The named tests are run inside this process with the patch in place and must fail;
that they pass without it is shown by the rest of the suite.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from taskclust.data import functions, synthetic
from taskclust.models import batches, decoder, precision, training
from taskclust.probes import clusters, hidden, kmeans, metrics, tsne
from taskclust.runs import experiments

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Fault:
    """What is broken, and where it must be noticed."""

    name: str
    plant: Patch
    noticed_by: str


def probe_one_token_off(patch: pytest.MonkeyPatch) -> None:
    original = hidden.packed_batch

    def packed(*args, **kwargs):
        batch = original(*args, **kwargs)
        return batch._replace(input_at=batch.input_at - 1)

    patch.setattr(hidden, "packed_batch", packed)


def layers_off_by_one(patch: pytest.MonkeyPatch) -> None:
    original = decoder.Decoder.forward

    def forward(*args, **kwargs):
        out = original(*args, **kwargs)
        if out.hidden_states is not None:
            out.hidden_states = out.hidden_states[1:] + out.hidden_states[:1]
        return out

    patch.setattr(decoder.Decoder, "forward", forward)


def shuffled_identities(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(synthetic._LABELS, "task", lambda s: np.roll(synthetic._spread(s.task, s), 7))


def unmatched_f1(patch: pytest.MonkeyPatch) -> None:
    def by_order(table):
        size = min(table.shape)
        hits = np.diagonal(table)[:size]
        return float((2 * hits / (table.sum(1)[:size] + table.sum(0)[:size])).sum() / len(table))

    patch.setattr(metrics, "matched_f1_score", by_order)


def validation_instruction_in_training(patch: pytest.MonkeyPatch) -> None:
    original = synthetic.generate

    def leaky(config, seed):
        dataset = original(config, seed)
        train, unseen = dataset.train, dataset.validation
        width = min(train.instructions.shape[1], unseen.instructions.shape[1])
        train.instructions[0] = synthetic.PAD
        train.instructions[0, :width] = unseen.instructions[0, :width]
        train.lengths[0] = unseen.lengths[0]
        return dataset

    patch.setattr(synthetic, "generate", leaky)


def hard_outputs_unchanged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(functions.FunctionSampler, "change_outputs", lambda self, function: function)


def kmeans_on_the_wrong_split(patch: pytest.MonkeyPatch) -> None:
    original = experiments.hidden_states
    kept: dict[int, object] = {}

    def states(model, split, **kwargs):
        found = original(model, split, **kwargs)
        kept.setdefault(split.n_instances, found)
        first = next(iter(kept.values()))
        return found._replace(input_token=first.input_token[:, : split.n_instances])

    patch.setattr(experiments, "hidden_states", states)


def neighbors_find_themselves(patch: pytest.MonkeyPatch) -> None:
    original = experiments.neighborhood

    def with_itself(queries, references, **kwargs):
        n = queries.shape[1]
        kwargs["reference_tasks"] = torch.cat([kwargs["query_tasks"], kwargs["reference_tasks"][n:]])
        kwargs["reference_outputs"] = torch.cat([kwargs["query_outputs"], kwargs["reference_outputs"][n:]])
        return original(queries, torch.cat([queries, references[:, n:]], 1), **kwargs)

    patch.setattr(experiments, "neighborhood", with_itself)


def untrained_checkpoint_as_the_last(patch: pytest.MonkeyPatch) -> None:
    original = training.Trainer.save_checkpoint

    def save(self, folder, *, best=False):  # noqa: ARG001
        seed = training._torch_seed(self.config.seed, training._WEIGHTS)
        trained = self.parameters.low.clone()
        self.model.initialize(torch.Generator().manual_seed(seed))
        original(self, folder)
        self.parameters.low.copy_(trained)

    patch.setattr(training.Trainer, "save_checkpoint", save)


def one_embedding_for_all_layers(patch: pytest.MonkeyPatch) -> None:
    original = clusters.tsne

    def first_only(points, **kwargs):
        found = original(points, **kwargs)
        return found._replace(points=found.points[:1].expand_as(found.points))

    patch.setattr(clusters, "tsne", first_only)


def _altered_batch(change: Callable[[batches.Batch], batches.Batch]) -> Patch:
    def plant(patch: pytest.MonkeyPatch) -> None:
        original = batches.packed_batch

        def packed(*args, **kwargs):
            return change(original(*args, **kwargs))

        for module in (batches, training, hidden):
            patch.setattr(module, "packed_batch", packed)

    return plant


def inputs_see_each_other(batch: batches.Batch) -> batches.Batch:
    rows = batch.tokens.shape[1]
    column = batch.input_at % rows
    mask = batch.mask.clone()
    mask[:, 0, column.min() + 1 :, column.min()] = True
    return batch._replace(mask=mask)


def positions_off_by_one(batch: batches.Batch) -> batches.Batch:
    return batch._replace(positions=(batch.positions - 1).clamp(min=0))


def unscaled_gradient(patch: pytest.MonkeyPatch) -> None:
    original = precision.FlatParameters.collect_gradient
    patch.setattr(precision.FlatParameters, "collect_gradient", lambda self, max_norm: original(self, 1e9))


def no_exaggeration(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tsne, "EXAGGERATION", 1.0)


def random_starts(patch: pytest.MonkeyPatch) -> None:
    def uniform(points, n_clusters, restarts, generator):
        weights = torch.ones(points.shape[0] * restarts, points.shape[1])
        drawn = torch.multinomial(weights, n_clusters, replacement=True, generator=generator)
        return drawn.view(points.shape[0], restarts, n_clusters)

    patch.setattr(kmeans, "_plus_plus", uniform)


def highest_divergence_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tsne.Embedding, "kept", lambda self: self.divergence.argmax(dim=1))


FAULTS = [
    Fault("probe one token off", probe_one_token_off, "tests/probes/test_hidden.py"),
    Fault("layers off by one", layers_off_by_one, "tests/probes/test_hidden.py"),
    Fault("shuffled identities", shuffled_identities, "tests/data/test_synthetic.py"),
    Fault("unmatched F1", unmatched_f1, "tests/probes/test_metrics.py"),
    Fault("validation instruction in training", validation_instruction_in_training, "tests/data/test_synthetic.py"),
    Fault("hard outputs unchanged", hard_outputs_unchanged, "tests/data/test_synthetic.py"),
    Fault("k-means on the wrong split", kmeans_on_the_wrong_split, "tests/runs/test_probing.py"),
    Fault("neighbours find themselves", neighbors_find_themselves, "tests/runs/test_probing.py"),
    Fault("untrained checkpoint as the last", untrained_checkpoint_as_the_last, "tests/runs/test_probing.py"),
    Fault("one embedding for all layers", one_embedding_for_all_layers, "tests/runs/test_probing.py"),
    Fault("inputs see each other", _altered_batch(inputs_see_each_other), "tests/models/test_batches.py"),
    Fault("positions off by one", _altered_batch(positions_off_by_one), "tests/models/test_batches.py"),
    Fault("gradient not clipped", unscaled_gradient, "tests/models/test_precision.py"),
    Fault("t-SNE without exaggeration", no_exaggeration, "tests/probes/test_tsne.py"),
    Fault("k-means without ++", random_starts, "tests/probes/test_kmeans.py"),
    Fault("highest divergence kept", highest_divergence_kept, "tests/probes/test_tsne.py"),
]


class _Planter:
    """A pytest plugin that keeps the fault in place while the chosen tests run."""

    def __init__(self, plant: Patch) -> None:
        self._plant = plant
        self._patch = pytest.MonkeyPatch()

    def pytest_collection_finish(self) -> None:
        self._plant(self._patch)

    def pytest_unconfigure(self) -> None:
        self._patch.undo()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_planted_fault_is_noticed(fault, tmp_path, pytestconfig):
    output = io.StringIO()
    arguments = [
        str(pytestconfig.rootpath / fault.noticed_by),
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
    ]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = pytest.main([*arguments, "--store", str(tmp_path)], plugins=[_Planter(fault.plant)])

    assert code == pytest.ExitCode.TESTS_FAILED, f"{fault.name}: {fault.noticed_by} did not notice (exit {code})"
