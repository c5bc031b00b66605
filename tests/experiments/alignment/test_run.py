"""Records of §4.2: their content, that they are found again, and the data each method learns from."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from taskclust.config import AlignmentConfig, SwitchConfig
from taskclust.data import generate_alignment
from taskclust.engines import obtain_all
from taskclust.experiments.alignment import run as module
from taskclust.models.alignment import accuracy, instances_of, read, switch_examples
from taskclust.models.decoder import Decoder
from taskclust.runner import Runner
from taskclust.store import Store, encode
from tests.experiments.small import MODEL, SHORT, training
from tests.helpers import tiny_pairs


def alignment(**changes):
    return AlignmentConfig(
        data=tiny_pairs(regex=SHORT),
        model=replace(MODEL, tied_head=True, dropout=0.0),
        training=training(25),
        direct=training(6),
        head=training(6),
        switch=SwitchConfig(epochs=5, head_epochs=5, learning_rate=1e-2, head_learning_rate=1e-2),
        **changes,
    )


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def aligned(runner):
    return runner.record("alignment", alignment())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- what records hold


def test_methods_are_the_four_of_table_2_and_each_switch_has_its_null(aligned):
    assert list(aligned.methods) == ["direct", "head", "linear", "mlp"]
    assert list(aligned.shuffled) == ["linear", "mlp"]
    for method in (*aligned.methods.values(), *aligned.shuffled.values()):
        assert method.drop == pytest.approx(aligned.base.others - method.others)


def test_fine_tunings_have_a_history_and_switches_say_how_often_they_fire(aligned):
    for name, method in aligned.methods.items():
        is_tuned = name in ("direct", "head")
        assert (method.history is not None, method.best_epoch is not None, method.fires is None) == (is_tuned,) * 3
        if is_tuned:
            assert {column: values.shape for column, values in method.history.items()} == dict.fromkeys(
                ("source", "others", "loss"), (7,)
            )
            assert np.isnan(method.history["loss"][0])
    for method in aligned.shuffled.values():
        assert 0 <= method.fires.source <= 1
        assert 0 <= method.fires.others <= 1


def test_the_record_has_the_bases_history_and_what_was_run(aligned):
    assert aligned.config == alignment()
    assert aligned.failure is None
    assert {column.shape for column in aligned.base_history.values()} == {(26,)}
    assert aligned.seconds.keys() == {"train", "align"}


def test_selected_epoch_is_the_first_of_best_source_accuracy(aligned):
    for name in ("direct", "head"):
        method = aligned.methods[name]

        assert method.best_epoch == int(np.argmax(method.history["source"]))
        assert method.source == pytest.approx(method.history["source"].max())
        assert method.others == pytest.approx(method.history["others"][method.best_epoch])


def test_only_the_head_is_fine_tuned():
    config = alignment()
    base = Decoder.create(config.data, config.model, generator())
    before = copy.deepcopy(base.state_dict())
    trainer = module.fine_tuner("head", config, base, generate_alignment(config.data, 0), "cpu")

    trainer.run_epoch()

    assert all(torch.equal(old, base.state_dict()[name]) for name, old in before.items())
    trained = trainer.model.state_dict()
    assert {name for name, old in before.items() if not torch.equal(old, trained[name])} == {"head.weight"}


def test_a_switch_never_hurts_where_it_does_not_fire():
    config = alignment(seed=1)
    data = generate_alignment(config.data, 1)
    base = Decoder.create(config.data, config.model, generator(1)).eval()
    model = module.switched("linear", config, base, data)
    for parameter in model.switch.parameters():
        torch.nn.init.zeros_(parameter)
    others = instances_of(data.others)

    assert accuracy(model, others) == accuracy(base, others)


# ---------------------------------------------------------------- what goes where, each also shown to fail


def check_methods_learn_from_the_new_data(patch):
    """Methods train on the new data, switches also on one instance of each other task; validation selects the epoch."""
    config = alignment()
    data = generate_alignment(config.data, 0)
    base = Decoder.create(config.data, config.model, generator())
    given, real = [], module.align

    def spied(model, source, others, *, config, validation, generator):
        given.append((config.kind, source, others, validation))
        return real(model, source, others, config=config, validation=validation, generator=generator)

    patch.setattr(module, "align", spied)
    patch.setattr(module, "Trainer", lambda stage, dataset, device, model: dataset)
    splits = instances_of(data.train), instances_of(data.one_each), instances_of(data.validation)
    for kind in ("linear", "mlp"):
        module.switched(kind, config, base, data)
        assert given.pop() == (kind, *splits), "a switch is trained on something else"
    for name in ("direct", "head"):
        dataset = module.fine_tuner(name, config, base, data, "cpu")
        trained = dataset.train, dataset.subset, dataset.validation
        assert all(a is b for a, b in zip(trained, (data.train, data.others, data.validation), strict=True)), (
            "a fine-tuning is trained on something else"
        )


def with_data(function, **changes):
    """``function`` called with other splits, named by the split that each replaces."""

    def faulty(name, config, base, data, *rest):
        return function(name, config, base, replace(data, **{k: getattr(data, v) for k, v in changes.items()}), *rest)

    return faulty


COMPOSITION_FAULTS = {
    "tuned-on-validation": ("fine_tuner", with_data(module.fine_tuner, train="validation")),
    "selected-on-training": ("fine_tuner", with_data(module.fine_tuner, validation="train")),
    "switch-sees-validation": ("switched", with_data(module.switched, train="validation")),
    "switch-sees-all-others": ("switched", with_data(module.switched, one_each="others")),
    "one-kind-of-switch": ("switched", lambda kind, *rest, real=module.switched: real("mlp", *rest)),
}


def test_methods_learn_from_the_new_data(monkeypatch):
    check_methods_learn_from_the_new_data(monkeypatch)


@pytest.mark.parametrize(("name", "fault"), COMPOSITION_FAULTS.values(), ids=COMPOSITION_FAULTS)
def test_planted_fault_is_caught(name, fault, monkeypatch):
    monkeypatch.setattr(module, name, fault)

    with pytest.raises(AssertionError, match="something else"):
        check_methods_learn_from_the_new_data(monkeypatch)


def test_a_switchs_control_has_the_same_states_with_shuffled_labels():
    config = alignment()
    data = generate_alignment(config.data, 0)
    aligned = module.switched("linear", config, Decoder.create(config.data, config.model, generator()), data)
    given = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "train_switch", lambda *args: given.append(args) or aligned.switch)
        null = module.shuffle_switch(aligned, config, data)

    states, labels = switch_examples(*(read(aligned.base, instances_of(s)) for s in (data.train, data.one_each)))
    assert torch.equal(given[0][0], states)
    assert given[0][1].sum() == labels.sum()
    assert not torch.equal(given[0][1], labels)
    assert torch.equal(null.new_head.weight, aligned.new_head.weight)


# ---------------------------------------------------------------- the store


def test_a_record_is_computed_once(runner, aligned, monkeypatch):
    monkeypatch.setattr(module, "run", None)  # called again, it would raise

    record = runner.record("alignment", alignment())

    assert runner.is_stored("alignment", alignment())
    assert not runner.is_stored("alignment", alignment(seed=9))
    assert encode(record) == encode(aligned)


def test_obtain_all_gives_the_records_of_an_experiment_in_order(runner, aligned):
    first, second = obtain_all(runner, "alignment", [alignment(), alignment(seed=2)], workers=1)

    assert encode(first) == encode(aligned)
    assert second.config.seed == 2


@pytest.mark.usefixtures("aligned")
def test_base_of_an_alignment_is_a_trajectory_that_others_share(runner):
    config = alignment()
    more_steps = replace(config, direct=training(7))
    base = runner.key("trajectory", config.stage("training"))

    assert runner.store.path("trajectory", base).exists()
    assert base == runner.key("trajectory", more_steps.stage("training"))
    assert runner.key("alignment", config) != runner.key("alignment", more_steps)


def test_auto_precision_is_settled_in_every_stage(runner):
    auto = replace(alignment(), **{n: replace(training(3), precision="auto") for n in ("training", "direct", "head")})

    settled = runner.resolve("alignment", auto)

    assert {s.precision for s in (settled.training, settled.direct, settled.head)} == {"float32"}


def test_a_base_that_diverges_gives_a_record_that_says_so(tmp_path):
    config = replace(alignment(), training=replace(training(2), learning_rate=1e30))

    with pytest.warns(RuntimeWarning, match="the loss became"):
        record = Runner(Store(tmp_path)).record("alignment", config)

    assert "learning_rate=1e+30" in record.failure
