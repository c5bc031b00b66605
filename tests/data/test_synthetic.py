"""The data set has disjoint splits, distinct identities, and hard examples with one replaced symbol."""

import dataclasses
import itertools
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from taskclust.config import ConfigError, DataConfig, RegexConfig
from taskclust.data import PAD, generate
from taskclust.data.synthetic import draw_counts
from tests.helpers import tiny_data
from tests.strategies import data_configs, seeds

SPLITS = ("train", "subset", "validation")
modest = settings(deadline=None, max_examples=30)


def read(split):
    """The instructions of a split, as tuples of tokens."""
    return [tuple(row[:n].tolist()) for row, n in zip(split.instructions, split.lengths, strict=True)]


def ordinary(dataset):
    return [task for task in dataset.tasks if task.original is None]


def hard(dataset):
    return [task for task in dataset.tasks if task.original is not None]


def hard_and_original(dataset):
    """Each hard distribution with its originals, in order."""
    config = dataset.config
    first = 0 if config.small_languages == "keep" else config.n_validation_instructions
    copied = slice(first, first + config.n_hard_instructions)
    for task in hard(dataset):
        for ours, theirs in zip(task.distributions, dataset.tasks[task.original].distributions, strict=True):
            yield ours.instructions, theirs.instructions[copied]


def replaced(instruction, original):
    """The (old, new) symbols at the places where two instructions of one length differ."""
    return [(old, new) for new, old in zip(instruction, original, strict=True) if new != old]


@pytest.fixture(scope="module")
def paper_data():
    return generate(DataConfig(), seed=0)


@pytest.fixture(scope="module")
def tiny():
    return generate(tiny_data(), seed=0)


# --- identities


@modest
@given(config=data_configs(), seed=seeds)
def test_no_instruction_occurs_twice(config, seed):
    dataset = generate(config, seed)

    instructions = [i for task in dataset.tasks for d in task.distributions for i in d.instructions]

    assert len(set(instructions)) == len(instructions)


@modest
@given(config=data_configs(small_languages="redraw"), seed=seeds)
def test_no_instruction_matches_a_pattern_of_another_task(config, seed):
    tasks = ordinary(generate(config, seed))

    for ours, theirs in itertools.permutations(tasks, 2):
        for mine, other in itertools.product(ours.distributions, theirs.distributions):
            assert not any(other.pattern.matches(i) for i in mine.instructions)


@modest
@given(config=data_configs(), seed=seeds)
def test_every_ordinary_instruction_is_of_its_pattern_and_of_admissible_length(config, seed):
    for task in ordinary(generate(config, seed)):
        for distribution in task.distributions:
            assert all(distribution.pattern.matches(i) for i in distribution.instructions)
            assert all(config.regex.min_length <= len(i) <= config.regex.max_length for i in distribution.instructions)


@modest
@given(config=data_configs(small_languages="redraw"), seed=seeds)
def test_every_distribution_has_the_configured_number_of_instructions(config, seed):
    dataset = generate(config, seed)

    for tasks, n in ((ordinary(dataset), config.n_instructions), (hard(dataset), config.n_hard_instructions)):
        assert all(len(d.instructions) == n for task in tasks for d in task.distributions)


@modest
@given(config=data_configs(), seed=seeds)
def test_identities_number_tasks_and_distributions_without_a_gap(config, seed):
    dataset = generate(config, seed)

    assert [task.identity for task in dataset.tasks] == list(range(config.n_tasks + config.n_hard_tasks))
    distributions = [d.identity for task in dataset.tasks for d in task.distributions]
    assert distributions == list(range(len(distributions)))


@modest
@given(config=data_configs(), seed=seeds)
def test_no_two_tasks_share_a_mapping(config, seed):
    dataset = generate(config, seed)

    mappings = [m for task in dataset.tasks for m in task.function.mappings()]

    assert len(set(mappings)) == len(mappings) == len(dataset.tasks) * config.n_mappings


# --- hard examples


