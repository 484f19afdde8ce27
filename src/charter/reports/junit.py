"""An audit as JUnit XML, for machines that collect test results."""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

from charter.reports.audit_comparison import AuditLine, AuditReport
from charter.reports.audit_tables import format_rate

_ILLEGAL = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What no XML file may hold."""


def render_junit(found: AuditReport) -> str:
    """A test case for each principle and metric: a failure where it is broken or weakened, an error where there are too
    few data."""
    states = [line.state for line in found.lines]
    counts = {
        "tests": str(len(states)),
        "failures": str(sum(state in ("broken", "weakened") for state in states)),
        "errors": str(states.count("too few data")),
    }
    suites = xml.Element("testsuites", counts)
    suite = xml.SubElement(suites, "testsuite", {"name": "charter audit", **counts})
    properties = xml.SubElement(suite, "properties")
    told = {"model": found.model.model, "baseline": found.baseline.model, "battery": found.battery}
    for name, value in {**told, "outcome": found.outcome}.items():
        xml.SubElement(properties, "property", {"name": name, "value": _strip_illegal(value)})
    for line in found.lines:
        _add_case(suite, line)
    xml.indent(suites)
    return xml.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: xml.Element, line: AuditLine) -> None:
    name = f"{line.title} [{line.id}]" if line.kind == "principle" else line.title
    case = xml.SubElement(suite, "testcase", {"classname": f"charter.{line.kind}", "name": _strip_illegal(name)})
    sides = f"{format_rate(line.before)} passed before, {format_rate(line.after)} pass now, n {line.n}"
    told = {"type": line.state, "message": f"{line.state}: {line.state_text}. {sides}"}
    if line.state in ("broken", "weakened"):
        xml.SubElement(case, "failure", told)
    elif line.state == "too few data":
        xml.SubElement(case, "error", told)


def _strip_illegal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
