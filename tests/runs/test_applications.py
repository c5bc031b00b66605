"""Records of the two applications: what they hold, that they are found again, and that a stop changes nothing."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from taskclust.config import (
    ARMS,
    SPLITS,
    AlignmentConfig,
    IdentityDataConfig,
    ModelConfig,
    PretrainingConfig,
    ProbeConfig,
    RegexConfig,
    SwitchConfig,
    TrainingConfig,
)
from taskclust.data import generate, generate_alignment
from taskclust.data.identities import identity_dataset
from taskclust.models import Decoder, Trainer
from taskclust.models.alignment import accuracy, instances_of, read, switch_examples
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.hidden import hidden_states
from taskclust.runs import Runner, Store, applications, experiments, obtain_all
from tests.helpers import tiny_data, tiny_pairs

SHORT = RegexConfig(min_metacharacters=3, max_characters=5)
MODEL = ModelConfig(width=16, feed_forward=32, layers=2, heads=2, weight_std=0.1, token_std=0.5, norm="before")


def training(epochs, **changes):
    settings = {"learning_rate": 1e-2, "batch_instructions": 8, "checkpoints": (0,), "precision": "float32"}
    return TrainingConfig(epochs=epochs, schedule_epochs=epochs, **{**settings, **changes})


def pretraining(**changes):
    plain = tiny_data(regex=SHORT, n_hard_tasks=0)
    return PretrainingConfig(
        data=IdentityDataConfig(**{name: getattr(plain, name) for name in plain.__slots__}),
        model=MODEL,
        pretraining=training(3, checkpoints=(0, 3)),
        training=training(3),
        probe=ProbeConfig(perplexity=2, iterations=60, tsne_restarts=2, kmeans_restarts=2),
        **changes,
    )


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
def pretrained(runner):
    return runner.pretraining(pretraining())


@pytest.fixture(scope="module")
def aligned(runner):
    return runner.alignment(alignment())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def comparable(record):
    """A record without what may differ between two equal runs."""
    return {k: v for k, v in record.items() if k not in ("seconds", "provenance")}


# ---------------------------------------------------------------- what records hold


def test_every_arm_is_tuned_and_all_but_none_are_pretrained(pretrained):
    assert list(pretrained["tuning"]) == list(ARMS)
    assert list(pretrained["pretraining"]) == [arm for arm in ARMS if arm != "none"]
    assert {len(part["history"]) for part in pretrained["tuning"].values()} == {4}
    assert pretrained["failure"] is None


@pytest.mark.parametrize("best", [1, 2])
def test_the_null_lasts_as_long_as_the_identities_that_were_selected(tmp_path, monkeypatch, best):
    monkeypatch.setattr(Trainer, "best_epoch", property(lambda self: min(best, self.epoch)))

    record = Runner(Store(tmp_path)).pretraining(pretraining())

    lasts = {arm: len(part["history"]) - 1 for arm, part in record["pretraining"].items()}
    assert lasts == {"identity": 3, "instruction": 3, "shuffled": best}


def test_no_pretraining_is_the_plain_training(pretrained):
    config = pretraining()
    trainer = Trainer(config.stage("training"), generate(config.data, 0))
    for _ in range(3):
        trainer.run_epoch()

    recorded = {arm: [row["loss"] for row in pretrained["tuning"][arm]["history"]][1:] for arm in ARMS}

    plain = pytest.approx([row["loss"] for row in trainer.history][1:], rel=1e-4)
    assert recorded["none"] == plain
    assert recorded["instruction"] != plain
    assert recorded["shuffled"] != plain


def test_clusters_are_probed_at_every_checkpoint_and_split(pretrained):
    assert pretrained["epochs"] == {"raw": [0, 3], "tsne": [0, 3]}
    for split in SPLITS:
        of_each = pretrained["scores"][split]["starts"]["task"]["ari"]
        assert np.shape(of_each) == (2, MODEL.layers + 1, 2)
        assert pretrained["scores"][split]["tsne"]["task"]["ari"] == pytest.approx(np.mean(of_each, axis=-1), abs=1e-4)


def test_methods_are_the_four_of_table_2_and_each_switch_has_its_null(aligned):
    assert list(aligned["methods"]) == ["direct", "head", "linear", "mlp"]
    assert list(aligned["shuffled"]) == ["linear", "mlp"]
    for row in (*aligned["methods"].values(), *aligned["shuffled"].values()):
        assert row["drop"] == pytest.approx(aligned["base"]["others"] - row["others"])


def test_selected_epoch_is_the_first_of_best_source_accuracy(aligned):
    for name in ("direct", "head"):
        method = aligned["methods"][name]
        source = [row["source"] for row in method["history"]]

        assert method["best_epoch"] == int(np.argmax(source))
        assert method["source"] == pytest.approx(max(source))
        assert method["others"] == pytest.approx(method["history"][method["best_epoch"]]["others"])


def test_head_alone_is_fine_tuned_in_training_too():
    config = alignment()
    base = Decoder.create(config.data, config.model, generator())
    before = copy.deepcopy(base.state_dict())
    trainer = applications.fine_tuner("head", config, base, generate_alignment(config.data, 0), "cpu")

    trainer.run_epoch()

    assert all(torch.equal(old, base.state_dict()[name]) for name, old in before.items())
    trained = trainer.model.state_dict()
    assert {name for name, old in before.items() if not torch.equal(old, trained[name])} == {"head.weight"}


def test_a_switch_never_hurts_where_it_does_not_fire():
    config = alignment(seed=1)
    data = generate_alignment(config.data, 1)
    base = Decoder.create(config.data, config.model, generator(1)).eval()
    model = applications.switched("linear", config, base, data)
    for parameter in model.switch.parameters():
        torch.nn.init.zeros_(parameter)
    others = instances_of(data.others)

    assert accuracy(model, others) == accuracy(base, others)


# ---------------------------------------------------------------- what goes where, each also shown to fail


def check_probe_reads_the_triggers_states_of_each_checkpoint(folder, _patch):
    """Scores of pre-training are those of the trigger's states, split by split and epoch by epoch."""
    config = pretraining()
    dataset = generate(config.data, 0)
    marked = identity_dataset(dataset)
    models = {n: Decoder.create(config.data, MODEL, generator(n)) for n in (0, 3)}
    for n, model in models.items():
        model.save_pretrained(folder / f"{n:04d}")

    record = applications.probe_identities(folder, dataset, config, "cpu")

    for name in SPLITS:
        found = record["scores"][name]["raw"]["task"]["label_inertia"]
        for row, model in zip(found, models.values(), strict=True):
            split = marked.splits[name]
            states = hidden_states(model, split).input_token
            scores = cluster_scores(states, split, config.probe, with_tsne=True, seed=0)
            assert row == pytest.approx(scores["raw"]["task"]["label_inertia"]), f"{name}: something else is probed"


