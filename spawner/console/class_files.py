"""Reports on classes as files for spreadsheets."""

from collections.abc import Iterator
from datetime import timedelta

from ..operations.class_reports import CourseReport, SessionReport
from .csv_files import CsvFile, csv_file

_MINUTE = timedelta(minutes=1)
COLUMNS = (
    "student", "role", "guest", "state", "ready_at", "entered_at", "last_active_at", "stayed_minutes", "late_minutes",
    "gpu_hours", "idle_gpu_hours", "starts", "restarts", "failed_starts", "problem", "hands", "hand_wait_minutes",
    "visits", "collected_at", "collected_files", "collected_bytes", "collected_sha256",
)  # fmt: skip
COURSE_COLUMNS = (
    "student", "role", "sessions", "attended", "stayed_minutes", "gpu_hours", "idle_gpu_hours", "failed_starts",
    "hands", "collected",
)  # fmt: skip


def session_file(report: SessionReport) -> CsvFile:
    name = f"{report.course.id}-{report.session.starts_at:%Y-%m-%d}.csv"
    return csv_file(name, COLUMNS, _session_rows(report))


def _session_rows(report: SessionReport) -> Iterator[tuple[object, ...]]:
    for row in report.rows:
        work = row.collected
        waited = sum((one.length(report.at) for one in row.hands), timedelta(0))
        yield (
            row.user,
            row.role or "",
            "yes" if row.guest else "",
            row.state,
            *(moment.isoformat() if moment else "" for moment in (row.ready_at, row.entered_at, row.active_at)),
            row.stayed // _MINUTE,
            row.late // _MINUTE,
            hours(row.leased_ms),
            hours(row.idle_ms),
            row.starts,
            row.restarts,
            row.failed,
            row.problem,
            len(row.hands),
            waited // _MINUTE,
            row.visits,
            *((work.taken_at.isoformat(), work.files, work.size, work.sha256) if work else ("", "", "", "")),
        )


def course_file(report: CourseReport) -> CsvFile:
    return csv_file(f"{report.course.id}.csv", COURSE_COLUMNS, _course_rows(report))


def _course_rows(report: CourseReport) -> Iterator[tuple[object, ...]]:
    for one in report.students:
        yield (
            one.user,
            one.role or "",
            one.sessions,
            one.came,
            one.stayed // _MINUTE,
            hours(one.leased_ms),
            hours(one.idle_ms),
            one.failed,
            one.hands,
            one.collected,
        )


def hours(gpu_ms: int) -> str:
    return f"{gpu_ms / 3_600_000:.3f}"
