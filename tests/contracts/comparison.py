"""What a test demands of one side of the contracts, next to the standard one."""

from __future__ import annotations

from collections.abc import Callable

import suites


def assert_no_fault(
    interpreter: suites.Interpreter, side: str, modules: list[str], of_those: Callable[[str], object] = bool
) -> suites.Report:
    """Every test that runs on the standard side runs on ours, and none fails that passes there."""
    ours, theirs = (suites.cell(interpreter, each) for each in (side, "standard"))
    tests = [test for test in suites.listed(theirs, modules) if of_those(test)]
    report = suites.run(ours, modules, tests)
    assert not set(tests) - set(report.outcomes)
    faults = suites.faults_of(ours, theirs, modules, report)
    assert not faults, "\n\n".join(f"{test}: {our[0]}, standard: {their[0]}\n{our[1]}" for test, our, their in faults)
    return report
