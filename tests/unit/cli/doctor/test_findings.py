import re
from pathlib import Path

from coding_assistant.cli.doctor.findings import Check, Finding, Verdict, guarded
from coding_assistant.errors import ModelMissing

MANUAL = Path(__file__).parents[4] / "docs/doctor.md"


def test_the_manual_names_every_check_and_verdict() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)

    assert [name for name in named if name in set(Verdict)] == list(Verdict)
    assert sorted(set(named) - {"what", *Verdict}) == sorted(Check)


def refuse() -> Finding:
    raise ModelMissing("The weights are not here.", hint="Get them.")


def break_down() -> Finding:
    raise PermissionError(13, "Permission denied")


def test_what_the_product_refuses_is_a_finding_with_its_code() -> None:
    finding = guarded(Check.MODEL, refuse)

    assert (finding.verdict, finding.detail, finding.advice) == (
        Verdict.FAIL,
        "The weights are not here.",
        "Get them.",
    )
    assert finding.facts == {"code": "model_missing"}


def test_what_the_system_refuses_is_a_finding() -> None:
    finding = guarded(Check.DISK, break_down)

    assert finding.verdict is Verdict.FAIL
    assert "Permission denied" in finding.detail