@modest
@given(config=data_configs(hard=True), seed=seeds)
def test_hard_example_fits_no_pattern_of_a_third_task(config, seed):
    tasks = generate(config, seed).tasks

    for hard in tasks[config.n_tasks :]:
        others = [
            d.pattern for task in tasks[: config.n_tasks] if task.identity != hard.original for d in task.distributions
        ]
        assert not any(p.matches(i) for p in others for d in hard.distributions for i in d.instructions)


@modest
@given(config=data_configs(hard=True), seed=seeds)
def test_hard_example_is_new_and_keeps_the_length_of_its_original(config, seed):
    dataset = generate(config, seed)
    existing = {i for task in ordinary(dataset) for d in task.distributions for i in d.instructions}

    for copies, originals in hard_and_original(dataset):
        assert existing.isdisjoint(copies)
        assert [len(i) for i in copies] == [len(i) for i in originals]


@modest
@given(
    config=data_configs(hard=True, small_languages="redraw").map(
        lambda c: dataclasses.replace(c, hard_replacement="distribution")
    ),
    seed=seeds,
)
def test_mode_distribution_replaces_one_symbol_throughout(config, seed):
    for copies, originals in hard_and_original(generate(config, seed)):
        changes = [replaced(copy, original) for copy, original in zip(copies, originals, strict=True)]

        assert len({new for pairs in changes for _, new in pairs}) == 1, "one new symbol for the whole distribution"
        for pairs, original in zip(changes, originals, strict=True):
            assert len(set(pairs)) == 1, "one symbol is replaced in an instruction"
            assert len(pairs) == original.count(pairs[0][0]), "wherever it stands"


@modest
@given(config=data_configs(hard=True).map(lambda c: dataclasses.replace(c, hard_replacement="instruction")), seed=seeds)
def test_mode_instruction_replaces_exactly_one_place(config, seed):
    for copies, originals in hard_and_original(generate(config, seed)):
        assert all(len(replaced(copy, original)) == 1 for copy, original in zip(copies, originals, strict=True))


