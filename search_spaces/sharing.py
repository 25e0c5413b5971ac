"""Ready-made space `sharing`: what tasks share of the backbone, and how."""

from collections.abc import Sequence

from search_spaces.domains import Choice, Domain, Integer

KINDS = ("hard", "branching", "cross_stitch", "mtan", "mmoe", "ple", "film", "adapters")


def sharing(tasks: Sequence[str]) -> dict[str, Domain]:
    """The structure, and what counts most of each: where it begins, experts, bottlenecks.

    Stages are numbered up to 3, which every backbone of ours has. Structures differ in what a trial costs:
    cross_stitch, mmoe and ple hold several copies of the backbone, film and adapters pass through it for each
    task.
    """
    key = "model.sharing"

    def only(*kinds: str) -> dict[str, tuple[str, ...]]:
        return {f"{key}.kind": kinds}

    return {
        f"{key}.kind": Choice(choice=KINDS),
        f"{key}.at": Integer(int=(0, 2), when=only("branching", "mmoe", "ple")),
        f"{key}.per_channel": Choice(choice=(False, True), when=only("cross_stitch")),
        f"{key}.reduction": Choice(choice=(1, 2, 4), when=only("mtan")),
        f"{key}.experts": Integer(int=(2, 6), when=only("mmoe")),
        f"{key}.task_experts": Integer(int=(1, 2), when=only("ple")),
        f"{key}.shared_experts": Integer(int=(1, 2), when=only("ple")),
        f"{key}.rank": Choice(choice=(4, 8, 16), when=only("adapters")),
    }
