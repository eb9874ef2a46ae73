"""Berth's dashboards. `make docs` writes dashboards/*.json from here, or: python -m deploy.grafana.boards"""

import json
from pathlib import Path

from .panels import Dashboard, Panel, Variable

FOLDER = Path(__file__).parent / "dashboards"

GPU = Variable("gpu", "GPU", "label_values(berth_gpu_info, gpu)")
USER = Variable("user", "User", "label_values(berth_quota_gpus, user)")
COURSE = Variable("course", "Class", 'label_values(berth_open_lease_info{course!=""}, course)')
_NAMED = "* on (gpu) group_left (node, index, model) berth:gpu:info"
_GPU = "{{node}} {{index}}"
_HELD = {"user": "User", "server": "Server", "course": "Class", "lease": "Lease"}


def _hours(level: str, selector: str = "") -> dict[str, str]:
    """Give GPU-hours per hour, which is GPUs, by what became of them; {} stands for the kind."""
    return {kind: f"sum({level}:{kind}{selector}) * 240" for kind in ("used", "idle")}


FLEET = Dashboard(
    "berth-fleet",
    "Berth: fleet",
    "All GPUs: who has them, what they do, who waits.",
    {
        "Now": [
            Panel("GPUs", "GPUs that answer.", "short", {"GPUs": "sum(max by (gpu) (berth_gpu_up))"}, "stat", 4),
            Panel(
                "Leased",
                "Share of the slots in service that are leased.",
                "percentunit",
                {"leased": 'sum(berth_slots{state="held"}) / sum(berth_slots{state=~"held|free"})'},
                "stat",
                4,
            ),
            Panel(
                "Used while leased",
                "Of what is leased, the share in which a kernel runs. Low means that GPUs are held for nothing.",
                "percentunit",
                {"used": "berth:utilization:ratio"},
                "stat",
                4,
            ),
            Panel("Waiting", "Tickets in the queue.", "short", {"waiting": "sum(berth_queue_length)"}, "stat", 4),
            Panel(
                "Longest wait",
                "Of whoever waits in the queue.",
                "s",
                {"wait": "max(berth_queue_oldest_wait_seconds)"},
                "stat",
                4,
                steps=(3600, 14400),
            ),
            Panel("Power", "Of all GPUs.", "watt", {"power": "sum(max by (gpu) (berth_gpu_power_watts))"}, "stat", 4),
        ],
        "Use": [
            Panel(
                "Leased GPUs: used and idle",
                "Slots that are leased, by what they do: a kernel runs, or nothing.",
                "short",
                _hours("berth:user_gpu_hours"),
                stacked=True,
            ),
            Panel(
                "Leased GPUs by user",
                "Slots that each user holds.",
                "short",
                {"{{user}}": "sum by (user) (berth:lease_slot:leased)"},
                stacked=True,
            ),
            Panel(
                "Slots",
                "By state: held, free, or not in service.",
                "short",
                {"{{state}}": "sum by (state) (berth_slots)"},
                stacked=True,
            ),
            Panel(
                "Leased GPUs by group",
                "Slots by the holder's groups; who is in two counts in both.",
                "short",
                {
                    "{{group}}": "sum by (group) (max by (lease, group) (berth_lease_group_info) "
                    "* on (lease) group_left () sum by (lease) (berth:lease_slot:leased))"
                },
                stacked=True,
            ),
            Panel("Queue", "Tickets by state.", "short", {"{{state}}": "sum by (state) (berth_queue_length)"}),
            Panel(
                "Requests",
                "Requests for GPUs per hour, by outcome.",
                "short",
                {"{{outcome}}": "sum by (outcome) (rate(berth_lease_requests_total[10m])) * 3600"},
            ),
        ],
        "GPUs": [
            Panel(
                "Utilisation",
                "Share of the time in which a kernel ran, by GPU.",
                "percentunit",
                {_GPU: f"max by (gpu) (berth_gpu_sm_utilization_ratio) {_NAMED}"},
                maximum=1,
            ),
            Panel(
                "Memory",
                "Share of each GPU's memory that programs hold.",
                "percentunit",
                {_GPU: f"max by (gpu) (berth_gpu_memory_used_bytes / berth_gpu_memory_total_bytes) {_NAMED}"},
                maximum=1,
            ),
            Panel(
                "Temperature",
                "Of each GPU.",
                "celsius",
                {_GPU: f'max by (gpu) (berth_gpu_temperature_celsius{{sensor="gpu"}}) {_NAMED}'},
            ),
            Panel("Power", "Drawn by each GPU.", "watt", {_GPU: f"max by (gpu) (berth_gpu_power_watts) {_NAMED}"}),
            Panel(
                "Who holds what",
                "Leases, and how much of the last quarter of an hour they used of each GPU.",
                "percentunit",
                {"Used": f"avg_over_time(berth:lease_slot:used[15m]) {_NAMED}"},
                "table",
                24,
                columns={"node": "Node", "index": "GPU", "model": "Model", **_HELD},
            ),
        ],
    },
)

