"""The configuration of the counts for Tables 3, 4 and 8: the paper's data and models, at every scale."""

from dataclasses import dataclass, field

from taskclust.config import DataConfig, ModelConfig

#: What ``--set`` changes in this experiment.
TAKES_CHANGES = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesConfig:
    """The data set and the model to count; the model is counted at each of Table 8's widths."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    seed: int = 0


def smoke() -> TablesConfig:
    """The paper's configuration; counting takes only seconds."""
    return TablesConfig()


def paper(width: int) -> TablesConfig:  # noqa: ARG001 - every width is counted
    """The paper's configuration, whatever ``width`` is."""
    return TablesConfig()