@modest
@given(config=data_configs(hard=True), seed=seeds)
def test_hard_task_keeps_the_inputs_and_changes_every_output(config, seed):
    dataset = generate(config, seed)

    for task in hard(dataset):
        original = dataset.tasks[task.original].function
        assert task.function.inputs == original.inputs
        assert not any(new == old for new, old in zip(task.function.outputs, original.outputs, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_new_symbol_of_a_distribution_is_one_that_it_does_not_use(seed):
    dataset = generate(tiny_data(hard_replacement="distribution"), seed)
    used = {
        d.identity: set().union(*d.instructions)
        for task in dataset.tasks[: dataset.config.n_hard_tasks]
        for d in task.distributions
    }

    for symbols, (copies, originals) in zip(used.values(), hard_and_original(dataset), strict=True):
        assert len(symbols) < dataset.config.regex.n_symbols
        (_, new), *_ = replaced(copies[0], originals[0])
        assert new not in symbols


def test_mode_distribution_replaces_the_most_shared_symbol():
    dataset = generate(tiny_data(hard_replacement="distribution"), seed=3)

    for copies, originals in hard_and_original(dataset):
        for copy, original in zip(copies, originals, strict=True):
            shared = {symbol: sum(symbol in i for i in originals) for symbol in original}
            (old, _), *_ = replaced(copy, original)
            assert shared[old] == max(shared.values())


# --- splits


@modest
@given(config=data_configs(), seed=seeds)
def test_no_validation_instruction_is_trained_on(config, seed):
    dataset = generate(config, seed)

    assert set(read(dataset.train)).isdisjoint(read(dataset.validation))


@modest
@given(config=data_configs(), seed=seeds)
def test_subset_is_contained_in_train_with_its_outputs(config, seed):
    dataset = generate(config, seed)

    def rows(split):
        return set(zip(read(split), map(tuple, split.inputs.tolist()), map(tuple, split.outputs.tolist()), strict=True))

    assert rows(dataset.subset) <= rows(dataset.train)


@modest
@given(config=data_configs(), seed=seeds)
def test_train_and_validation_have_every_instruction_once(config, seed):
    dataset = generate(config, seed)
    everything = [i for task in dataset.tasks for d in task.distributions for i in d.instructions]

    held = read(dataset.train) + read(dataset.validation)

    assert Counter(held) == Counter(tuple(s + 1 for s in i) for i in everything)


@modest
@given(config=data_configs(small_languages="redraw"), seed=seeds)
def test_validation_holds_the_same_number_of_instructions_of_each_distribution_of_its_tasks(config, seed):
    dataset = generate(config, seed)
    wanted = {d.identity for task in dataset.tasks[: config.n_validation_tasks] for d in task.distributions}

    counts = Counter(dataset.validation.distribution.tolist())

    n = config.n_validation_instructions
    assert counts == (Counter(dict.fromkeys(wanted, n)) if n else Counter())


@modest
@given(config=data_configs(), seed=seeds)
def test_tokens_are_padding_then_instruction_symbols_then_task_symbols(config, seed):
    dataset = generate(config, seed)
    first = 1 + config.regex.n_symbols

    for split in dataset.splits.values():
        written = np.arange(split.instructions.shape[1]) < split.lengths[:, None]
        assert (split.instructions[~written] == PAD).all()
        assert ((split.instructions[written] >= 1) & (split.instructions[written] < first)).all()
        for symbols in (split.inputs, split.outputs):
            assert ((symbols >= first) & (symbols < config.vocab_size)).all()


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_defaults_give_the_sizes_of_table_3(seed):
    dataset = generate(DataConfig(), seed)

    sizes = {name: split.n_instances for name, split in dataset.splits.items()}

    assert sizes == {"train": 7_275, "subset": 180, "validation": 315}


def test_defaults_are_generated_in_under_two_seconds_of_processor_time():
    start = time.process_time()
    generate(DataConfig(), seed=7)

    assert time.process_time() - start < 2


def test_without_hard_tasks_the_subset_is_all_that_is_trained_of_its_tasks():
    dataset = generate(tiny_data(n_hard_tasks=0), seed=0)

    trained = dataset.train.task < dataset.config.n_subset_tasks

    assert read(dataset.subset) == list(itertools.compress(read(dataset.train), trained))
    assert not dataset.subset.is_hard.any()


# --- small languages, kept


def kept(repeats, symbols=1, **changes):
    """One distribution per task, each with a pattern ``x+`` of so many strings; no hard tasks."""
    regex = RegexConfig(
        n_symbols=symbols,
        families=("plus",),
        max_repeats=repeats,
        max_metacharacters=1,
        min_characters=1,
        max_characters=1,
        min_length=1,
    )
    plain = {
        "n_tasks": 1,
        "max_distributions": 1,
        "n_instructions": 4,
        "n_validation_instructions": 3,
        "n_validation_tasks": 1,
        "n_hard_instructions": 1,
        "n_hard_tasks": 0,
        "n_subset_tasks": 0,
    }
    return tiny_data(regex=regex, small_languages="keep", **{**plain, **changes})


@pytest.mark.parametrize(
    ("strings", "trained", "held_out"),
    [(1, 1, 0), (3, 3, 0), (4, 4, 0), (5, 4, 1), (7, 4, 3), (9, 4, 3)],
)
def test_small_language_gives_training_what_it_has_and_validation_what_is_left(strings, trained, held_out):
    dataset = generate(kept(strings), seed=0)

    assert (len(read(dataset.train)), len(read(dataset.validation))) == (trained, held_out)
    assert {*read(dataset.train), *read(dataset.validation)} <= {(1,) * n for n in range(1, strings + 1)}


def test_only_validation_tasks_have_instructions_besides_those_of_training():
    dataset = generate(kept(7, symbols=40, n_tasks=2), seed=0)

    assert [len(d.instructions) for task in dataset.tasks for d in task.distributions] == [7, 4]
    assert Counter(dataset.train.task.tolist()) == {0: 4, 1: 4}
    assert Counter(dataset.validation.task.tolist()) == {0: 3}


def test_a_string_of_another_task_is_lost():
    """Both tasks have the pattern ``a+`` of three strings; the first task takes two of them."""
    dataset = generate(kept(3, n_tasks=2, n_instructions=2, n_validation_instructions=0, n_validation_tasks=0), seed=0)
    first, second = (d.instructions for task in dataset.tasks for d in task.distributions)

    assert (len(first), len(second)) == (2, 1)
    assert {*first, *second} == {(0,), (0, 0), (0, 0, 0)}


def test_distribution_whose_strings_are_all_lost_is_empty():
    dataset = generate(kept(2, n_tasks=3, n_validation_instructions=0), seed=0)

    assert [len(d.instructions) for task in dataset.tasks for d in task.distributions] == [2, 0, 0]
    assert dataset.train.task.tolist() == [0, 0]


def test_hard_examples_of_a_small_language_are_as_many_as_its_training_instructions_at_most():
    """``x+`` has two strings over two symbols, and three hard examples are wanted: both copies use the other symbol."""
    config = kept(2, symbols=2, n_hard_tasks=1, n_hard_instructions=3, n_subset_tasks=1, n_validation_instructions=1)

    dataset = generate(config, seed=0)
    hard_rows, originals = dataset.subset.hard_pairs()

    assert len(hard_rows) == len(originals) == 2 * config.n_mappings
    assert {*read(dataset.train)} == {(1,), (1, 1), (2,), (2, 2)}
    assert read(dataset.validation) == []


def language(pattern):
    """Every string of quantified pieces, by their definition."""
    by_piece = [
        [p.symbols[:-1] + p.symbols[-1:] * n if p.quantified == "last" else p.symbols * n
         for n in range(p.low, p.high + 1)]
        for p in pattern.pieces
    ]  # fmt: skip
    return {sum(parts, ()) for parts in itertools.product(*by_piece)}


@modest
@given(
    families=st.sampled_from([("star", "plus", "option"), ("option",), ("repeat", "plus")]),
    quantified=st.sampled_from(["group", "last"]),
    seed=seeds,
)
def test_kept_distribution_has_every_string_of_a_language_that_is_too_small(families, quantified, seed):
    regex = RegexConfig(families=families, quantified=quantified, max_repeats=5, max_length=3 * 10 * 5)
    dataset = generate(tiny_data(regex=regex, small_languages="keep", n_hard_tasks=0), seed)
    earlier = set()

    for task in dataset.tasks:
        wanted = 13 if task.identity < dataset.config.n_validation_tasks else 10
        for distribution in task.distributions:
            left = {i for i in language(distribution.pattern) if len(i) >= 3} - earlier
            assert len(distribution.instructions) == min(wanted, len(left))
            earlier.update(distribution.instructions)


# --- seeds


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("config", [tiny_data(), tiny_data(hard_replacement="instruction")], ids=["word", "place"])
def test_same_seed_gives_the_same_arrays(config, name):
    one, other = (generate(config, seed=5).splits[name] for _ in range(2))

    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.parametrize("name", SPLITS)
def test_different_seeds_give_different_instructions_and_functions(name):
    one, other = (generate(tiny_data(distribution_totals=((4, 6),)), seed).splits[name] for seed in (0, 1))

    assert set(read(one)).isdisjoint(read(other))
    assert set(one.labels("mapping")) != set(other.labels("mapping"))


# --- how many distributions


@settings(deadline=None, max_examples=80)
@given(data=st.data(), seed=seeds)
def test_drawn_counts_keep_their_bounds_and_totals(data, seed):
    low = data.draw(st.integers(1, 3), label="low")
    high = data.draw(st.integers(low, 6), label="high")
    groups = data.draw(
        st.lists(
            st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(n * low, n * high))), min_size=1
        ).filter(lambda groups: sum(n for n, _ in groups) <= 40),
        label="groups",
    )
    n_tasks = sum(n for n, _ in groups)
    config = DataConfig(
        n_tasks=n_tasks,
        n_hard_tasks=0,
        n_validation_tasks=0,
        n_subset_tasks=0,
        min_distributions=low,
        max_distributions=high,
        distribution_totals=tuple(groups),
    )

    counts = draw_counts(config, np.random.default_rng(seed))

    assert len(counts) == n_tasks
    assert all(low <= c <= high for c in counts)
    ends = np.cumsum([n for n, _ in groups])
    assert [sum(part) for part in np.split(counts, ends[:-1])] == [total for _, total in groups]


