"""Random domains and random conditional spaces."""

from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from search_spaces.domains import Domain
from search_spaces.space import SearchSpace

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 300), st.floats(-9, 9), st.text("ab.", max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner)
    ),
    max_leaves=4,
)
DOMAIN: TypeAdapter[Domain] = TypeAdapter(Domain)


def _bounds(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)


POINTS = st.fixed_dictionaries({}, optional={"points": st.integers(2, 4)})
FORMS = st.one_of(
    st.fixed_dictionaries({"choice": st.lists(VALUES, min_size=1, max_size=4, unique_by=repr)}),
    st.tuples(
        st.one_of(
            st.fixed_dictionaries({"float": _bounds(st.floats(-100, 100))}),
            st.fixed_dictionaries({"log": _bounds(st.floats(1e-6, 10))}),
            st.fixed_dictionaries({"int": _bounds(st.integers(-20, 20))}),
            st.fixed_dictionaries({"log_int": _bounds(st.integers(1, 500))}),
            st.integers(2, 4).flatmap(
                lambda count: st.fixed_dictionaries(
                    {"simplex": st.just(list("abcd"[:count])), "min": st.floats(0, 0.99 / count)}
                )
            ),
        ),
        POINTS,
    ).map(lambda parts: parts[0] | parts[1]),
)


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """Any domain without a condition."""
    return DOMAIN.validate_python(draw(FORMS.filter(_is_valid)))


@st.composite
def conditional_spaces(draw: st.DrawFn) -> SearchSpace:
    """Up to five keys; each may depend on values of keys before it. Given to the space in any order."""
    forms: dict[str, dict[str, Any]] = {}
    for key in draw(st.permutations(["a", "b.c", "d.e.f", "g", "b.h"]))[: draw(st.integers(0, 5))]:
        form = dict(draw(FORMS.filter(_is_valid)))
        choices = {name: other["choice"] for name, other in forms.items() if "choice" in other}
        if draw(st.booleans()) and choices:
            depends = draw(st.lists(st.sampled_from(sorted(choices)), min_size=1, max_size=2, unique=True))
            form["when"] = {
                name: draw(st.lists(st.sampled_from(choices[name]), min_size=1, max_size=2))
                for name in depends
            }
        forms[key] = form
    order = draw(st.permutations(sorted(forms)))
    return SearchSpace.from_config({key: DOMAIN.validate_python(forms[key]) for key in order})


def _is_valid(form: dict[str, Any]) -> bool:
    try:
        DOMAIN.validate_python(form)
    except ValueError:
        return False
    return True
