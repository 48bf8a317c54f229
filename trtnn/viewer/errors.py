"""Errors by module, as reports of them measured, in the facts of what they are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from trtnn.errors import ArgumentError
from trtnn.viewer.facts import Facts, ModuleFacts, Roofline


class Report(Protocol):
    """What measured errors: rms(difference) / rms(reference) of what modules give.

    Attributes:
        measures: what the errors are of, such as ``"fp16"``.
        module_errors: by the modules' paths.
    """

    @property
    def measures(self) -> str: ...

    @property
    def module_errors(self) -> Mapping[str, float]: ...


def with_errors(facts: Facts, reports: Sequence[Report], roofline: Roofline | None) -> Facts:
    """Return facts with the errors of reports, and with the roofline of the GPU.

    Raises:
        ArgumentError: a report is of none of the modules, or two measure the same.
    """
    if not isinstance(reports, Sequence):
        raise ArgumentError(f"reports is a list of them, not a {type(reports).__name__}", "of one: reports=[report]")
    modules = {module.path: module for module in facts.modules}
    names = [report.measures for report in reports]
    if len(set(names)) < len(names):
        raise ArgumentError(f"two reports measure the same: {', '.join(names)}", "give one of each")
    for report in reports:
        errors = report.module_errors
        if modules and modules.keys().isdisjoint(errors):
            raise ArgumentError(
                f"the report of {report.measures} is of another network",
                f"it has such as {next(iter(errors), 'no modules')}",
                f"here are such as {', '.join(list(modules)[:3])}",
            )
        for path, error in errors.items():
            module = modules.get(path, ModuleFacts(path))
            modules[path] = dataclasses.replace(module, errors={**module.errors, report.measures: error})
    return dataclasses.replace(facts, modules=list(modules.values()), roofline=roofline)
