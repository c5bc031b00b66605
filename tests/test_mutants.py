"""Planted faults, each with the test that must notice it; tests that pass with a fault prove nothing.

A fault is a patch that is applied after the test is collected. The test runs in this process and must fail by its own
assertion; without a fault all these tests pass.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from taskclust import plugin, progress
from taskclust.claims import paired
from taskclust.config import digest
from taskclust.data import functions, regexes, synthetic
from taskclust.experiments.synthetic import probing
from taskclust.experiments.synthetic import run as synthetic_run
from taskclust.models import batches, compiled, decoder, kernels, precision, training
from taskclust.probes import clusters, hidden, kmeans, metrics, tsne
from taskclust.runner import trajectory_key
from taskclust.store import codec, folders

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Fault:
    """A fault, and the test that must notice it."""

    name: str
    plant: Patch
    noticed_by: str


def replace_everywhere(patch: pytest.MonkeyPatch, original: Any, fault: Any) -> None:
    """Replace a function in all our modules, tests included, because ``from x import y`` copies names."""
    for module in list(sys.modules.values()):
        if module.__name__.partition(".")[0] in ("taskclust", "tests"):
            for name, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, name, fault)


# ---------------------------------------------------------------- data


def shuffled_identities(patch):
    patch.setitem(synthetic._LABELS, "task", lambda split: np.roll(synthetic._spread(split.task, split), 7))


def validation_instruction_in_training(patch):
    original = synthetic.generate

    def generate(config, seed):
        dataset = original(config, seed)
        train, unseen = dataset.train, dataset.validation
        shortest = unseen.lengths.argmin()
        length = unseen.lengths[shortest]
        train.instructions[0] = synthetic.PAD
        train.instructions[0, :length] = unseen.instructions[shortest, :length]
        train.lengths[0] = length
        return dataset

    replace_everywhere(patch, original, generate)


def group_repeated_for_the_last_symbol(patch):
    original = regexes.Piece.sample
    patch.setattr(regexes.Piece, "sample", lambda self, rng: original(replace(self, quantified="group"), rng))


def last_symbol_never_left_out(patch):
    original = regexes.Piece.sample
    patch.setattr(regexes.Piece, "sample", lambda self, rng: original(replace(self, low=max(1, self.low)), rng))


def small_language_drawn_again(patch):
    original = synthetic.sample_instructions

    def whole_or_nothing(pattern, n, *args):
        found = original(pattern, n, *args)
        return found if len(found) == n else []

    patch.setattr(synthetic, "sample_instructions", whole_or_nothing)


def lost_string_kept(patch):
    original = synthetic.sample_instructions
    patch.setattr(synthetic, "sample_instructions", lambda *args: original(*args[:-1], set()))


def validation_before_training(patch):
    patch.setattr(synthetic, "_parts", lambda config: (slice(3), slice(3, None), slice(3, 6)))


def hard_outputs_unchanged(patch):
    patch.setattr(functions.FunctionSampler, "change_outputs", lambda self, function: function)


# ---------------------------------------------------------------- model and training


def altered_batch(change):
    def plant(patch):
        original = batches.packed_batch
        replace_everywhere(patch, original, lambda *args, **kwargs: change(original(*args, **kwargs)))

    return plant


def inputs_see_each_other(batch):
    first, second = batch.input_at[:2].tolist()
    row, width = first // batch.tokens.shape[1], batch.tokens.shape[1]
    mask = batch.mask.clone()
    mask[row, 0, second % width, first % width] = True
    return batch._replace(mask=mask)


def positions_off_by_one(batch):
    return batch._replace(positions=(batch.positions - 1).clamp(min=0))


def gradient_not_clipped(patch):
    original = precision.FlatParameters.collect_gradient
    patch.setattr(precision.FlatParameters, "collect_gradient", lambda self, max_norm: original(self, 1e9))


def compiled_gradient_not_clipped(patch):
    patch.setattr(kernels, "sum_of_squares", lambda *_: 0.0)


def dropout_of_another_instruction(patch):
    original = compiled.CompiledStep._noise_of_weights

    def noise(self, layer, rows):
        return np.roll(original(self, layer, rows), kernels.LANES)

    patch.setattr(compiled.CompiledStep, "_pass", _with(compiled.CompiledStep._pass, "_noise_of_weights", noise))


def _with(method, name, other):
    """A method that runs with another method of its object replaced."""

    def run(self, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(self), name, other)
            return method(self, *arguments)

    return run


def keys_without_gradient(patch):
    original = kernels.attention_backward

    def backward(*arguments):
        original(*arguments)
        d_qkv = arguments[-2]
        D = d_qkv.shape[1] // 3
        d_qkv[:, D : 2 * D] = 0

    patch.setattr(kernels, "attention_backward", backward)


def one_threads_gradient_lost(patch):
    original = compiled.CompiledStep._weigh
    patch.setattr(
        compiled.CompiledStep, "_weigh", lambda self, part, head: original(self, part, head) if part == 0 else None
    )


def one_threads_columns_lost(patch):
    def multiply(self, *products):
        self.wait()
        for result, left, right in products:
            if self._more == 0:  # the first thread
                torch.mm(left, right, out=result)
        self.wait()

    patch.setattr(compiled._Meeting, "multiply", multiply)


def untrained_checkpoint_as_the_last(patch):
    original = training.Trainer.save_checkpoint

    def save(self, folder, **kwargs):
        trained = self.parameters.low.clone()
        seed = training._torch_seed(self.config.seed, training._WEIGHTS)
        self.model.initialize(torch.Generator().manual_seed(seed))
        original(self, folder, **kwargs)
        self.parameters.low.copy_(trained)

    patch.setattr(training.Trainer, "save_checkpoint", save)


def last_checkpoint_as_the_best(patch):
    original = training.Trainer.save_checkpoint
    patch.setattr(training.Trainer, "save_checkpoint", lambda self, folder, **_: original(self, folder))


def optimizer_forgotten_on_resuming(patch):
    original = training.Trainer.load_state

    def load(self, tensors, values):
        return original(self, {name: tensors[name] for name in ("master", "best")}, values)

    patch.setattr(training.Trainer, "load_state", load)


# ---------------------------------------------------------------- probes


def probe_one_token_off(patch):
    original = hidden.batch_for

    def packed(*args, **kwargs):
        batch = original(*args, **kwargs)
        return batch._replace(input_at=batch.input_at - 1)

    patch.setattr(hidden, "batch_for", packed)


def layers_off_by_one(patch):
    original = decoder.Decoder.forward

    def forward(*args, **kwargs):
        out = original(*args, **kwargs)
        if out.hidden_states is not None:
            out.hidden_states = out.hidden_states[1:] + out.hidden_states[:1]
        return out

    patch.setattr(decoder.Decoder, "forward", forward)


def dropout_while_probing(patch):
    patch.setattr(decoder.Decoder, "eval", lambda self: self.train())


def unmatched_f1(patch):
    def by_order(table):
        n = min(table.shape)
        sizes = table.sum(axis=1)[:n] + table.sum(axis=0)[:n]
        return float((2 * np.diagonal(table) / sizes).sum() / len(table))

    replace_everywhere(patch, metrics.matched_f1_score, by_order)


def kmeans_on_the_wrong_split(patch):
    original, read = probing.hidden_states, []

    def states(model, split, **kwargs):
        found = original(model, split, **kwargs)
        read.append(found)
        return found._replace(input_token=read[0].input_token[:, : split.n_instances])

    patch.setattr(probing, "hidden_states", states)


def kmeans_without_plus_plus(patch):
    def uniform(points, n_clusters, restarts, generator):
        B, N, _ = points.shape
        return torch.rand(B, restarts, N, generator=generator).argsort(dim=-1)[..., :n_clusters]

    patch.setattr(kmeans, "_plus_plus", uniform)


def neighbors_find_themselves(patch):
    original = probing.neighborhood

    def with_itself(queries, references, **kwargs):
        for name in ("tasks", "outputs"):
            kwargs[f"reference_{name}"] = torch.cat([kwargs[f"reference_{name}"], kwargs[f"query_{name}"]])
        return original(queries, torch.cat([references, queries], dim=1), **kwargs)

    patch.setattr(probing, "neighborhood", with_itself)


def one_embedding_for_all_layers(patch):
    original = clusters.tsne

    def first_only(points, **kwargs):
        found = original(points, **kwargs)
        return found._replace(points=found.points[:1].expand_as(found.points))

    patch.setattr(clusters, "tsne", first_only)


def one_start_scored(patch):
    original = clusters.tsne

    def lowest_divergence(points, **kwargs):
        found = original(points, **kwargs)
        return found._replace(points=found.best()[:, None], divergence=found.divergence.amin(dim=1, keepdim=True))

    patch.setattr(clusters, "tsne", lowest_divergence)


def tsne_without_exaggeration(patch):
    patch.setattr(tsne, "EXAGGERATION", 1.0)


def highest_divergence_kept(patch):
    patch.setattr(tsne.Embedding, "kept", lambda self: self.divergence.argmax(dim=1))


# ---------------------------------------------------------------- records


def corrupt_record_believed(patch):
    patch.setattr(folders, "_fault", lambda folder: None)


def unfinished_state_believed(patch):
    patch.setattr(progress, "is_sealed", lambda folder: folder.is_dir())


def old_scores_for_a_changed_probe(patch):
    patch.setattr(synthetic_run, "key", lambda config, runner: digest(synthetic_run.VERSION, trajectory_key(config)))


def record_of_another_seed_believed(patch):
    patch.setattr(
        synthetic_run,
        "key",
        lambda config, runner: digest(synthetic_run.VERSION, config.data, config.model, config.training, config.probe),
    )


def missing_numbers_read_as_nought(patch):
    original = codec._array
    patch.setattr(codec, "_array", lambda kind, value: np.array(np.nan_to_num(original(kind, value))))


# ---------------------------------------------------------------- verdicts


def null_overlooked(patch):
    judging = sys.modules["taskclust.claims.judge"]
    original = judging._decide_over_seeds

    def decide(check, records, profile):
        return original(replace(check, null=lambda record: -1e9), records, profile)

    patch.setattr(judging, "_decide_over_seeds", decide)


def failed_seeds_left_out(patch):
    judging = sys.modules["taskclust.claims.judge"]
    original = judging._decide_over_seeds

    def decide(check, records, profile):
        return original(check, [record for record in records if not record.failure] or records, profile)

    patch.setattr(judging, "_decide_over_seeds", decide)


def known_failure_may_hold(patch):
    original = plugin.expected
    patch.setattr(plugin, "expected", lambda known, *, strict: original(known, strict=False))


def crash_counted_as_known_failure(patch):
    patch.setattr(plugin, "expected", lambda known, *, strict: pytest.mark.xfail(strict=strict, reason=known.reason))


# ---------------------------------------------------------------- comparing reports


def seeds_paired_by_place(patch):
    original = paired.difference

    def difference(first, second):
        return original(first, dict(zip(first, second.values(), strict=True)))

    replace_everywhere(patch, original, difference)


def difference_the_wrong_way_round(patch):
    original = paired.difference
    replace_everywhere(patch, original, lambda first, second: original(second, first))


def one_sided_p(patch):
    patch.setattr(paired, "_two_sided", paired.sign_flip)


REGEXES = "tests/data/test_regexes.py::test_"
SYNTHETIC = "tests/data/test_synthetic.py::test_"
HIDDEN = "tests/probes/test_hidden.py::test_"
COMPILED = "tests/models/test_compiled.py::test_"
TRAINING = "tests/models/test_training.py::test_"
TSNE = "tests/probes/test_tsne.py::test_"
PROBING = "tests/experiments/synthetic/test_probing.py::test_"
RUN = "tests/experiments/synthetic/test_run.py::test_"
COUNTED = "tests/experiments/paper_tables/test_run.py::test_"
PROGRESS = "tests/test_progress.py::test_"
RUNNER = "tests/test_runner.py::test_"
JUDGE = "tests/claims/test_judge.py::test_"
PLUGIN = "tests/test_plugin.py::test_"
PAIRED = "tests/claims/test_paired.py::test_"

FAULTS = [
    Fault(
        "shuffled identities",
        shuffled_identities,
        SYNTHETIC + "labels_name_the_identities_of_instances_in_rows_of_mappings",
    ),
    Fault(
        "validation instruction in training",
        validation_instruction_in_training,
        COUNTED + "a_data_set_is_counted_by_hand",
    ),
    Fault(
        "group repeated for the last symbol",
        group_repeated_for_the_last_symbol,
        REGEXES + "family_samples_its_whole_language_and_nothing_else",
    ),
    Fault(
        "last symbol never left out",
        last_symbol_never_left_out,
        REGEXES + "family_samples_its_whole_language_and_nothing_else",
    ),
    Fault(
        "small language drawn again",
        small_language_drawn_again,
        SYNTHETIC + "a_string_of_another_task_is_lost",
    ),
    Fault("lost string kept", lost_string_kept, SYNTHETIC + "distribution_whose_strings_are_all_lost_is_empty"),
    Fault(
        "validation before training",
        validation_before_training,
        SYNTHETIC + "small_language_gives_training_what_it_has_and_validation_what_is_left",
    ),
    Fault(
        "hard outputs unchanged",
        hard_outputs_unchanged,
        COUNTED + "a_data_set_is_counted_by_hand",
    ),
    Fault(
        "inputs see each other",
        altered_batch(inputs_see_each_other),
        HIDDEN + "states_equal_those_of_each_instance_read_separately",
    ),
    Fault(
        "positions off by one",
        altered_batch(positions_off_by_one),
        COMPILED + "loss_and_gradient_are_those_of_autograd[gpt2-{}]",
    ),
    Fault("gradient not clipped", gradient_not_clipped, TRAINING + "gradient_is_clipped"),
    Fault(
        "compiled gradient not clipped",
        compiled_gradient_not_clipped,
        COMPILED + "updates_are_those_of_adamw_on_the_clipped_gradient[0.001-float32]",
    ),
    Fault(
        "dropout of another instruction",
        dropout_of_another_instruction,
        COMPILED + "with_dropout_the_gradient_is_that_of_the_masks_drawn[gpt2]",
    ),
    Fault(
        "keys without their gradient",
        keys_without_gradient,
        COMPILED + "loss_and_gradient_are_those_of_autograd[gpt2-{}]",
    ),
    Fault(
        "one thread's gradient lost",
        one_threads_gradient_lost,
        COMPILED + "threads_share_a_step_and_change_rounding_only[2-2]",
    ),
    Fault(
        "one thread's columns lost",
        one_threads_columns_lost,
        COMPILED + "threads_share_a_step_and_change_rounding_only[2-2]",
    ),
    Fault(
        "untrained checkpoint as the last",
        untrained_checkpoint_as_the_last,
        PROBING + "the_last_checkpoint_is_the_trained_model",
    ),
    Fault(
        "last checkpoint as the best",
        last_checkpoint_as_the_best,
        TRAINING + "best_checkpoint_has_the_weights_of_the_best_epoch",
    ),
    Fault(
        "optimizer forgotten on resuming",
        optimizer_forgotten_on_resuming,
        PROGRESS + "a_saved_training_continues_as_if_it_had_not_stopped",
    ),
    Fault("probe one token off", probe_one_token_off, HIDDEN + "states_equal_those_of_each_instance_read_separately"),
    Fault("layers off by one", layers_off_by_one, HIDDEN + "layer_zero_is_the_embedding"),
    Fault(
        "dropout while probing",
        dropout_while_probing,
        HIDDEN + "reading_has_no_dropout_or_gradients_and_leaves_no_hook",
    ),
    Fault("unmatched F1", unmatched_f1, "tests/probes/test_metrics.py::test_metric_equals_its_oracle[f1]"),
    Fault(
        "k-means on the wrong split", kmeans_on_the_wrong_split, PROBING + "a_splits_scores_come_from_its_own_states"
    ),
    Fault(
        "k-means without ++",
        kmeans_without_plus_plus,
        "tests/probes/test_kmeans.py::test_one_greedy_start_finds_most_clusters",
    ),
    Fault(
        "neighbours find themselves",
        neighbors_find_themselves,
        PROBING + "neighbors_are_searched_only_in_the_training_set",
    ),
    Fault(
        "one embedding for all layers", one_embedding_for_all_layers, PROBING + "the_top_layer_has_its_own_embedding"
    ),
    Fault("one start scored", one_start_scored, RUN + "every_starts_score_is_kept_and_the_score_is_their_mean"),
    Fault("t-SNE without exaggeration", tsne_without_exaggeration, TSNE + "first_iterations_are_those_of_scikit_learn"),
    Fault("highest divergence kept", highest_divergence_kept, TSNE + "kept_embedding_has_the_lowest_divergence"),
    Fault(
        "corrupt record believed",
        corrupt_record_believed,
        "tests/store/test_folders.py::test_every_flipped_bit_is_seen",
    ),
    Fault(
        "unfinished state believed",
        unfinished_state_believed,
        PROGRESS + "an_incomplete_state_is_skipped_for_the_one_before",
    ),
    Fault(
        "old scores for a changed probe",
        old_scores_for_a_changed_probe,
        RUNNER + "a_changed_probe_is_computed_from_the_stored_training",
    ),
    Fault(
        "record of another seed believed",
        record_of_another_seed_believed,
        "tests/experiments/test_experiments.py::test_another_seed_is_another_key",
    ),
    Fault(
        "missing numbers read as nought",
        missing_numbers_read_as_nought,
        RUN + "history_begins_untrained_and_has_one_row_per_epoch",
    ),
    Fault("null overlooked", null_overlooked, JUDGE + "a_passing_negative_control_makes_it_inconclusive"),
    Fault("failed seeds left out", failed_seeds_left_out, JUDGE + "a_failed_seed_counts_as_the_worst"),
    Fault(
        "known failure may hold",
        known_failure_may_hold,
        PLUGIN + "a_known_failure_is_expected_and_its_success_fails_the_run",
    ),
    Fault(
        "crash counted as known failure",
        crash_counted_as_known_failure,
        PLUGIN + "a_crash_is_not_excused_by_a_known_failure",
    ),
    Fault("seeds paired by place", seeds_paired_by_place, PAIRED + "values_are_paired_by_seed_and_not_by_their_order"),
    Fault(
        "difference the wrong way round",
        difference_the_wrong_way_round,
        PAIRED + "the_difference_is_the_second_minus_the_first",
    ),
    Fault("one-sided p", one_sided_p, PAIRED + "the_difference_is_the_second_minus_the_first"),
]


class Planter:
    """A plugin that plants a fault after collection and records the exceptions of tests."""

    def __init__(self, plant: Callable[[], None]) -> None:
        self._plant = plant
        self.raised: list[tuple[str, type]] = []

    def pytest_collection_finish(self) -> None:
        self._plant()

    def pytest_exception_interact(self, call: pytest.CallInfo, report: pytest.TestReport) -> None:
        self.raised.append((report.when, call.excinfo.type))


@pytest.fixture
def run_inside(pytestconfig, tmp_path):
    """Run tests in a new session in this process; return the exit code and the exceptions."""

    def _run_inside(tests, plant=lambda: None):
        chosen = [str(pytestconfig.rootpath / test) for test in tests]
        options = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--store={tmp_path / 'store'}",
            f"--basetemp={tmp_path / 'inside'}",
        ]
        planter = Planter(plant)
        return pytest.main([*options, *chosen], plugins=[planter]), planter.raised

    return _run_inside


def test_the_tests_pass_without_a_fault(run_inside):
    code, raised = run_inside(sorted({fault.noticed_by for fault in FAULTS}))

    assert (code, raised) == (pytest.ExitCode.OK, [])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_planted_fault_is_noticed(fault, run_inside):
    with pytest.MonkeyPatch.context() as patch:
        code, raised = run_inside([fault.noticed_by], lambda: fault.plant(patch))

    assert code == pytest.ExitCode.TESTS_FAILED
    assert ("call", AssertionError) in raised
