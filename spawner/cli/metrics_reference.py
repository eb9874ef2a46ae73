"""The reference of the metrics, rendered from their declarations."""

from ..metrics.catalog import ALL_METRICS
from ..metrics.metric import Declaration, Source

_HEAD = """\
# Metrics

<!-- Rendered by `make docs` from spawner/metrics; edit that. -->

All metrics of Berth's own, each with who serves it. [Connect your Prometheus](../how-to/connect-your-prometheus.md)
tells how they are scraped.

| who | where | access |
|---|---|---|
| the exporter, one per node | `127.0.0.1:9410/metrics` | `metrics.token`, `metrics.certificate` |
| the janitor | `127.0.0.1:9411/metrics` | likewise |
| the hub | `/hub/metrics` at the hub's address, beside JupyterHub's own | a token with the scope `read:metrics` |

- Address and ports of the first two are `metrics.bind_address`, `metrics.exporter_port` and `metrics.janitor_port` in
  the [settings](settings.md). They are served as Prometheus' text or as OpenMetrics, as the client asks, and packed
  where it can unpack. A port that is taken keeps nothing else from running: the log says who has it, and it is tried
  again every 15 seconds.
- With `metrics.token` they want the header `Authorization: Bearer TOKEN`; others get status 401. With
  `metrics.certificate` and `metrics.key` they speak TLS only; a renewed certificate is taken up by itself.
- The hub's token lies in `prometheus-token` in the state directory. It may read these metrics and nothing else.
- Units are seconds, bytes and ratios from 0 to 1. What cannot be read has no sample, never a 0.
- With `metrics.hash_users` a label `user` has `u-` and 16 hexadecimal digits in place of the name: of the HMAC-SHA256
  with the key in `metrics-key` in the state directory, the same everywhere and ever after. `container` is then the
  first 12 digits of the container's id, for container names tell users. Servers, groups and courses keep their names.
- Figures of GPUs have no users: they are joined through the lease. Who uses which GPU how much, for one:

  ```promql
  berth_lease_gpu_utilization_ratio
    * on (lease, gpu, slot) group_left (user, server, course) berth_lease_info
  ```

  `berth_lease_info` is what containers say, `berth_open_lease_info` what the ledger says; where one is missing,
  something is wrong: `berth_open_lease_info{state="active"} unless on (lease) berth_lease_info`.
- Counters of the janitor come from the ledger and go on after a restart. A running lease counts up to when its
  container was last seen to run, every `leases.reconcile_seconds`; at its end that is made exact, and never less.
"""
_TITLES = {
    Source.EXPORTER: ("The exporter's", "GPUs, containers, homes, each of the exporter's own node."),
    Source.JANITOR: (
        "The janitor's",
        (
            "What the ledger says. While it does not answer, `berth_ledger_up` is 0 and none of these has samples but "
            "`berth_janitor_steps_total` and `berth_janitor_loop_interval_seconds`."
        ),
    ),
    Source.HUB: ("The hub's", "Since the hub runs."),
}


def render_metrics() -> str:
    """Give the page in Markdown."""
    lines = [_HEAD]
    for source, (title, words) in _TITLES.items():
        lines += [f"## {title}", "", words, "", "| name | type | labels | what |", "|---|---|---|---|"]
        lines += [_row(metric) for metric in ALL_METRICS if metric.source is source]
        lines.append("")
    return "\n".join(lines)


def _row(metric: Declaration) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    text = metric.text.replace("|", "\\|")
    if metric.buckets:
        text += f" Buckets up to {', '.join(f'{bound:g}' for bound in metric.buckets)}."
    return f"| `{metric.name}` | {metric.kind} | {labels} | {text} |"
