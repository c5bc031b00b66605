"""What is counted for Tables 3, 4 and 8: the paper's data and models, at every scale."""

from dataclasses import dataclass, field

from taskclust.config import DataConfig, ModelConfig

#: ``--set`` changes it.
TAKES_CHANGES = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesConfig:
    """A data set and a model whose sizes are counted; the model at each of Table 8's widths."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    seed: int = 0


def smoke() -> TablesConfig:
    """The paper's: counting takes seconds."""
    return TablesConfig()


def paper(width: int) -> TablesConfig:  # noqa: ARG001 - every width is counted
    """The paper's."""
    return TablesConfig()
