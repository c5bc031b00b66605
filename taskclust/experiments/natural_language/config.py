"""The configuration of §3.4: one for each open language model."""

from typing import Any

from taskclust.config import LanguageConfig, require
from taskclust.data.natural import natural_tasks


def llm(*sources: str, **changes: Any) -> tuple[LanguageConfig, ...]:
    """The setting on each of ``sources``, the bundled model by default; ``changes`` are fields of LanguageConfig.

    Raises:
        ConfigError: more expressions are asked for than there are.
    """
    most = min(len(task.expressions) for task in natural_tasks())
    configs = tuple(LanguageConfig(source=source, **changes) for source in sources or ("",))
    require("n_expressions" not in changes or configs[0].n_expressions <= most, "expressions",
            configs[0].n_expressions, f"there are {most} of each task")  # fmt: skip
    return configs


def stages(config: LanguageConfig) -> list[Any]:  # noqa: ARG001 - nothing is trained
    """No trainings."""
    return []


def title(config: LanguageConfig) -> str:
    """What a dry run says of it."""
    source = config.source or "the bundled model"
    return f"{source}, {len(natural_tasks()) * config.n_expressions * config.n_pairs:,} prompts"
