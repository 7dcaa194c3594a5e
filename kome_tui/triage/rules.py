"""All rules: evidence in, findings out. No rule knows of another; the engine ranks."""

from collections.abc import Callable, Iterable

from kome_tui.triage import node_rules, service_rules, stream_rules
from kome_tui.triage.model import Evidence, Finding

Rule = Callable[[Evidence], Iterable[Finding]]

RULES: tuple[Rule, ...] = (
    node_rules.operator_offline,
    node_rules.frontend_unreachable,
    node_rules.edge_unreachable,
    node_rules.nginx_down,
    node_rules.config_drift,
    node_rules.ssh_refuses,
    node_rules.ssh_unreachable,
    node_rules.not_deployed,
    node_rules.release_pending,
    service_rules.okome_silent,
    service_rules.partition,
    service_rules.okome_erroring,
    service_rules.vllm_down,
    service_rules.redis_down,
    service_rules.page_failing,
    service_rules.api_failing,
    stream_rules.stream_buffered,
    stream_rules.stream_broken,
    stream_rules.stream_slow,
)
