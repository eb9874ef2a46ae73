"""Reports after a class: on one session, and on a course."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...operations import class_reports
from ..class_pages import WORDS, board_path
from ..context import Here
from ..course_access import SessionOf, StaffOf

router = APIRouter()


@router.get("/courses/{course}/sessions/{session}/report")
def show_session(request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    report = class_reports.session_report(here.desk, session.id)
    return here.pages.render(
        request,
        found.caller,
        "class_board/report.html",
        **WORDS,
        course=found.course,
        session=session,
        path=board_path(here, session),
        report=report,
        export=f"{here.prefix}api/v1/courses/{session.course}/sessions/{session.id}/report/export",
    )


@router.get("/courses/{course}/report")
def show_course(request: Request, here: Here, found: StaffOf) -> Response:
    report = class_reports.course_report(here.desk, found.course.id)
    return here.pages.render(
        request,
        found.caller,
        "class_board/course-report.html",
        **WORDS,
        course=found.course,
        report=report,
        export=f"{here.prefix}api/v1/courses/{found.course.id}/report/export",
    )
