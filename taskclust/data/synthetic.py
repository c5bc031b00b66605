"""The simplified instruction-following data set: tasks, instructions, hard examples, splits, identities (§2.2).

One instance is ``[I; x; y]``: an instruction, one input token, one output token. Instances of one instruction differ
only in the mapping, so a split has one row per instruction with all its mappings; instance ``i * M + j`` is instruction
``i`` with mapping ``j``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from taskclust.config import ConfigError, DataConfig, PairedDataConfig, require
from taskclust.data.functions import Function, FunctionSampler
from taskclust.data.regexes import Pattern, sample_instructions, sample_pattern

PAD = 0

Instruction = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Instructions of one task sampled from one regular expression; hard ones keep their original's pattern."""

    identity: int
    pattern: Pattern
    instructions: list[Instruction]


@dataclass(frozen=True, slots=True)
class Task:
    """A function and the distributions of its instructions; ``original`` is the task that a hard task imitates."""

    identity: int
    function: Function
    distributions: list[Distribution]
    original: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Token arrays and identities; I instructions, T tokens, M mappings, N = I x M instances."""

    instructions: np.ndarray  # [I, T] tokens, PAD after the end
    lengths: np.ndarray  # [I]
    inputs: np.ndarray  # [I, M] tokens
    outputs: np.ndarray  # [I, M] tokens
    task: np.ndarray  # [I] identities, hard tasks numbered after the others
    distribution: np.ndarray  # [I] identities, hard distributions numbered after the others
    is_hard: np.ndarray  # [I] bool

    @property
    def n_instances(self) -> int:
        """The number of instances, as counted in Table 3."""
        return self.inputs.size

    def take(self, rows: np.ndarray) -> "Split":
        """The chosen instructions, by index or by a mask [I]."""
        return Split(*(getattr(self, f.name)[rows] for f in fields(self)))

    def one_by_one(self) -> "Split":
        """The same instances with one mapping per row: instructions are repeated for each of their mappings."""
        rows = self.take(np.repeat(np.arange(len(self.lengths)), self.inputs.shape[1]))
        return replace(rows, inputs=self.inputs.reshape(-1, 1), outputs=self.outputs.reshape(-1, 1))

    def labels(self, name: str) -> np.ndarray:
        """An identity of each instance, [N].

        Args:
            name: "task", "distribution", "distribution_mapping" (the paper's three), "mapping", "input", "output" or
                "is_hard".

        Raises:
            KeyError: another name.
        """
        return _LABELS[name](self)

    def instances(self) -> Iterator[tuple[list[int], int, int]]:
        """The instruction's tokens, x and y of each instance ``[I; x; y]``, in the order of :meth:`labels`."""
        rows = zip(self.instructions, self.lengths, self.inputs, self.outputs, strict=True)
        for instruction, length, inputs, outputs in rows:
            for x, y in zip(inputs.tolist(), outputs.tolist(), strict=True):
                yield instruction[:length].tolist(), x, y

    def hard_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The hard instances, and the original of each; only the training subset has both.

        Raises:
            ValueError: the split does not hold exactly the originals of its hard instances.
        """
        hard = np.flatnonzero(self.labels("is_hard"))
        original = np.flatnonzero(~self.labels("is_hard"))
        if len(hard) != len(original) or not np.array_equal(self.inputs.ravel()[hard], self.inputs.ravel()[original]):
            raise ValueError(f"split: {len(hard)} hard instances and {len(original)} others; use the training subset")
        return hard, original


def _spread(values: np.ndarray, split: Split) -> np.ndarray:
    return np.repeat(values, split.inputs.shape[1])


def _pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A number for each pair of values, equal only for equal pairs."""
    return first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second


_LABELS: dict[str, Callable[[Split], np.ndarray]] = {
    "task": lambda s: _spread(s.task, s),
    "distribution": lambda s: _spread(s.distribution, s),
    "distribution_mapping": lambda s: _pairs(_spread(s.distribution, s), s.inputs.ravel()),
    "mapping": lambda s: _pairs(s.inputs.ravel(), s.outputs.ravel()),
    "input": lambda s: s.inputs.ravel(),
    "output": lambda s: s.outputs.ravel(),
    "is_hard": lambda s: _spread(s.is_hard, s),
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """The tasks of one seed and their three splits."""

    config: DataConfig
    tasks: list[Task]
    train: Split
    subset: Split
    validation: Split

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {"train": self.train, "subset": self.subset, "validation": self.validation}


def generate(config: DataConfig, seed: int) -> Dataset:
    """Sample the data set of ``seed``: the same on every machine.

    Of each distribution of the validation tasks, ``n_validation_instructions`` instructions are never trained on. Of
    each distribution of the hard tasks, ``n_hard_instructions`` others are copied with one symbol replaced: these hard
    examples are trained on. A distribution with too few instructions (``small_languages="keep"``) has fewer of both.
    The training subset has hard examples and exactly their originals (without hard tasks: all training instructions of
    its tasks).

    Raises:
        ConfigError: the seed is negative, or the settings cannot be satisfied in a bounded number of tries.
    """
    require(seed >= 0, "seed", seed, "use 0 or more")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0xDA7A]))
    functions = FunctionSampler(config.n_task_symbols, config.n_mappings, rng)
    distributions = DistributionSampler(config, rng)
    pairs = config.n_pairs if isinstance(config, PairedDataConfig) else 0
    tasks: list[Task] = []
    for identity, n in enumerate(draw_counts(config, rng)):
        paired = tasks[identity - pairs].function if pairs <= identity < 2 * pairs else None
        function = functions.change_outputs(paired) if paired else functions.sample()
        tasks.append(Task(identity, function, [distributions.sample(identity) for _ in range(n)]))
    held_out, trained, imitated = _parts(config)
    hard = [
        Task(
            config.n_tasks + task.identity,
            functions.change_outputs(task.function),
            [distributions.replace_symbol(d, d.instructions[imitated]) for d in task.distributions],
            original=task.identity,
        )
        for task in tasks[: config.n_hard_tasks]
    ]

    def rows(chosen: Iterable[Task], which: slice) -> list[tuple[Task, Distribution, Instruction]]:
        return [(t, d, i) for t in chosen for d in t.distributions for i in d.instructions[which]]

    everything = slice(None)
    n = config.n_validation_tasks
    train = rows(tasks[:n], trained) + rows(tasks[n:], everything) + rows(hard, everything)
    chosen = tasks[: config.n_subset_tasks]
    subset = rows(chosen, imitated if hard else trained)
    subset += rows(hard[: config.n_subset_tasks], everything)
    validation = rows(tasks[:n], held_out)
    return Dataset(config, tasks + hard, *(_tokens(part, config) for part in (train, subset, validation)))


