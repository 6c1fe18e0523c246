"""Metrics in Prometheus' text format, read back by Prometheus' own client and held to its naming rules."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
_UNITS = re.compile(
    "_(ms|milliseconds|us|ns|minutes|hours|days|kb|mb|kib|mib|percent|kwh|mwh|w)(_|$)"
)  # none is a base unit: prometheus.io/docs/practices/naming


def parse(text: str) -> Samples:
    """The values by name and labels. AssertionError for what `promtool check metrics` would complain of, and
    for anything about energy."""
    assert text.endswith("\n")
    found: Samples = {}
    names: list[str] = []
    for family in text_string_to_metric_families(text):
        assert family.type in ("gauge", "counter"), family
        assert family.documentation.endswith("."), family
        for sample in family.samples:
            assert re.fullmatch("gateway_[a-z]+(_[a-z]+)*", sample.name), sample
            assert sample.name.endswith("_total") == (family.type == "counter"), sample
            assert not _UNITS.search(sample.name), sample
            assert not re.search("energy|power|watt|register|count(_|$)", sample.name), sample
            assert all(re.fullmatch("[a-z]+", label) for label in sample.labels), sample
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"twice: {key}"
            assert family.type == "gauge" or sample.value >= 0
            found[key] = sample.value
            names.append(sample.name)
    described = re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE)
    typed = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    assert described == typed == list(dict.fromkeys(names))
    return found


def value(text: str, name: str, **labels: str) -> float:
    """One value, `name` without its beginning gateway_."""
    return parse(text)[f"gateway_{name}", tuple(sorted(labels.items()))]