@pytest.mark.parametrize("totals", [((3, 7),), ((2, 5), (1, 3)), ()], ids=["one-group", "two-groups", "free"])
def test_drawn_counts_are_uniform_over_the_admissible_draws(totals):
    config = tiny_data(n_tasks=3, max_distributions=4, distribution_totals=totals)
    ends = np.cumsum([n for n, _ in totals])[:-1]
    admissible = [
        counts
        for counts in itertools.product(range(1, 5), repeat=3)
        if not totals or [sum(part) for part in np.split(counts, ends)] == [total for _, total in totals]
    ]
    rng = np.random.default_rng(0)

    drawn = Counter(tuple(draw_counts(config, rng)) for _ in range(200 * len(admissible)))

    assert set(drawn) <= set(admissible)
    assert chisquare([drawn[counts] for counts in admissible]).pvalue > 1e-5


# --- labels


def test_labels_name_the_identities_of_instances_in_rows_of_mappings(tiny):
    split, m = tiny.train, tiny.config.n_mappings
    instances = range(split.n_instances)

    for name in ("task", "distribution", "is_hard"):
        assert split.labels(name).tolist() == [getattr(split, name)[i // m] for i in instances]
    for name, array in (("input", split.inputs), ("output", split.outputs)):
        assert split.labels(name).tolist() == [array[i // m, i % m] for i in instances]


@pytest.mark.parametrize(
    ("name", "parts"), [("distribution_mapping", ("distribution", "input")), ("mapping", ("input", "output"))]
)
@pytest.mark.parametrize("split", SPLITS)
def test_joint_label_is_one_to_one_with_the_pair_it_joins(tiny, split, name, parts):
    split = tiny.splits[split]
    pairs = list(zip(*(split.labels(part).tolist() for part in parts), strict=True))

    labels = split.labels(name).tolist()

    assert len(set(labels)) == len(set(pairs)) == len(set(zip(labels, pairs, strict=True)))


def test_task_knows_its_mapping_but_a_distribution_knows_only_its_own(tiny):
    split = tiny.train
    of_mapping = dict(zip(split.labels("mapping").tolist(), split.labels("task").tolist(), strict=True))

    assert [of_mapping[m] for m in split.labels("mapping").tolist()] == split.labels("task").tolist()


def test_unknown_label_raises(tiny):
    with pytest.raises(KeyError, match="colour"):
        tiny.train.labels("colour")


# --- hard pairs


@pytest.mark.parametrize("fixture", ["tiny", "paper_data"])
def test_hard_pairs_join_each_hard_instance_with_its_original(fixture, request):
    dataset = request.getfixturevalue(fixture)
    split, m = dataset.subset, dataset.config.n_mappings
    made_from = {
        tuple(s + 1 for s in copy): tuple(s + 1 for s in original)
        for copies, originals in hard_and_original(dataset)
        for copy, original in zip(copies, originals, strict=True)
    }
    texts = read(split)

    hards, originals = split.hard_pairs()

    assert len(hards) == len(originals) == split.n_instances // 2
    assert len({*hards.tolist(), *originals.tolist()}) == split.n_instances
    for ours, theirs in zip(hards, originals, strict=True):
        assert made_from[texts[ours // m]] == texts[theirs // m]
        assert split.labels("input")[ours] == split.labels("input")[theirs]
        assert split.labels("output")[ours] != split.labels("output")[theirs]
        assert dataset.tasks[split.labels("task")[ours]].original == split.labels("task")[theirs]


@pytest.mark.parametrize("name", ["train", "validation"])
def test_hard_pairs_of_another_split_raise(paper_data, name):
    with pytest.raises(ValueError, match=r"hard instances and .* others; use the training subset"):
        paper_data.splits[name].hard_pairs()


# --- settings that cannot be

IMPOSSIBLE = {
    "too few task symbols": (lambda: DataConfig(n_task_symbols=16), "n_task_symbols=16"),
    "fewer task symbols than mappings": (lambda: tiny_data(n_task_symbols=2), "n_mappings=3"),
    "no instruction left to train": (lambda: DataConfig(n_instructions=5), "n_instructions=5"),
    "negative validation instructions": (
        lambda: DataConfig(n_validation_instructions=-1),
        "n_validation_instructions=-1",
    ),
    "negative hard instructions": (lambda: DataConfig(n_hard_instructions=-1), "n_hard_instructions=-1"),
    "groups of other than all tasks": (lambda: DataConfig(n_tasks=51), "distribution_totals="),
    "group total too high": (lambda: tiny_data(distribution_totals=((4, 9),)), r"distribution_totals=\(4, 9\)"),
    "group total too low": (lambda: tiny_data(distribution_totals=((4, 3),)), r"distribution_totals=\(4, 3\)"),
    "more hard tasks than tasks": (lambda: tiny_data(n_hard_tasks=5), "n_hard_tasks=5"),
    "more validation tasks than tasks": (lambda: tiny_data(n_validation_tasks=5), "n_validation_tasks=5"),
    "a subset of hard and other tasks": (lambda: tiny_data(n_subset_tasks=3, n_hard_tasks=1), "n_subset_tasks=3"),
    "more subset tasks than tasks": (lambda: tiny_data(n_subset_tasks=5), "n_subset_tasks=5"),
    "no distribution": (lambda: tiny_data(min_distributions=0), "min_distributions=0"),
    "fewer symbols than characters": (lambda: RegexConfig(n_symbols=9), "max_characters=10"),
    "more symbols than characters to write them": (lambda: RegexConfig(n_symbols=63), "n_symbols=63"),
    "bounds crossed": (lambda: RegexConfig(min_metacharacters=4), "min_metacharacters=4"),
    "lengths crossed": (lambda: RegexConfig(min_length=50), "min_length=50"),
    "no repeat": (lambda: RegexConfig(max_repeats=0), "max_repeats=0"),
    "no family": (lambda: RegexConfig(families=()), r"families=\(\)"),
}

UNSATISFIABLE = {
    "unknown family": (RegexConfig(families=("star", "lookahead")), r"families=\('star', 'lookahead'\)"),
    "at most 8 strings": (RegexConfig(families=("option",)), r"regex=.*families=\('option',\)"),
    "strings too short": (RegexConfig(families=("alternation",), max_metacharacters=2), "regex=.*widen families"),
    "strings too long": (RegexConfig(families=("plus",), min_characters=5, max_length=4), "regex=.*max_length"),
    "patterns always ambiguous": (
        RegexConfig(families=("class",), n_symbols=3, max_characters=3, max_repeats=1),
        "regex=.*n_symbols=3",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_setting_raises_and_names_its_field(case):
    make, message = IMPOSSIBLE[case]

    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("case", UNSATISFIABLE)
def test_setting_found_unsatisfiable_by_trial_raises_and_soon(case):
    regex, message = UNSATISFIABLE[case]
    start = time.process_time()

    with pytest.raises(ConfigError, match=message):
        generate(tiny_data(regex=regex), seed=0)

    assert time.process_time() - start < 8


@pytest.mark.parametrize("mode", ["distribution", "instruction"])
def test_hard_examples_without_a_new_instruction_raise(mode):
    """All 27 strings of length three over three symbols are taken: none is left for a hard example."""
    regex = RegexConfig(
        n_symbols=3,
        families=("alternation",),
        min_metacharacters=3,
        max_characters=3,
    )
    config = DataConfig(
        regex=regex,
        n_tasks=1,
        max_distributions=1,
        n_instructions=27,
        n_subset_tasks=1,
        n_validation_tasks=1,
        n_hard_tasks=1,
        hard_replacement=mode,
        distribution_totals=(),
    )

    with pytest.raises(ConfigError, match="n_symbols=3: no new instruction"):
        generate(config, seed=0)


def test_task_symbols_that_run_out_while_sampling_raise():
    """15 of the 16 pairs are needed: whether the last task still finds three inputs depends on the seed."""
    config = tiny_data(n_tasks=5, n_hard_tasks=0, n_task_symbols=4)
    messages = []

    for seed in range(20):
        try:
            generate(config, seed)
        except ConfigError as error:
            messages.append(str(error))

    assert 0 < len(messages) < 20
    assert all(message.startswith("n_task_symbols=4: pairs run out") for message in messages)