def _parts(config: DataConfig) -> tuple[slice, slice, slice]:
    """The held-out, the training, and the copied (if hard) instructions of a validation task's distribution."""
    n, unseen, copied = config.n_instructions, config.n_validation_instructions, config.n_hard_instructions
    if config.small_languages == "keep":  # training comes first; the rest can be held out
        return slice(n, None), slice(n), slice(copied)
    return slice(unseen), slice(unseen, None), slice(unseen, unseen + copied)


def draw_counts(config: DataConfig, rng: np.random.Generator) -> list[int]:
    """The number of distributions of each task: uniform over all admissible counts with the totals of the groups."""
    low, high = config.min_distributions, config.max_distributions
    if not config.distribution_totals:
        return rng.integers(low, high + 1, size=config.n_tasks).tolist()
    counts = []
    for n, total in config.distribution_totals:
        rest = total
        ways = _ways(n, total, low, high)
        for left in range(n - 1, -1, -1):  # weigh each count by the ways to choose the rest
            options = [c for c in range(low, high + 1) if rest - c >= 0 and ways[left][rest - c]]
            weights = np.array([ways[left][rest - c] for c in options], dtype=object)
            count = int(rng.choice(options, p=(weights / weights.sum()).astype(float)))
            counts.append(count)
            rest -= count
    return counts


def _ways(n: int, total: int, low: int, high: int) -> list[list[int]]:
    """``ways[k][s]``: the number of ways in which k counts from low to high sum to s (exact integers)."""
    ways = [[1] + [0] * total]
    for _ in range(n - 1):
        ways.append([sum(ways[-1][s - c] for c in range(low, min(high, s) + 1)) for s in range(total + 1)])
    return ways