def check_methods_learn_from_the_new_data(_folder, patch):
    """Each method is trained on the new data, a switch on one instance of each other task too; validation chooses."""
    config = alignment()
    data = generate_alignment(config.data, 0)
    base = Decoder.create(config.data, config.model, generator())
    given, real = [], applications.align

    def spied(model, source, others, *, config, validation, generator):
        given.append((config.kind, source, others, validation))
        return real(model, source, others, config=config, validation=validation, generator=generator)

    patch.setattr(applications, "align", spied)
    patch.setattr(applications, "Trainer", lambda stage, dataset, device, model: dataset)
    splits = instances_of(data.train), instances_of(data.one_each), instances_of(data.validation)
    for kind in ("linear", "mlp"):
        applications.switched(kind, config, base, data)
        assert given.pop() == (kind, *splits), "a switch is trained on something else"
    for name in ("direct", "head"):
        dataset = applications.fine_tuner(name, config, base, data, "cpu")
        trained = dataset.train, dataset.subset, dataset.validation
        assert all(a is b for a, b in zip(trained, (data.train, data.others, data.validation), strict=True)), (
            "a fine-tuning is trained on something else"
        )


def check_arms_are_tuned_on_the_task_alone(folder, patch):
    """Every arm is tuned on the plain data set."""
    config, tuners, real = pretraining(), [], applications.tuner

    def spied(*args):
        tuners.append(real(*args))
        return tuners[-1]

    patch.setattr(applications, "tuner", spied)
    Runner(Store(folder)).pretraining(config)

    plain = Trainer(config.stage("training"), generate(config.data, 0))
    for trainer in tuners:
        for name, split in plain._data.items():
            assert torch.equal(trainer._data[name].inputs, split.inputs), "tuned on something else"
    assert len(tuners) == len(ARMS)


def with_data(function, **changes):
    """``function`` given other splits: a name for each, of the split it is given instead."""

    def faulty(name, config, base, data, *rest):
        return function(name, config, base, replace(data, **{k: getattr(data, v) for k, v in changes.items()}), *rest)

    return faulty


class _FirstCheckpoint(Decoder):
    @classmethod
    def from_pretrained(cls, folder):
        return Decoder.from_pretrained(folder.with_name("0000"))


PROBE, METHODS, TUNING = (
    check_probe_reads_the_triggers_states_of_each_checkpoint,
    check_methods_learn_from_the_new_data,
    check_arms_are_tuned_on_the_task_alone,
)
COMPOSITION_FAULTS = {
    "first-checkpoint-for-all": ("Decoder", _FirstCheckpoint, PROBE),
    "plain-data-probed": ("identity_dataset", lambda dataset: dataset, PROBE),
    "last-instruction-token-probed": (
        "hidden_states",
        lambda *args, **kwargs: (found := hidden_states(*args, **kwargs))._replace(input_token=found.instruction_end),
        PROBE,
    ),
    "tuned-on-validation": ("fine_tuner", with_data(applications.fine_tuner, train="validation"), METHODS),
    "selected-on-training": ("fine_tuner", with_data(applications.fine_tuner, validation="train"), METHODS),
    "switch-sees-validation": ("switched", with_data(applications.switched, train="validation"), METHODS),
    "switch-sees-all-others": ("switched", with_data(applications.switched, one_each="others"), METHODS),
    "one-kind-of-switch": (
        "switched",
        lambda kind, *rest, real=applications.switched: real("mlp", *rest),
        METHODS,
    ),
    "identities-in-tuning": (
        "tuner",
        lambda config, data, *rest, real=applications.tuner: real(config, identity_dataset(data), *rest),
        TUNING,
    ),
}