ONE_GPU = Dashboard(
    "berth-gpu",
    "Berth: one GPU",
    "What one GPU does, and for whom.",
    {
        "Now": [
            Panel(
                "Answers",
                "1, or 0 once it has fallen off the bus.",
                "short",
                {"up": 'max(berth_gpu_up{gpu="$gpu"})'},
                "stat",
                4,
            ),
            Panel(
                "Utilisation",
                "Share of the time in which a kernel runs.",
                "percentunit",
                {"sm": 'max(berth_gpu_sm_utilization_ratio{gpu="$gpu"})'},
                "stat",
                4,
            ),
            Panel(
                "Memory",
                "That programs hold.",
                "bytes",
                {"used": 'max(berth_gpu_memory_used_bytes{gpu="$gpu"})'},
                "stat",
                4,
            ),
            Panel(
                "Foreign processes",
                "Programs on it that hold no lease of it.",
                "short",
                {"foreign": 'max(berth_gpu_foreign_processes{gpu="$gpu"})'},
                "stat",
                4,
                steps=(1, 2),
            ),
            Panel(
                "What it is",
                "Model, driver, and where it is.",
                "short",
                {"": 'berth_gpu_info{gpu="$gpu"}'},
                "table",
                8,
                4,
                columns={"node": "Node", "index": "GPU", "model": "Model", "driver": "Driver", "pci": "PCI"},
            ),
        ],
        "Leases": [
            Panel(
                "Held by",
                "Who holds it, or a part of it.",
                "short",
                {"{{user}} {{slot}}": 'berth:lease_slot:leased{gpu="$gpu"}'},
                "state-timeline",
                24,
                6,
            ),
            Panel(
                "Utilisation by lease",
                "What each lease uses of its slot.",
                "percentunit",
                {"{{user}} {{slot}}": 'berth:lease_slot:used{gpu="$gpu"}'},
                maximum=1,
            ),
            Panel(
                "Memory by lease",
                "That each lease's container holds.",
                "bytes",
                {
                    "{{user}} {{slot}}": 'max by (lease, slot) (berth_lease_gpu_memory_used_bytes{gpu="$gpu"}) '
                    '* on (lease, slot) group_left (user) berth:lease_slot:leased{gpu="$gpu"}'
                },
            ),
        ],
        "Work": [
            Panel(
                "Utilisation",
                "Of kernels, memory, video encoder and decoder.",
                "percentunit",
                {
                    "kernels": 'berth_gpu_sm_utilization_ratio{gpu="$gpu"}',
                    "memory": 'berth_gpu_memory_utilization_ratio{gpu="$gpu"}',
                },
                maximum=1,
            ),
            Panel(
                "Memory",
                "Held by programs, and all there is.",
                "bytes",
                {
                    "used": 'berth_gpu_memory_used_bytes{gpu="$gpu"}',
                    "total": 'berth_gpu_memory_total_bytes{gpu="$gpu"}',
                },
            ),
            Panel("Clocks", "By what they drive.", "hertz", {"{{clock}}": 'berth_gpu_clock_hertz{gpu="$gpu"}'}),
            Panel(
                "PCIe",
                "Over the bus, by direction.",
                "Bps",
                {"{{direction}}": 'berth_gpu_pcie_throughput_bytes_per_second{gpu="$gpu"}'},
            ),
        ],
        "Health": [
            Panel(
                "Temperature",
                "By sensor, and where it slows itself down.",
                "celsius",
                {
                    "{{sensor}}": 'berth_gpu_temperature_celsius{gpu="$gpu"}',
                    "slows down": 'berth_gpu_temperature_slowdown_celsius{gpu="$gpu"}',
                },
            ),
            Panel(
                "Power",
                "Drawn, and the limit.",
                "watt",
                {"drawn": 'berth_gpu_power_watts{gpu="$gpu"}', "limit": 'berth_gpu_power_limit_watts{gpu="$gpu"}'},
            ),
            Panel(
                "Slowed down",
                "For which reason its clocks are held down.",
                "short",
                {"{{reason}}": 'berth_gpu_throttled{gpu="$gpu"}'},
                "state-timeline",
            ),
            Panel(
                "Memory errors",
                "In a day, by severity.",
                "short",
                {"{{severity}}": 'increase(berth_gpu_ecc_errors_total{gpu="$gpu"}[1d])'},
            ),
        ],
    },
    (GPU,),
)