class DistributionSampler:
    """Draws disjoint instruction distributions, and their hard examples.

    No instruction is in two distributions: the one that draws it first has it. With ``small_languages="redraw"`` none
    matches a pattern of another task either.
    """

    TRIES = 500

    def __init__(self, config: DataConfig, rng: np.random.Generator) -> None:
        self._config, self._rng = config, rng
        self._taken: set[Instruction] = set()
        self._made: list[tuple[int, Distribution]] = []
        self._identities = 0

    def _next_identity(self) -> int:
        self._identities += 1
        return self._identities - 1

    def sample(self, task: int) -> Distribution:
        """Draw a pattern for ``task`` and enough instructions from it, or with "keep" as many as there are.

        Raises:
            ConfigError: no pattern with enough strings was found in ``TRIES`` patterns.
        """
        config, n = self._config, self._wanted(task)
        for _ in range(self.TRIES):
            pattern = sample_pattern(config.regex, self._rng)
            found = sample_instructions(pattern, n, config.regex, self._rng, self._taken)
            is_apart = len(found) == n and not self._is_ambiguous(task, pattern, found)
            if is_apart or config.small_languages == "keep":
                self._taken.update(found)
                distribution = Distribution(self._next_identity(), pattern, found)
                self._made.append((task, distribution))
                return distribution
        raise ConfigError(
            f"regex={config.regex}: no pattern with {n} new instructions in {self.TRIES} tries; "
            "widen families, max_repeats or max_length, or ask for fewer instructions"
        )

    def _wanted(self, task: int) -> int:
        """The number of instructions in a distribution of ``task`` whose language is large enough."""
        config = self._config
        held_out_besides = config.small_languages == "keep" and task < config.n_validation_tasks
        return config.n_instructions + (config.n_validation_instructions if held_out_besides else 0)

    def _is_ambiguous(self, task: int, pattern: Pattern, found: list[Instruction]) -> bool:
        """Whether an instruction would match patterns of two tasks, which makes the problem ill-defined (§2.1)."""
        return self._fits_another(task, found) or any(
            pattern.matches(i) for t, d in self._made if t != task for i in d.instructions
        )

    def _fits_another(self, task: int, instructions: list[Instruction]) -> bool:
        """Whether one of the instructions matches a pattern of a task other than ``task``."""
        return any(d.pattern.matches(i) for t, d in self._made if t != task for i in instructions)

    def replace_symbol(self, original: Distribution, instructions: list[Instruction]) -> Distribution:
        """Copy ``instructions`` with one symbol replaced by another: hard examples (§2.2).

        With ``hard_replacement="distribution"``, the symbol that an instruction shares with most others is replaced
        throughout by one that the distribution does not use, as "initial" becomes "secondary" in the paper. With
        "instruction", one position of each is replaced. No copy matches a pattern of a third task.

        Raises:
            ConfigError: all tried replacements give an instruction that exists already or matches a third task.
        """
        owner = next(task for task, d in self._made if d is original)
        for _ in range(self.TRIES):
            if self._config.hard_replacement == "distribution":
                copies = self._replace_word(original, instructions)
            else:
                copies = [self._replace_one_place(i) for i in instructions]
            is_new = len(set(copies)) == len(copies) and self._taken.isdisjoint(copies)
            if is_new and not self._fits_another(owner, copies):
                self._taken.update(copies)
                return Distribution(self._next_identity(), original.pattern, copies)
        raise ConfigError(
            f"n_symbols={self._config.regex.n_symbols}: no new instruction by replacing one symbol of "
            f"{original.pattern}; use more instruction symbols"
        )

    def _replace_word(self, original: Distribution, instructions: list[Instruction]) -> list[Instruction]:
        symbols = range(self._config.regex.n_symbols)
        unused = set(symbols).difference(*original.instructions)
        new = int(self._rng.choice(sorted(unused) or symbols))
        rank = self._rng.permutation(len(symbols))  # break ties the same way in every instruction
        shared = {s: (sum(s in i for i in instructions), rank[s]) for s in symbols}
        olds = [max(instruction, key=shared.__getitem__) for instruction in instructions]
        return [tuple(new if s == old else s for s in i) for i, old in zip(instructions, olds, strict=True)]

    def _replace_one_place(self, instruction: Instruction) -> Instruction:
        place = int(self._rng.integers(len(instruction)))
        other = int(self._rng.integers(self._config.regex.n_symbols - 1))
        other += other >= instruction[place]
        return (*instruction[:place], other, *instruction[place + 1 :])


def _tokens(rows: list[tuple[Task, Distribution, Instruction]], config: DataConfig) -> Split:
    """The split with symbols as token numbers: padding, then instruction symbols, then task symbols."""
    lengths = np.array([len(i) for _, _, i in rows], dtype=np.int64)
    instructions = np.full((len(rows), int(lengths.max(initial=1))), PAD, dtype=np.int64)
    for row, (_, _, instruction) in enumerate(rows):
        instructions[row, : len(instruction)] = np.array(instruction) + 1
    first = 1 + config.regex.n_symbols
    shape = (len(rows), config.n_mappings)
    return Split(
        instructions=instructions,
        lengths=lengths,
        inputs=np.array([t.function.inputs for t, _, _ in rows], dtype=np.int64).reshape(shape) + first,
        outputs=np.array([t.function.outputs for t, _, _ in rows], dtype=np.int64).reshape(shape) + first,
        task=np.array([t.identity for t, _, _ in rows], dtype=np.int64),
        distribution=np.array([d.identity for _, d, _ in rows], dtype=np.int64),
        is_hard=np.array([t.original is not None for t, _, _ in rows], dtype=bool),
    )
