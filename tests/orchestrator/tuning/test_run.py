"""What is recorded of proposals that make no trial."""

import pytest
from pydantic import ValidationError

from orchestrator.spec import parse_spec
from orchestrator.tuning.run import why_not
from trainables.errors import DataError

TEXT = """\
name: small
data: {source: "builtin:digits-pair"}
tasks:
  left: {type: multiclass, label: left}
"""


def test_values_that_do_not_go_together_are_said_in_a_sentence() -> None:
    spec = parse_spec(TEXT)
    values = {"training.epochs": 0}
    with pytest.raises(ValidationError) as caught:
        spec.trial_config_with(values)
    said = why_not(spec.trial_values(values), caught.value)
    assert said.startswith("training.epochs: ")
    assert "\n" not in said
    assert "pydantic" not in said
    assert why_not({}, DataError("Nothing there.", "Look elsewhere.")) == "Nothing there. Look elsewhere."
