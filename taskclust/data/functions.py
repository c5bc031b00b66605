"""Task functions: a few mappings from input symbols to output symbols, none shared by two tasks (§2.2, Appendix A)."""

from dataclasses import dataclass

import numpy as np

from taskclust.config import ConfigError


@dataclass(frozen=True, slots=True)
class Function:
    """Mappings ``inputs[j] -> outputs[j]`` between symbols of the task vocabulary; inputs are distinct."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def mappings(self) -> set[tuple[int, int]]:
        """The (input, output) pairs."""
        return set(zip(self.inputs, self.outputs, strict=True))


class FunctionSampler:
    """Draws functions over ``n_symbols`` symbols so that no two share a mapping."""

    def __init__(self, n_symbols: int, n_mappings: int, rng: np.random.Generator) -> None:
        self._free = np.ones((n_symbols, n_symbols), dtype=bool)  # unused (input, output) pairs
        self._n_mappings = n_mappings
        self._rng = rng

    def sample(self) -> Function:
        """Draw distinct inputs, and for each an output whose pair is unused.

        Raises:
            ConfigError: too few inputs have a free output left.
        """
        open_inputs = np.flatnonzero(self._free.any(axis=1))
        if len(open_inputs) < self._n_mappings:
            raise ConfigError(
                f"n_task_symbols={len(self._free)}: pairs run out before every task has its mappings; "
                "use more symbols or fewer tasks"
            )
        return self._complete(self._rng.choice(open_inputs, size=self._n_mappings, replace=False))

    def change_outputs(self, function: Function) -> Function:
        """A function for hard examples: the inputs of ``function`` with other outputs.

        Raises:
            ConfigError: an input of the function has no free output left.
        """
        inputs = np.array(function.inputs)
        if not self._free[inputs].any(axis=1).all():
            raise ConfigError(
                f"n_task_symbols={len(self._free)}: no free output for the inputs of a hard task; "
                "use more symbols or fewer tasks"
            )
        return self._complete(inputs)

    def _complete(self, inputs: np.ndarray) -> Function:
        outputs = [int(self._rng.choice(np.flatnonzero(self._free[x]))) for x in inputs]
        self._free[inputs, outputs] = False
        return Function(tuple(map(int, inputs)), tuple(outputs))
