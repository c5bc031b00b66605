"""The configurations of the natural-language experiment (§3.4), one per open language model."""

from typing import Any

from taskclust.config import LanguageConfig, require
from taskclust.data.natural import natural_tasks


def llm(*sources: str, **changes: Any) -> tuple[LanguageConfig, ...]:
    """One configuration per model in ``sources``, by default only the bundled model's.

    ``changes`` are fields of LanguageConfig.

    Raises:
        ConfigError: ``changes`` have more expressions than there are per task, or an invalid value.
    """
    most = min(len(task.expressions) for task in natural_tasks())
    configs = tuple(LanguageConfig(source=source, **changes) for source in sources or ("",))
    require("n_expressions" not in changes or configs[0].n_expressions <= most, "expressions",
            configs[0].n_expressions, f"there are {most} of each task")  # fmt: skip
    return configs


def stages(config: LanguageConfig) -> list[Any]:  # noqa: ARG001 - nothing is trained
    """The trainings that take the time: none."""
    return []


def title(config: LanguageConfig) -> str:
    """A description of the configuration for a dry run: the model and its number of prompts."""
    source = config.source or "the bundled model"
    return f"{source}, {len(natural_tasks()) * config.n_expressions * config.n_pairs:,} prompts"
