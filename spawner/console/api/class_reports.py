"""Reports on classes: who came, what was used and wasted, what failed, who waited for help."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ...operations import class_reports
from ...operations.class_reports import Attendance, CourseReport, SessionReport, Student
from ...policy.classes import Phase, Role, SeatState
from ..class_files import course_file, session_file
from ..context import Here
from ..course_access import SessionOf, StaffOf
from ..csv_files import CSV_ANSWER, CsvFile
from .class_models import CollectedModel, collected_model

router = APIRouter(tags=["classes"])


class HandModel(BaseModel):
    """A hand that was raised."""

    raised_at: datetime
    lowered_at: datetime | None = Field(description="Null while it is raised.")
    lowered_by: str
    seconds: int = Field(description="How long it was, or is, raised.")


class AttendanceModel(BaseModel):
    """One student, or guest, in one session."""

    user: str
    role: Role | None
    guest: bool
    state: SeatState
    ready_at: datetime | None
    entered_at: datetime | None = Field(description="Null for who did not come.")
    active_at: datetime | None
    stayed_seconds: int = Field(description="From the first page opened to the last sign of work.")
    late_seconds: int
    gpu_ms: int = Field(description="GPU-milliseconds of the seat.")
    idle_ms: int = Field(description="Of these, in which nothing was done.")
    starts: int
    restarts: int = Field(description="By staff.")
    failed: int = Field(description="Starts after which its server did not get ready.")
    problem: str
    hands: list[HandModel]
    visits: int = Field(description="How often staff opened it.")
    collected: CollectedModel | None = Field(description="The last of what was taken.")


class SessionReportModel(BaseModel):
    """A session, as it was or stands."""

    course: str
    session: str
    title: str
    phase: Phase
    starts_at: datetime
    ends_at: datetime
    at: datetime
    came: int
    reserved_ms: int = Field(description="GPU-milliseconds, without what was given back.")
    gpu_ms: int = Field(description="Of these, leased; more time than the session's included.")
    idle_ms: int = Field(description="Leased, and nothing done.")
    unused_ms: int = Field(description="Reserved, and had by nobody.")
    failed: int
    restarts: int
    hands: int
    usual_wait_seconds: int | None = Field(description="Median of how long hands were raised; null for none.")


class SessionDetailModel(SessionReportModel):
    students: list[AttendanceModel]


class StudentModel(BaseModel):
    """One student over all sessions of a course."""

    user: str
    role: Role | None
    sessions: int
    attended: int
    stayed_seconds: int
    gpu_ms: int
    idle_ms: int
    failed: int
    hands: int
    collected: int


class CourseReportModel(BaseModel):
    """A course's sessions so far."""

    course: str
    at: datetime
    sessions: list[SessionReportModel] = Field(description="The latest first.")
    students: list[StudentModel] = Field(description="By name.")


@router.get("/courses/{course}/sessions/{session}/report")
def read_session_report(here: Here, found: StaffOf, session: SessionOf) -> SessionDetailModel:  # noqa: ARG001  who may
    """Read who came to a session, for how long, what they used, what failed, and who waited for help."""
    report = class_reports.session_report(here.desk, session.id)
    students = [_attendance(row, report) for row in report.rows]
    return SessionDetailModel(**_session(report).model_dump(), students=students)


@router.get("/courses/{course}/sessions/{session}/report/export", response_class=CsvFile, responses=CSV_ANSWER)
def export_session_report(here: Here, found: StaffOf, session: SessionOf) -> CsvFile:  # noqa: ARG001  who may
    """Write a session's report as CSV, a line per student."""
    return session_file(class_reports.session_report(here.desk, session.id))


@router.get("/courses/{course}/report")
def read_course_report(here: Here, found: StaffOf) -> CourseReportModel:
    """Read what a course's sessions were so far, and its students over all of them."""
    report: CourseReport = class_reports.course_report(here.desk, found.course.id)
    return CourseReportModel(
        course=found.course.id,
        at=report.at,
        sessions=[_session(one) for one in report.sessions],
        students=[_student(one) for one in report.students],
    )


@router.get("/courses/{course}/report/export", response_class=CsvFile, responses=CSV_ANSWER)
def export_course_report(here: Here, found: StaffOf) -> CsvFile:
    """Write a course's report as CSV, a line per student."""
    return course_file(class_reports.course_report(here.desk, found.course.id))


def _session(report: SessionReport) -> SessionReportModel:
    session = report.session
    wait = report.usual_wait
    return SessionReportModel(
        course=report.course.id,
        session=session.id,
        title=session.title,
        phase=session.phase(report.at),
        starts_at=session.starts_at,
        ends_at=session.ends_at,
        at=report.at,
        came=report.came,
        reserved_ms=report.reserved_ms,
        gpu_ms=report.leased_ms,
        idle_ms=report.idle_ms,
        unused_ms=report.unused_ms,
        failed=report.failed,
        restarts=report.restarts,
        hands=len(report.hands),
        usual_wait_seconds=None if wait is None else int(wait.total_seconds()),
    )


def _attendance(row: Attendance, report: SessionReport) -> AttendanceModel:
    return AttendanceModel(
        user=row.user,
        role=row.role,
        guest=row.guest,
        state=row.state,
        ready_at=row.ready_at,
        entered_at=row.entered_at,
        active_at=row.active_at,
        stayed_seconds=int(row.stayed.total_seconds()),
        late_seconds=int(row.late.total_seconds()),
        gpu_ms=row.leased_ms,
        idle_ms=row.idle_ms,
        starts=row.starts,
        restarts=row.restarts,
        failed=row.failed,
        problem=row.problem,
        hands=[
            HandModel(
                raised_at=one.raised_at,
                lowered_at=one.lowered_at,
                lowered_by=one.lowered_by,
                seconds=int(one.length(report.at).total_seconds()),
            )
            for one in row.hands
        ],
        visits=row.visits,
        collected=row.collected and collected_model(row.collected),
    )


def _student(one: Student) -> StudentModel:
    return StudentModel(
        user=one.user,
        role=one.role,
        sessions=one.sessions,
        attended=one.came,
        stayed_seconds=int(one.stayed.total_seconds()),
        gpu_ms=one.leased_ms,
        idle_ms=one.idle_ms,
        failed=one.failed,
        hands=one.hands,
        collected=one.collected,
    )
