"""What of a file or its search space cannot come together is known from the file alone, and what is offered helps."""

import json
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.errors import ConfigError
from orchestrator.spec import parse_spec
from orchestrator.spec.sections import ExperimentSpec
from search_spaces.named import NAMED_SPACES
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from tests.orchestrator.spec.files import SMALL
from trainables.config.fit import misfit

FEATURES = "balancing: {method: mgda, gradients: features}\n"
MGDA = "balancing: {method: mgda}\n"
FILM = "model: {sharing: {kind: film}}\n"


def searching(**domains: str) -> str:
    return "search:\n  space:\n" + "".join(f"    {key}: {domain}\n" for key, domain in domains.items())


def spaced(text: str, space: str, *, sampler: str = "tpe") -> str:
    return f"{SMALL}{text}search: {{sampler: {sampler}, space: {{{space}}}}}\n"


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (FEATURES + FILM, "6:38", "balancing.gradients: there are no features that all tasks read: .* film"),
        (FEATURES + "model: {heads: {left: {tap: 1}}}\n", "6:38", "heads read different stages"),
        (
            MGDA + "model: {sharing: {kind: branching, at: 0}}\n",
            "7:40",
            "model.sharing.at: mgda .* share nothing",
        ),
        (
            MGDA + "model: {sharing: {kind: branching, at: {left: 0, default: 1}}}\n",
            "7:40",
            "model.sharing.at: mgda .* share nothing",
        ),
        (
            MGDA + "training: {optimizer: {backbone_lr_factor: 0}}\n",
            "7:44",
            "backbone_lr_factor: mgda .* nothing shared is trained. Train the backbone, or use a method",
        ),
        (
            MGDA + "model: {sharing: {kind: ple}}\ntraining: {optimizer: {backbone_lr_factor: 0}}\n",
            "8:44",
            "nothing shared is trained",
        ),
    ],
)
@pytest.mark.parametrize(
    "search",
    ["", searching(**{"training.optimizer.lr": "{log: [1e-4, 1e-2]}"}), "search: {space: [task_weights]}\n"],
)
def test_a_file_that_cannot_be_trained_is_refused_at_its_place(
    text: str, search: str, place: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^<text>:{place}: (?s:.*){said}") as caught:
        parse_spec(SMALL + text + search)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        MGDA + FILM,
        FEATURES + "model: {sharing: {kind: mtan}}\n",
        "balancing: {method: uncertainty}\nmodel: {sharing: {kind: branching, at: 0}}\n",
        MGDA + "model: {sharing: {kind: cross_stitch}}\ntraining: {optimizer: {backbone_lr_factor: 0}}\n",
    ],
)
def test_what_fits_is_taken(text: str) -> None:
    assert misfit(parse_spec(SMALL + text)) is None


CURED: list[tuple[str, dict[str, Any], str]] = [
    (
        FEATURES,
        {
            "model.sharing.kind": {"choice": ["mtan", "film"]},
            "balancing.method": {"choice": ["dwa", "mgda", "cagrad"]},
        },
        "model.sharing.kind film and balancing.method mgda or cagrad cannot come together: balancing.gradients: "
        "there are no features that all tasks read: model.sharing is film. Write parameters. "
        "Or give model.sharing.kind `when: {balancing.method: [dwa]}`.",
    ),
    (
        MGDA,
        {
            "balancing.gradients": {"choice": ["features", "parameters"]},
            "model.sharing": {"choice": [{"kind": "hard"}, {"kind": "film"}, {"kind": "mmoe", "experts": 2}]},
        },
        "Or give balancing.gradients `when: {model.sharing.kind: [hard, mmoe]}`.",
    ),
    (
        "",
        {
            "balancing.method": {"choice": ["gradnorm", "famo"]},
            "model.sharing.kind": {"choice": ["hard", "branching"]},
            "model.sharing.at": {"int": [0, 2], "when": {"model.sharing.kind": "branching"}},
        },
        "balancing.method gradnorm and model.sharing.at 0 cannot come together",
    ),
    (
        "",
        {
            "training.optimizer.backbone_lr_factor": {"choice": [0, 0.1]},
            "balancing.method": {"choice": ["famo", "mgda"]},
        },
        "Or give training.optimizer.backbone_lr_factor `when: {balancing.method: [famo]}`.",
    ),
]
"""A file, its search space, and what is said of it."""