@pytest.mark.parametrize("check", [PROBE, METHODS, TUNING], ids=lambda check: check.__name__)
def test_composition_holds(check, tmp_path, monkeypatch):
    check(tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "fault", "check"), COMPOSITION_FAULTS.values(), ids=COMPOSITION_FAULTS)
def test_planted_fault_is_caught(name, fault, check, tmp_path, monkeypatch):
    monkeypatch.setattr(applications, name, fault)

    with pytest.raises(AssertionError, match="something else"):
        check(tmp_path, monkeypatch)


def test_null_of_a_switch_has_as_many_sources_among_the_same_states_but_others():
    config = alignment()
    data = generate_alignment(config.data, 0)
    aligned = applications.switched("linear", config, Decoder.create(config.data, config.model, generator()), data)
    given = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applications, "train_switch", lambda *args: given.append(args) or aligned.switch)
        null = applications.shuffle_switch(aligned, config, data)

    states, labels = switch_examples(*(read(aligned.base, instances_of(s)) for s in (data.train, data.one_each)))
    assert torch.equal(given[0][0], states)
    assert given[0][1].sum() == labels.sum()
    assert not torch.equal(given[0][1], labels)
    assert torch.equal(null.new_head.weight, aligned.new_head.weight)


# ---------------------------------------------------------------- the store


@pytest.mark.parametrize(("kind", "config"), [("pretraining", pretraining()), ("alignment", alignment())])
def test_a_record_is_computed_once(kind, config, runner, pretrained, aligned, monkeypatch):
    monkeypatch.setattr(experiments, "pretrain", None)  # called again, it would raise
    monkeypatch.setattr(experiments, "compare_methods", None)

    record = getattr(runner, kind)(config)

    assert runner.is_stored(config, kind)
    assert not runner.is_stored(replace(config, seed=9), kind)
    assert record == {"pretraining": pretrained, "alignment": aligned}[kind]


def test_obtain_all_gives_the_records_of_a_kind_in_order(runner, aligned):
    first, second = obtain_all(runner, [alignment(), alignment(seed=2)], workers=1, kind="alignment")

    assert first == aligned
    assert second["config"]["seed"] == 2


@pytest.mark.parametrize("change", ["pretraining", "training"])
def test_each_stages_settings_are_part_of_the_key(change, runner):
    config = pretraining()
    other = replace(config, **{change: replace(getattr(config, change), learning_rate=0.5)})

    assert runner.key("pretraining", config) != runner.key("pretraining", other)


@pytest.mark.usefixtures("aligned")
def test_base_of_an_alignment_is_a_trajectory_that_others_share(runner):
    config = alignment()
    more_steps = replace(config, direct=training(7))
    base = runner.keys(runner.resolve(config.stage("training")))["trajectory"]

    assert runner.store.path("trajectory", base).exists()
    assert base == runner.keys(runner.resolve(more_steps.stage("training")))["trajectory"]
    assert runner.key("alignment", config) != runner.key("alignment", more_steps)


@pytest.mark.parametrize("stop", [2, 5, 8])
def test_a_stopped_pretraining_goes_on_to_the_same_record(stop, pretrained, tmp_path, monkeypatch):
    runner, config, count = Runner(Store(tmp_path)), pretraining(), iter(range(1000))
    real = Trainer.epoch_steps
    monkeypatch.setattr(experiments, "SAVE_EVERY", -1.0)

    def stopping(self):
        if next(count) == stop:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Trainer, "epoch_steps", stopping)
    with pytest.raises(KeyboardInterrupt):
        runner.pretraining(config)
    monkeypatch.setattr(Trainer, "epoch_steps", real)

    assert comparable(runner.pretraining(config)) == comparable(pretrained)
    assert not list((tmp_path / "unfinished").iterdir())


def test_a_diverging_arm_gives_a_record_that_says_so(tmp_path):
    config = pretraining()
    config = replace(config, training=replace(config.training, learning_rate=1e30))

    with pytest.warns(RuntimeWarning, match="the loss became"):
        record = Runner(Store(tmp_path)).pretraining(config)

    assert "learning_rate=1e+30" in record["failure"]


def test_auto_precision_is_settled_in_every_stage(runner):
    auto = replace(alignment(), **{n: replace(training(3), precision="auto") for n in ("training", "direct", "head")})

    settled = runner.resolve(auto)

    assert {s.precision for s in (settled.training, settled.direct, settled.head)} == {"float32"}
