"""The catalogue of faults as `raftchaos fault types` shows it."""

from __future__ import annotations

from raftchaos.cli.output import plain, show, table, value_words
from raftchaos.faults import needs
from raftchaos.model.faults import FAULTS
from raftchaos.model.faults.described import as_data
from raftchaos.model.scenarios import BUILT_IN, SUMMARIES


def list_types(output: str) -> None:
    """All faults and built-in scenarios."""
    lacking = {name: needs.why_not(fault.needs) for name, fault in FAULTS.items()}
    faults = table("fault", "kind", "here", "what it does")
    for fault in FAULTS.values():
        faults.add_row(fault.type, fault.kind, "no" if lacking[fault.type] else "yes", plain(fault.summary))
    scenarios = table("scenario", "faults", "what it is like")
    for name, parts in BUILT_IN.items():
        scenarios.add_row(name, ", ".join(part.type for part in parts), plain(SUMMARIES.get(name)))
    data = {
        "faults": [{**as_data(fault), "whyNot": lacking[fault.type]} for fault in FAULTS.values()],
        "scenarios": [
            {"name": name, "summary": SUMMARIES.get(name), "faults": [part.to_dict() for part in parts]}
            for name, parts in BUILT_IN.items()
        ],
    }
    hint = "`raftchaos fault types NAME` shows the parameters of a fault, and what this machine lacks for it"
    show(output, data, faults, scenarios, hint)


def show_type(name: str, output: str) -> None:
    """One fault with its parameters and needs."""
    fault = FAULTS[name]
    data = {**as_data(fault), "whyNot": needs.why_not(fault.needs)}
    rows = table("parameter", "default", "meaning")
    for parameter in data["parameters"]:
        default = "required" if parameter["required"] else value_words(parameter["default"])
        rows.add_row(parameter["name"], plain(default), plain(parameter["description"]))
    facts = [f"[bold]{name}[/] ({data['kind']}): {plain(data['summary'])}"]
    for need in fault.needs:
        found = needs.NEEDS[need]
        lack = needs.lacks(need)
        here = f"[red]{plain(lack)}[/] ({plain(found.how)})" if lack else "here"
        facts.append(f"needs {plain(found.meaning)}: {here}")
    if fault.protocol:
        facts.append(f"works on {plain(fault.protocol)} streams")
    if fault.kind == "continuous":
        facts.append(f"is taken back within {fault.recovery_seconds:g} s")
    show(output, data, "\n".join(facts), rows)
