"""Quasi-random draws: points that fill a search space more evenly than random ones."""

from collections.abc import Iterable, Iterator, Mapping

from typing_extensions import override

from search_spaces.suggesters import UniformSuggester


class PointSuggester(UniformSuggester):
    """Draws from one point of the unit cube, which has a coordinate for every name that may be drawn."""

    def __init__(self, point: Mapping[str, float]):
        self._point = point

    @override
    def _uniform(self, name: str) -> float:
        return self._point[name]


def sobol_points(names: Iterable[str], *, seed: int) -> Iterator[PointSuggester]:
    """The scrambled Sobol' sequence, endless, in the cube with a coordinate for each of `names`.

    Sobol' (USSR Comput. Math. Math. Phys. 7, 1967) with the direction numbers of Joe & Kuo (SIAM J. Sci. Comput. 30,
    2008), scrambled by Matoušek's random linear maps and digital shift (J. Complexity 14, 1998), which makes every
    point uniform in the cube as Owen's scrambling does. Bousquet et al. (arXiv:1706.03200, 2017) found such sequences
    to be better than random draws for the hyper-parameters of networks, at no cost.

    Of the first 2^m points each coordinate has one in every [i / 2^m, (i + 1) / 2^m), so that an interval of length
    w holds less than 2 more or less than w · 2^m of them. Every name keeps its coordinate in every point, whether it
    is active there or not: what a condition leaves of a key is spread as evenly as the condition's own key allows.

    A function of the set of names and the seed: point i is the same however many are asked for.
    """
    from scipy.stats import qmc  # takes 0.6 s

    ordered = sorted(names)
    sequence = qmc.Sobol(len(ordered), rng=seed)
    while True:
        (point,) = sequence.random(1)
        yield PointSuggester(dict(zip(ordered, map(float, point), strict=True)))