ONE_USER = Dashboard(
    "berth-user",
    "Berth: one user",
    "What one user holds, uses, and may have.",
    {
        "Now": [
            Panel(
                "GPUs held",
                "Slots of the user's leases; none shows as nothing.",
                "short",
                {"held": 'sum(berth:lease_slot:leased{user="$user"})'},
                "stat",
                4,
            ),
            Panel(
                "May hold",
                "GPUs at once, by quota.",
                "short",
                {"quota": 'max(berth_quota_gpus{user="$user"})'},
                "stat",
                4,
            ),
            Panel(
                "Used while leased",
                "Of what they hold, the share in which a kernel runs.",
                "percentunit",
                {"used": 'berth:user_utilization:ratio{user="$user"}'},
                "stat",
                4,
            ),
            Panel(
                "Budget used",
                "GPU-hours used in the window.",
                "s",
                {"used": 'max(berth_gpu_budget_used_seconds{user="$user"})'},
                "stat",
                4,
            ),
            Panel(
                "Home",
                "Disk space that it takes.",
                "bytes",
                {"home": 'max(berth_home_used_bytes{user="$user"})'},
                "stat",
                4,
            ),
            Panel(
                "GPU-hours ever",
                "Of all their leases.",
                "h",
                {"hours": 'max(berth_gpu_seconds_total{user="$user"}) / 3600'},
                "stat",
                4,
            ),
        ],
        "GPUs": [
            Panel(
                "GPUs: used and idle",
                "Slots of their leases, by what they do.",
                "short",
                _hours("berth:user_gpu_hours", '{user="$user"}'),
                stacked=True,
            ),
            Panel(
                "Utilisation by lease",
                "Of each GPU they hold.",
                "percentunit",
                {f"{_GPU} {{{{server}}}}": f'berth:lease_slot:used{{user="$user"}} {_NAMED}'},
                maximum=1,
            ),
            Panel(
                "GPU-hours by day",
                "Leased, used and idle in the 24 hours before each moment.",
                "h",
                {
                    "leased": 'berth:user_gpu_hours:leased_1d{user="$user"}',
                    "used": 'berth:user_gpu_hours:used_1d{user="$user"}',
                    "idle": 'berth:user_gpu_hours:idle_1d{user="$user"}',
                },
            ),
            Panel(
                "Leases",
                "What they hold, and how much of the last quarter of an hour they used.",
                "percentunit",
                {"Used": f'avg_over_time(berth:lease_slot:used{{user="$user"}}[15m]) {_NAMED}'},
                "table",
                columns={"node": "Node", "index": "GPU", "model": "Model", "server": "Server", "lease": "Lease"},
            ),
        ],
        "Containers": [
            Panel(
                "CPU",
                "Cores in use, by server.",
                "short",
                {
                    "{{server}}": "sum by (container) (rate(berth_container_cpu_seconds_total[5m])) "
                    '* on (container) group_left (server) berth_container_info{user="$user"}'
                },
            ),
            Panel(
                "Memory",
                "That cannot be dropped, by server.",
                "bytes",
                {
                    "{{server}}": "berth_container_memory_working_set_bytes "
                    '* on (container) group_left (server) berth_container_info{user="$user"}'
                },
            ),
        ],
    },
    (USER,),
    "now-24h",
)

