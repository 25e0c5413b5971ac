"""The domain of weights that sum to 1."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)
from typing_extensions import override

from search_spaces.domain_base import TOLERANCE, DomainBase, Finite, Points, is_number
from search_spaces.suggesters import Suggester
from search_spaces.values import Value


class Simplex(DomainBase):
    """`{simplex: [a, b, c], min: 0.05}`: one weight per name, summing to 1, none below `min`.

    T names take T-1 numbers u_k, uniform in [0, 1], by breaking a stick: the k-th piece is the fraction
    1 - (1 - u_k)^(1 / (T - k)) of what is left (k = 1 … T-1), a Beta(1, T-k) variable. The pieces are then
    Dirichlet(1, …, 1), uniform on the simplex (Devroye 1986, Non-Uniform Random Variate Generation, XI.4;
    Betancourt 2010, Cruising the Simplex, arXiv:1010.3436), and min + (1 - T·min) · piece is uniform on the
    part of it with no weight below `min`.

    One map serves every sampler. It is one to one and keeps volume ratios, so TPE, whose prior is uniform on
    the cube, starts from the distribution that random search draws from and models every point once.
    Log-ratios need invented bounds and crowd the corners; sorted uniforms hit each point (T-1)! times over.
    """

    form = "simplex"

    names: tuple[str, ...] = Field(alias="simplex", min_length=2)
    """Names of tasks."""
    floor: Annotated[Finite, Field(ge=0)] = Field(default=0.05, alias="min")
    """The least weight of each."""
    points: Points = 5
    """Grid search only: so many values along each edge: 5 for two names, 15 for three."""

    @model_validator(mode="after")
    def _is_a_simplex(self) -> Self:
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ValueError(f"named twice: {', '.join(sorted(twice))}")
        if self.floor * len(self.names) >= 1:
            limit = 1 / len(self.names)
            raise ValueError(
                f"min must be below 1 / {len(self.names)} names = {limit:.4g}, not {self.floor:g}"
            )
        return self

    @override
    def leaves(self, key: str) -> tuple[str, ...]:
        return tuple(f"{key}.{name}" for name in self.names)

    @override
    def drawn_names(self, name: str) -> tuple[str, ...]:
        return tuple(f"{name}/{member}" for member in self.names[:-1])

    @override
    def suggest(self, name: str, suggester: Suggester) -> dict[str, float]:
        left = 1.0
        pieces = []
        for position, drawn in enumerate(self.drawn_names(name), start=1):
            u = suggester.number(drawn, 0.0, 1.0)
            kept = left * (1 - u) ** (1 / (len(self.names) - position))
            pieces.append(left - kept)
            left = kept
        return self._weights([*pieces, left])

    def grid(self) -> tuple[dict[str, float], ...]:
        """List the lattice of weights that divide the edge evenly, the corners included."""
        divisions = self.points - 1
        parts = len(self.names)
        bars = itertools.combinations(range(divisions + parts - 1), parts - 1)  # stars and bars
        edges = ((-1, *bar, divisions + parts - 1) for bar in bars)
        counts = ([high - low - 1 for low, high in itertools.pairwise(edge)] for edge in edges)
        return tuple(self._weights([count / divisions for count in pieces]) for pieces in counts)

    @override
    def contains(self, value: Value) -> bool:
        if not isinstance(value, Mapping) or set(value) != set(self.names):
            return False
        weights: list[float] = list(value.values())
        if not all(is_number(weight) for weight in weights):
            return False
        return min(weights) >= self.floor - TOLERANCE and abs(sum(weights) - 1) <= TOLERANCE

    @override
    def locate(self, name: str, value: Value) -> dict[str, float]:
        left = 1.0
        draws = {}
        for position, member in enumerate(self.names[:-1], start=1):
            kept = max(left - (value[member] - self.floor) / self._scale, 0.0)
            u = 1 - (kept / left) ** (len(self.names) - position) if left > 0 else 0.0
            draws[f"{name}/{member}"] = min(max(u, 0.0), 1.0)
            left = min(kept, left)
        return draws

    def _weights(self, pieces: list[float]) -> dict[str, float]:
        return {
            name: self.floor + self._scale * piece for name, piece in zip(self.names, pieces, strict=True)
        }

    @property
    def _scale(self) -> float:
        return 1 - len(self.names) * self.floor