def as_text(space: dict[str, Any]) -> str:
    return json.dumps(space)[1:-1]


@pytest.mark.parametrize(
    ("text", "space", "said"),
    [
        *CURED,
        (
            FEATURES,
            {"model.sharing.kind": {"choice": ["mtan", "film"]}},
            "model.sharing.kind film cannot be tried: ",
        ),
        (
            FEATURES,
            {"model.sharing.kind": {"choice": ["hard", "film", "ple"]}},
            "Or take film and ple out of model.sharing.kind.",
        ),
        (
            FEATURES + FILM,
            {"model.heads.left.tap": {"choice": [1, 2]}},
            "no trial of it can be: balancing.gradients: there are no features",
        ),
    ],
)
def test_a_space_of_which_a_part_cannot_be_is_refused_with_a_cure(
    text: str, space: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=r"^<text>:\d+:\d+: search.space") as caught:
        parse_spec(spaced(text, as_text(space)))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "space"), [case[:2] for case in CURED])
def test_the_cure_cures(text: str, space: dict[str, Any]) -> None:
    """Whoever does what is said gets a space of trials that can all be."""
    with pytest.raises(ConfigError) as caught:
        parse_spec(spaced(text, as_text(space)))
    found = re.search(r"give ([\w.]+) `when: (.*)`", str(caught.value))
    assert found is not None
    key, condition = found.groups()
    domain = space[key]
    cured = {**domain, "when": {**domain.get("when", {}), **YAML(typ="safe").load(condition)}}
    assert_all_fit(parse_spec(spaced(text, as_text({**space, key: cured}))))


def assert_all_fit(spec: ExperimentSpec) -> None:
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks), fixed=spec.resolved())
    for number in range(200):
        assert misfit(spec.trial_config_with(space.suggest(RandomSuggester(1, number)))) is None


def test_one_impossible_combination_among_thousands_is_found() -> None:
    methods = "[static, famo, dwa, mgda, cagrad, pcgrad, nash_mtl, fairgrad, imtl_g, upgrad]"
    space = (
        f"balancing.method: {{choice: {methods}}}, model.sharing.kind: {{choice: [hard, branching]}}, "
        "model.sharing.at: {choice: [1, 2, 3, 0], when: {model.sharing.kind: branching, balancing.method: upgrad}}, "
        "training.optimizer.lr: {log: [1e-4, 1e-2]}, training.epochs: {int: [1, 100]}"
    )
    with pytest.raises(ConfigError, match=r"model.sharing.at 0 cannot be tried"):
        parse_spec(spaced("", space))


def test_a_search_may_decide_about_what_its_file_says() -> None:
    spec = parse_spec(spaced(FEATURES + FILM, "model.sharing.kind: {choice: [hard, mtan]}"))
    assert misfit(spec) is not None
    assert_all_fit(spec)
    assert_all_fit(
        parse_spec(
            spaced(MGDA + "model: {sharing: {kind: branching, at: 0}}\n", "model.sharing.at: {int: [1, 2]}")
        )
    )


def test_the_end_of_an_interval_is_tried_by_a_grid_alone() -> None:
    space = "training.optimizer.backbone_lr_factor: {float: [0, 1]}, balancing.method: {choice: [mgda, famo]}"
    assert_all_fit(parse_spec(spaced("", space)))
    with pytest.raises(
        ConfigError, match=r"backbone_lr_factor 0.0 and balancing.method mgda cannot come together"
    ):
        parse_spec(spaced("", space, sampler="grid"))


@pytest.mark.parametrize("name", NAMED_SPACES)
def test_ready_made_spaces_fit_a_method_of_losses(name: str) -> None:
    text = "" if name == "task_weights" else "balancing: {method: famo}\n"
    assert_all_fit(parse_spec(f"{SMALL}{text}search: {{space: [{name}]}}\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FEATURES, "model.sharing.kind branching, .* cannot be tried"),
        (MGDA, "model.sharing.at 0 cannot come together"),
    ],
)
def test_a_ready_made_space_that_does_not_fit_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"search.space: .*{said}.* writing out its keys"):
        parse_spec(f"{SMALL}{text}search: {{space: [sharing]}}\n")