ONE_CLASS = Dashboard(
    "berth-class",
    "Berth: one class",
    "A class with reserved GPUs: are they there, are they used, by whom.",
    {
        "Now": [
            Panel(
                "Seats taken",
                "GPUs that students of the class hold.",
                "short",
                {"held": 'sum(berth:lease_slot:leased{course="$course"})'},
                "stat",
                6,
            ),
            Panel(
                "Used while leased",
                "Of what they hold, the share in which a kernel runs.",
                "percentunit",
                {
                    "used": 'sum(berth:lease_slot:used{course="$course"}) '
                    '/ count(berth:lease_slot:used{course="$course"})'
                },
                "stat",
                6,
            ),
            Panel(
                "Students",
                "Who hold a GPU now.",
                "short",
                {"students": 'count(count by (user) (berth:lease_slot:leased{course="$course"}))'},
                "stat",
                6,
            ),
            Panel(
                "GPU-hours ever",
                "Of all its leases.",
                "h",
                {"hours": 'max(berth_course_gpu_seconds_total{course="$course"}) / 3600'},
                "stat",
                6,
            ),
        ],
        "GPUs": [
            Panel(
                "Reserved slots",
                "Of the running reservation: free, held by the class, taken by others.",
                "short",
                {"{{state}}": 'sum by (state) (berth_reserved_slots{course="$course"})'},
                stacked=True,
            ),
            Panel(
                "GPUs: used and idle",
                "Of the class's leases, by what they do.",
                "short",
                _hours("berth:course_gpu_hours", '{course="$course"}'),
                stacked=True,
            ),
            Panel(
                "Utilisation by student",
                "What each uses of what they hold.",
                "percentunit",
                {"{{user}}": 'avg by (user) (berth:lease_slot:used{course="$course"})'},
                maximum=1,
            ),
            Panel(
                "Students",
                "Who holds which GPU, and how much of the last quarter of an hour they used.",
                "percentunit",
                {"Used": f'avg_over_time(berth:lease_slot:used{{course="$course"}}[15m]) {_NAMED}'},
                "table",
                columns={"user": "Student", "server": "Server", "node": "Node", "index": "GPU", "model": "Model"},
            ),
        ],
    },
    (COURSE,),
)

HOARDER = Dashboard(
    "berth-hoarder",
    "Berth: who is hoarding?",
    "GPU-hours leased, used and idle, by user, group and class.",
    {
        "The last day": [
            Panel(
                "Idle GPU-hours by user",
                "Leased and unused in 24 hours.",
                "h",
                {"{{user}}": "sort_desc(topk(15, berth:user_gpu_hours:idle_1d))"},
                "bargauge",
                12,
                10,
            ),
            Panel(
                "Users",
                "GPU-hours in 24 hours; an equal share is what all who wanted GPUs would have had alike.",
                "h",
                {
                    "Leased": "berth:user_gpu_hours:leased_1d",
                    "Used": "berth:user_gpu_hours:used_1d",
                    "Idle": "berth:user_gpu_hours:idle_1d",
                },
                "table",
                12,
                10,
                columns={"user": "User"},
            ),
            Panel(
                "Used while leased",
                "Of what each user held in 24 hours, the share in which a kernel ran.",
                "percentunit",
                {"{{user}}": "sort(bottomk(15, berth:user_utilization:ratio_1d))"},
                "bargauge",
                12,
                10,
                maximum=1,
            ),
            Panel(
                "Equal share",
                "GPU-hours that everybody would have had alike in 24 hours.",
                "h",
                {"share": "berth:share_gpu_hours:1d"},
                "stat",
            ),
        ],
        "The time shown": [
            Panel(
                "Idle GPU-hours by user",
                "Leased and unused in the time shown.",
                "h",
                {"{{user}}": "sort_desc(topk(15, sum_over_time(berth:user_gpu_hours:idle[$__range])))"},
                "bargauge",
            ),
            Panel(
                "GPU-hours by group",
                "In the time shown; who is in two groups counts in both.",
                "h",
                {
                    "Leased": "sum_over_time(berth:group_gpu_hours:leased[$__range])",
                    "Used": "sum_over_time(berth:group_gpu_hours:used[$__range])",
                    "Idle": "sum_over_time(berth:group_gpu_hours:idle[$__range])",
                },
                "table",
                columns={"group": "Group"},
            ),
            Panel(
                "GPU-hours by class",
                "In the time shown.",
                "h",
                {
                    "Leased": "sum_over_time(berth:course_gpu_hours:leased[$__range])",
                    "Used": "sum_over_time(berth:course_gpu_hours:used[$__range])",
                    "Idle": "sum_over_time(berth:course_gpu_hours:idle[$__range])",
                },
                "table",
                columns={"course": "Class"},
            ),
            Panel(
                "Idle GPUs by user",
                "Slots that are leased and do nothing.",
                "short",
                {"{{user}}": "berth:user_gpu_hours:idle * 240"},
                stacked=True,
            ),
        ],
    },
    period="now-7d",
)

