"""All rules: evidence in, findings out. No rule knows of another; the engine ranks."""

from collections.abc import Callable, Iterable

from kome_tui.triage import node_rules, resource_rules, service_rules, ssh_rules, stream_rules
from kome_tui.triage.model import Evidence, Finding

Rule = Callable[[Evidence], Iterable[Finding]]

RULES: tuple[Rule, ...] = (
    node_rules.operator_offline,
    node_rules.frontend_unreachable,
    node_rules.edge_unreachable,
    node_rules.role_down,
    node_rules.nginx_down,
    node_rules.frontend_port_blocked,
    node_rules.config_drift,
    node_rules.not_deployed,
    node_rules.release_pending,
    ssh_rules.ssh_client_failed,
    ssh_rules.ssh_no_key,
    ssh_rules.ssh_blocked,
    ssh_rules.ssh_refuses,
    ssh_rules.ssh_unreachable,
    service_rules.okome_silent,
    service_rules.partition,
    service_rules.okome_erroring,
    service_rules.gpu_unreachable,
    service_rules.vllm_down,
    service_rules.ollama_down,
    service_rules.tf_serving_down,
    service_rules.redis_down,
    service_rules.page_failing,
    service_rules.api_failing,
    stream_rules.stream_buffered,
    stream_rules.stream_refused,
    stream_rules.stream_broken,
    stream_rules.stream_stalled,
    stream_rules.stream_slow,
    resource_rules.disk,
    resource_rules.cache_unwritable,
    resource_rules.cache_ineffective,
    resource_rules.serving_stale,
    resource_rules.rate_limited,
    resource_rules.old_workers,
)