HEALTH = Dashboard(
    "berth-health",
    "Berth: hub health",
    "Whether Berth itself does its work.",
    {
        "Now": [
            Panel(
                "Processes",
                "1 for each that answers.",
                "short",
                {"{{job}}": 'min by (job) (up{job=~"berth-.*"})'},
                "stat",
                8,
            ),
            Panel("Ledger", "1 if it can be read.", "short", {"ledger": "max(berth_ledger_up)"}, "stat", 4),
            Panel(
                "Servers",
                "Users' servers that run, as the hub counts them.",
                "short",
                {"servers": "sum(jupyterhub_running_servers)"},
                "stat",
                4,
            ),
            Panel(
                "Containers",
                "That run on the engine.",
                "short",
                {"containers": "count(berth_container_info)"},
                "stat",
                4,
            ),
            Panel("Open leases", "In all states.", "short", {"leases": "sum(berth_leases)"}, "stat", 4),
        ],
        "Starts": [
            Panel(
                "Starts",
                "Per hour, by outcome.",
                "short",
                {"{{outcome}}": "sum by (outcome) (rate(berth_spawns_total[10m])) * 3600"},
                stacked=True,
            ),
            Panel(
                "Phases of a start",
                "Nine of ten were done within this time.",
                "s",
                {
                    "{{phase}}": "histogram_quantile(0.9, sum by (phase, le) "
                    "(rate(berth_spawn_phase_seconds_bucket[1h])))"
                },
            ),
            Panel(
                "Wait for GPUs",
                "Nine of ten who had to wait were served within this time.",
                "s",
                {"wait": "histogram_quantile(0.9, sum by (le) (increase(berth_queue_wait_seconds_bucket[1d])))"},
            ),
            Panel(
                "The queue's end",
                "Tickets per hour by how they left it.",
                "short",
                {"{{outcome}}": "sum by (outcome) (rate(berth_tickets_total[1h])) * 3600"},
            ),
        ],
        "Janitor": [
            Panel(
                "Age of loops",
                "Since a turn last went well, in turns: about 1 is right.",
                "short",
                {
                    "{{loop}}": "(time() - max by (loop) (berth_janitor_loop_last_success_timestamp_seconds)) "
                    "/ max by (loop) (berth_janitor_loop_interval_seconds)"
                },
            ),
            Panel(
                "Repairs",
                "Per hour, by kind: what leases and containers differed in.",
                "short",
                {"{{kind}}": "sum by (kind) (rate(berth_reconcile_repairs_total[1h])) * 3600"},
            ),
            Panel(
                "Leases by state",
                "Many that are pending or releasing for long are stuck.",
                "short",
                {"{{state}}": "sum by (state) (berth_leases)"},
                stacked=True,
            ),
            Panel(
                "Steps",
                "Changes that the janitor made per hour, by loop.",
                "short",
                {"{{loop}}": "sum by (loop) (rate(berth_janitor_steps_total[10m])) * 3600"},
            ),
        ],
        "Exporter and hub": [
            Panel(
                "Time of a look",
                "How long the exporter's last look took.",
                "s",
                {"{{probe}}": "max by (probe) (berth_probe_duration_seconds)"},
            ),
            Panel(
                "Absent readings",
                "Per hour, by reason; what a GPU does not support is no fault.",
                "short",
                {"{{probe}} {{reason}}": "sum by (probe, reason) (rate(berth_probe_errors_total[10m])) * 3600"},
            ),
            Panel(
                "Time of a scrape",
                "How long each process takes to answer Prometheus.",
                "s",
                {"{{job}}": 'max by (job) (scrape_duration_seconds{job=~"berth-.*"})'},
            ),
            Panel(
                "Requests to the hub",
                "Per second, by status.",
                "reqps",
                {"{{code}}": "sum by (code) (rate(jupyterhub_request_duration_seconds_count[5m]))"},
                stacked=True,
            ),
            Panel(
                "Memory of processes",
                "Of each process of Berth's.",
                "bytes",
                {"{{job}}": 'process_resident_memory_bytes{job=~"berth-.*"}'},
            ),
            Panel(
                "CPU of processes",
                "Cores in use.",
                "short",
                {"{{job}}": 'rate(process_cpu_seconds_total{job=~"berth-.*"}[5m])'},
            ),
        ],
    },
)

ALL = (FLEET, ONE_GPU, ONE_USER, ONE_CLASS, HOARDER, HEALTH)


def files() -> dict[Path, str]:
    """Give each file's text."""
    return {FOLDER / f"{board.uid}.json": json.dumps(board.json(), indent=1) + "\n" for board in ALL}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
