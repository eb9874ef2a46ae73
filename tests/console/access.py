"""Who is let in where: one line for every route of the API and every page.

A route that has none makes a test fail, which prints the line's beginning.
"""

from dataclasses import dataclass

from spawner.console.scopes import OF_PEOPLE, Scope, implied

from ..support.console import OF_HUB_ADMINS
from ..support.console_world import ANN

NOBODY = "nobody"
"""Scope that no one has: what is done with one's own things by their owner alone."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a route asks of its callers.

    Attributes
    ----------
    own
        What it takes for one's own things, or where things are nobody's; None for nothing.
    others
        What it takes for the things of others; the same, if not said.
    anyone
        Whether one need not be signed in.
    person
        Whether services are refused.
    endless
        Whether the answer goes on for ever.
    course
        What one has to be in the course that a path names: `MEMBER` and so on; 0 where it names none.
    """

    own: Scope | None = None
    others: str | None = None
    anyone: bool = False
    person: bool = False
    endless: bool = False
    course: int = 0

    @property
    def owned(self) -> bool:
        return self.others is not None


def of_all(scope: Scope | None = None, *, person: bool = False, endless: bool = False) -> Access:
    return Access(scope, person=person, endless=endless)


def of_owner(own: Scope, others: str) -> Access:
    return Access(own, others)


MEMBER, ASSISTANT, INSTRUCTOR, ADMIN = 1, 2, 3, 4
"""What somebody is in a course, each more than the one before."""


def of_members(scope: Scope = Scope.SELF_READ, *, endless: bool = False) -> Access:
    """Routes with `MemberOf`; a scope of `Scope.SELF` where they change something."""
    return Access(scope, course=MEMBER, endless=endless)


def of_staff(scope: Scope = Scope.SELF_READ, *, endless: bool = False) -> Access:
    """Routes with `StaffOf`; `Scope.SELF` where they change something."""
    return Access(scope, course=ASSISTANT, endless=endless)


def of_instructors(scope: Scope = Scope.SELF_READ) -> Access:
    """Routes with `InstructorOf`; `Scope.SELF` where they change something."""
    return Access(scope, course=INSTRUCTOR)


def of_course_admins(scope: Scope = Scope.SELF_READ) -> Access:
    """Routes with `AdminOf`; `Scope.SELF` where they change something."""
    return Access(scope, course=ADMIN)


ANYONE = Access(anyone=True)

ACCESS: dict[str, Access] = {
    # The API
    "GET api/v1/openapi.json": ANYONE,
    "GET api/v1/me": of_all(),
    # One's own
    "GET api/v1/users/{name}/servers": of_owner(Scope.SELF_READ, Scope.READ),
    "GET api/v1/users/{name}/servers/{server}": of_owner(Scope.SELF_READ, Scope.READ),
    "GET api/v1/users/{name}/leases": of_owner(Scope.SELF_READ, Scope.READ),
    "GET api/v1/users/{name}/queue": of_owner(Scope.SELF_READ, Scope.READ),
    "GET api/v1/users/{name}/usage": of_owner(Scope.SELF_READ, Scope.READ),
    "GET api/v1/users/{name}/gpu-use": of_owner(Scope.SELF_READ, Scope.READ),
    "POST api/v1/users/{name}/servers/{server}/start": of_owner(Scope.SELF, NOBODY),
    "POST api/v1/users/{name}/servers/{server}/stop": of_owner(Scope.SELF, NOBODY),
    "POST api/v1/users/{name}/servers/{server}/restart": of_owner(Scope.SELF, NOBODY),
    "POST api/v1/users/{name}/leases/{lease_id}/extend": of_owner(Scope.SELF, NOBODY),
    "POST api/v1/users/{name}/leases/{lease_id}/release": of_owner(Scope.SELF, NOBODY),
    "DELETE api/v1/users/{name}/queue/{ticket_id}": of_owner(Scope.SELF, NOBODY),
    "GET api/v1/availability": of_all(Scope.SELF_READ),
    "GET api/v1/quotas": of_all(Scope.READ),
    "GET api/v1/quotas/default/{dimension}": of_all(Scope.READ),
    "PUT api/v1/quotas/default/{dimension}": of_all(Scope.QUOTAS),
    "DELETE api/v1/quotas/default/{dimension}": of_all(Scope.QUOTAS),
    "GET api/v1/quotas/export": of_all(Scope.READ),
    "POST api/v1/quotas/import": of_all(Scope.QUOTAS),
    "POST api/v1/quotas/preview": of_all(Scope.QUOTAS),
    "GET api/v1/quotas/table": of_all(Scope.READ),
    "GET api/v1/quotas/{subject}/{name:path}/{dimension}": of_all(Scope.READ),
    "PUT api/v1/quotas/{subject}/{name:path}/{dimension}": of_all(Scope.QUOTAS),
    "DELETE api/v1/quotas/{subject}/{name:path}/{dimension}": of_all(Scope.QUOTAS),
    "GET api/v1/users/{name}/quota": of_owner(Scope.SELF_READ, Scope.READ),
    "GET api/v1/leases": of_all(Scope.READ),
    "GET api/v1/leases/idle": of_all(Scope.READ),
    "GET api/v1/leases/{lease_id}": of_all(Scope.READ),
    "POST api/v1/leases/{lease_id}/end": of_all(Scope.GPUS),
    "POST api/v1/leases/{lease_id}/extend": of_all(Scope.GPUS),
    "GET api/v1/queue": of_all(Scope.READ),
    "POST api/v1/queue/{ticket_id}/move-up": of_all(Scope.GPUS),
    "DELETE api/v1/queue/{ticket_id}": of_all(Scope.GPUS),
    "GET api/v1/usage": of_all(Scope.READ),
    "GET api/v1/usage/export": of_all(Scope.READ),
    "GET api/v1/usage/week": of_all(Scope.READ),
    "GET api/v1/audit": of_all(Scope.READ),
    "GET api/v1/audit/export": of_all(Scope.READ),
    # Sessions
    "GET api/v1/calendar": of_all(Scope.SELF_READ),
    "GET api/v1/users/{name}/sessions": of_owner(Scope.SELF_READ, Scope.READ),
    "GET api/v1/users/{name}/calendar": of_owner(Scope.SELF, NOBODY),
    "POST api/v1/users/{name}/calendar": of_owner(Scope.SELF, NOBODY),
    "DELETE api/v1/users/{name}/calendar": of_owner(Scope.SELF, NOBODY),
    "GET api/v1/courses/{course}/sessions": of_members(),
    "GET api/v1/courses/{course}/sessions.ics": of_members(),
    "POST api/v1/courses/{course}/sessions": of_instructors(Scope.SELF),
    "POST api/v1/courses/{course}/sessions/preview": of_instructors(Scope.SELF),
    "GET api/v1/courses/{course}/sessions/{session}": of_members(),
    "PATCH api/v1/courses/{course}/sessions/{session}": of_instructors(Scope.SELF),
    "POST api/v1/courses/{course}/sessions/{session}/preview": of_instructors(Scope.SELF),
    "POST api/v1/courses/{course}/sessions/{session}/cancel": of_instructors(Scope.SELF),
    "POST api/v1/courses/{course}/sessions/{session}/extend": of_instructors(Scope.SELF),
    "GET calendar": of_all(Scope.SELF_READ),
    "POST calendar/feed": of_all(Scope.SELF, person=True),
    "POST calendar/feed/withdraw": of_all(Scope.SELF, person=True),
    "GET calendar/feeds/{token}": ANYONE,
    # Classes as they sit
    "GET api/v1/courses/{course}/report": of_staff(),
    "GET api/v1/courses/{course}/report/export": of_staff(),
    "GET api/v1/courses/{course}/sessions/{session}/board": of_staff(),
    "GET api/v1/courses/{course}/sessions/{session}/board/events": of_staff(endless=True),
    "GET api/v1/courses/{course}/sessions/{session}/collections": of_staff(),
    "POST api/v1/courses/{course}/sessions/{session}/collections": of_staff(Scope.SELF),
    "GET api/v1/courses/{course}/sessions/{session}/collections/export": of_staff(),
    "GET api/v1/courses/{course}/sessions/{session}/collections/{collected}": of_staff(),
    "POST api/v1/courses/{course}/sessions/{session}/guests": of_staff(Scope.SELF),
    "DELETE api/v1/courses/{course}/sessions/{session}/guests/{user}": of_staff(Scope.SELF),
    "GET api/v1/courses/{course}/sessions/{session}/messages": of_staff(),
    "POST api/v1/courses/{course}/sessions/{session}/messages": of_staff(Scope.SELF),
    "GET api/v1/courses/{course}/sessions/{session}/pushes": of_staff(),
    "POST api/v1/courses/{course}/sessions/{session}/pushes": of_staff(Scope.SELF),
    "GET api/v1/courses/{course}/sessions/{session}/report": of_staff(),
    "GET api/v1/courses/{course}/sessions/{session}/report/export": of_staff(),
    "POST api/v1/courses/{course}/sessions/{session}/seats/actions": of_staff(Scope.SELF),
    "GET api/v1/courses/{course}/sessions/{session}/seats/{user}": of_staff(),
    "POST api/v1/courses/{course}/sessions/{session}/seats/{user}/actions": of_staff(Scope.SELF),
    "POST api/v1/courses/{course}/sessions/{session}/seats/{user}/visit": of_staff(Scope.SELF),
    "GET courses/{course}/report": of_staff(),
    "GET courses/{course}/sessions/{session}/board": of_staff(),
    "POST courses/{course}/sessions/{session}/board/ask": of_staff(Scope.SELF),
    "GET courses/{course}/sessions/{session}/board/collect": of_staff(),
    "POST courses/{course}/sessions/{session}/board/collect": of_staff(Scope.SELF),
    "GET courses/{course}/sessions/{session}/board/do": of_staff(),
    "POST courses/{course}/sessions/{session}/board/do": of_staff(Scope.SELF),
    "GET courses/{course}/sessions/{session}/board/end": of_instructors(),
    "POST courses/{course}/sessions/{session}/board/end": of_instructors(Scope.SELF),
    "GET courses/{course}/sessions/{session}/board/files": of_staff(),
    "POST courses/{course}/sessions/{session}/board/files": of_staff(Scope.SELF),
    "GET courses/{course}/sessions/{session}/board/files/now": of_staff(),
    "GET courses/{course}/sessions/{session}/board/guest": of_staff(),
    "POST courses/{course}/sessions/{session}/board/guest": of_staff(Scope.SELF),
    "POST courses/{course}/sessions/{session}/board/hand": of_staff(Scope.SELF),
    "GET courses/{course}/sessions/{session}/board/live": of_staff(endless=True),
    "GET courses/{course}/sessions/{session}/board/message": of_staff(),
    "POST courses/{course}/sessions/{session}/board/message": of_staff(Scope.SELF),
    "GET courses/{course}/sessions/{session}/board/seats/{user}": of_staff(),
    "GET courses/{course}/sessions/{session}/board/seats/{user}/now": of_staff(),
    "POST courses/{course}/sessions/{session}/board/visit": of_staff(Scope.SELF),
    "GET courses/{course}/sessions/{session}/report": of_staff(),
    "GET courses/{course}/sessions": of_members(),
    "GET courses/{course}/sessions/new": of_instructors(),
    "POST courses/{course}/sessions/check": of_instructors(Scope.SELF),
    "POST courses/{course}/sessions": of_instructors(Scope.SELF),
    "GET courses/{course}/sessions/{session}": of_members(),
    "GET courses/{course}/sessions/{session}/change": of_instructors(),
    "POST courses/{course}/sessions/{session}/check": of_instructors(Scope.SELF),
    "POST courses/{course}/sessions/{session}/change": of_instructors(Scope.SELF),
    "POST courses/{course}/sessions/{session}/longer": of_instructors(Scope.SELF),
    "GET courses/{course}/sessions/{session}/cancel": of_instructors(),
    "POST courses/{course}/sessions/{session}/cancel": of_instructors(Scope.SELF),
    # Homes
    "GET api/v1/homes": of_all(Scope.READ),
    "GET api/v1/homes/summary": of_all(Scope.READ),
    "GET api/v1/homes/{volume}": of_all(Scope.READ),
    "POST api/v1/homes/{volume}/archive": of_all(Scope.HOMES),
    "POST api/v1/homes/{volume}/cancel": of_all(Scope.HOMES),
    "POST api/v1/homes/{volume}/delete": of_all(Scope.HOMES),
    "POST api/v1/homes/{volume}/restore": of_all(Scope.HOMES),
    # Courses
    "GET api/v1/courses": of_all(Scope.SELF_READ),
    "POST api/v1/courses": of_all(Scope.TEACH),
    "GET api/v1/courses/{course}": of_members(),
    "PATCH api/v1/courses/{course}": of_instructors(Scope.SELF),
    "PUT api/v1/courses/{course}/limits": of_course_admins(Scope.SELF),
    "POST api/v1/courses/{course}/archive": of_instructors(Scope.SELF),
    "POST api/v1/courses/{course}/restore": of_instructors(Scope.SELF),
    "GET api/v1/courses/{course}/members": of_staff(),
    "GET api/v1/courses/{course}/members/export": of_staff(),
    "POST api/v1/courses/{course}/agree": of_members(Scope.SELF),
    "POST api/v1/courses/{course}/members": of_instructors(Scope.SELF),
    "POST api/v1/courses/{course}/members/preview": of_instructors(Scope.SELF),
    "POST api/v1/courses/{course}/members/follow-group": of_instructors(Scope.SELF),
    "PUT api/v1/courses/{course}/members/{user}": of_instructors(Scope.SELF),
    "DELETE api/v1/courses/{course}/members/{user}": of_instructors(Scope.SELF),
    "GET api/v1/courses/{course}/links": of_instructors(),
    "POST api/v1/courses/{course}/links": of_instructors(Scope.SELF),
    "DELETE api/v1/courses/{course}/links/{link}": of_instructors(Scope.SELF),
    "GET api/v1/join/{token}": of_all(Scope.SELF_READ, person=True),
    "POST api/v1/join/{token}": of_all(Scope.SELF, person=True),
    # GPUs
    "GET api/v1/gpus": of_all(Scope.READ),
    "GET api/v1/gpus/events": of_all(Scope.READ, endless=True),
    "GET api/v1/gpus/{gpu}": of_all(Scope.READ),
    "GET api/v1/gpus/{gpu}/series": of_all(Scope.READ),
    "PUT api/v1/gpus/{gpu}/state": of_all(Scope.GPUS),
    "POST api/v1/gpus/state-changes": of_all(Scope.GPUS),
    # Pages
    "GET gpus": of_all(Scope.READ),
    "GET gpus/live": of_all(Scope.READ, endless=True),
    "GET gpus/change": of_all(Scope.GPUS),
    "POST gpus/change": of_all(Scope.GPUS),
    "GET gpus/{gpu}": of_all(Scope.READ),
    "GET gpus/{gpu}/now": of_all(Scope.READ),
    "GET gpus/{gpu}/change": of_all(Scope.GPUS),
    "POST gpus/{gpu}/change": of_all(Scope.GPUS),
    "GET ": of_all(Scope.SELF_READ),
    "GET mine/now": of_all(Scope.SELF_READ),
    "GET mine/leases": of_all(Scope.SELF_READ),
    "GET people/{name}": of_owner(Scope.SELF_READ, Scope.READ),
    "GET people/{name}/now": of_owner(Scope.SELF_READ, Scope.READ),
    "GET people/{name}/leases": of_owner(Scope.SELF_READ, Scope.READ),
    "GET mine/servers/{server}/start": of_all(Scope.SELF),
    "POST mine/servers/{server}/start": of_all(Scope.SELF),
    "GET mine/servers/{server}/stop": of_all(Scope.SELF),
    "POST mine/servers/{server}/stop": of_all(Scope.SELF),
    "GET mine/servers/{server}/restart": of_all(Scope.SELF),
    "POST mine/servers/{server}/restart": of_all(Scope.SELF),
    "GET mine/leases/{lease_id}/extend": of_owner(Scope.SELF, NOBODY),
    "POST mine/leases/{lease_id}/extend": of_owner(Scope.SELF, NOBODY),
    "GET mine/leases/{lease_id}/release": of_owner(Scope.SELF, NOBODY),
    "POST mine/leases/{lease_id}/release": of_owner(Scope.SELF, NOBODY),
    "GET mine/queue/{ticket_id}/leave": of_owner(Scope.SELF, NOBODY),
    "POST mine/queue/{ticket_id}/leave": of_owner(Scope.SELF, NOBODY),
    "GET free": of_all(Scope.SELF_READ),
    "GET quotas": of_all(Scope.READ),
    "GET quotas/why": of_all(Scope.READ),
    "GET quotas/edit": of_all(Scope.QUOTAS),
    "POST quotas/preview": of_all(Scope.QUOTAS),
    "POST quotas/save": of_all(Scope.QUOTAS),
    "GET quotas/import": of_all(Scope.QUOTAS),
    "POST quotas/import/preview": of_all(Scope.QUOTAS),
    "POST quotas/import/save": of_all(Scope.QUOTAS),
    "GET leases": of_all(Scope.READ),
    "GET leases/queue": of_all(Scope.READ),
    "GET leases/queue/{ticket_id}/up": of_all(Scope.GPUS),
    "POST leases/queue/{ticket_id}/up": of_all(Scope.GPUS),
    "GET leases/queue/{ticket_id}/drop": of_all(Scope.GPUS),
    "POST leases/queue/{ticket_id}/drop": of_all(Scope.GPUS),
    "GET leases/{lease_id}": of_all(Scope.READ),
    "GET leases/{lease_id}/end": of_all(Scope.GPUS),
    "POST leases/{lease_id}/end": of_all(Scope.GPUS),
    "GET leases/{lease_id}/extend": of_all(Scope.GPUS),
    "POST leases/{lease_id}/extend": of_all(Scope.GPUS),
    "GET usage": of_all(Scope.READ),
    "GET usage/waste": of_all(Scope.READ),
    "GET usage/week": of_all(Scope.READ),
    "GET audit": of_all(Scope.READ),
    "GET homes": of_all(Scope.READ),
    "GET homes/{volume}": of_all(Scope.READ),
    "GET homes/{volume}/now": of_all(Scope.READ),
    "GET homes/{volume}/{verb}": of_all(Scope.HOMES),
    "POST homes/{volume}/{verb}": of_all(Scope.HOMES),
    "GET courses": of_all(Scope.SELF_READ),
    "GET courses/new": of_all(Scope.TEACH),
    "POST courses/new": of_all(Scope.TEACH),
    "GET courses/new/hints": of_all(Scope.SELF_READ),
    "GET courses/{course}": of_members(),
    "GET courses/{course}/edit": of_instructors(),
    "POST courses/{course}/edit": of_instructors(Scope.SELF),
    "GET courses/{course}/limits": of_course_admins(),
    "POST courses/{course}/limits": of_course_admins(Scope.SELF),
    "GET courses/{course}/archive": of_instructors(),
    "POST courses/{course}/archive": of_instructors(Scope.SELF),
    "GET courses/{course}/restore": of_instructors(),
    "POST courses/{course}/restore": of_instructors(Scope.SELF),
    "GET courses/{course}/roster": of_staff(),
    "POST courses/{course}/roster/preview": of_instructors(Scope.SELF),
    "POST courses/{course}/roster/save": of_instructors(Scope.SELF),
    "POST courses/{course}/roster/role": of_instructors(Scope.SELF),
    "POST courses/{course}/roster/remove": of_instructors(Scope.SELF),
    "POST courses/{course}/roster/group": of_instructors(Scope.SELF),
    "GET courses/{course}/links": of_instructors(),
    "POST courses/{course}/links": of_instructors(Scope.SELF),
    "GET courses/{course}/links/{link}/revoke": of_instructors(),
    "POST courses/{course}/links/{link}/revoke": of_instructors(Scope.SELF),
    "POST courses/{course}/agree": of_members(Scope.SELF),
    "GET join/{token}": of_all(Scope.SELF_READ, person=True),
    "POST join/{token}": of_all(Scope.SELF, person=True),
    "GET language/{code}": ANYONE,
    "GET logout": ANYONE,
    "GET oauth_callback": ANYONE,
}


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody who calls.

    Attributes
    ----------
    held
        Scopes of the token; None for nobody's.
    course
        What they are in the course of `console_world`.
    """

    title: str
    name: str
    held: tuple[str, ...] | None
    kind: str = "user"
    course: int = 0

    @property
    def scopes(self) -> frozenset[str]:
        return implied(frozenset(self.held or ()))

    def may(self, access: Access, *, own: bool) -> bool:
        """Tell whether this role is to be let in."""
        if access.anyone:
            return True
        if self.held is None or (access.person and self.kind != "user"):
            return False
        if self.course < access.course:
            return False
        needed = access.own if own or not access.owned else access.others
        return needed is None or needed in self.scopes


ROLES = [
    Role("nobody", "", None),
    Role("a token that may nothing", ANN, (), course=MEMBER),
    Role("a token that may read its owner's", ANN, (Scope.SELF_READ,), course=MEMBER),
    Role("a user", ANN, OF_PEOPLE, course=MEMBER),
    Role("an assistant", "tara", OF_PEOPLE, course=ASSISTANT),
    Role("an instructor", "ines", (*OF_PEOPLE, Scope.TEACH), course=INSTRUCTOR),
    Role("another course's instructor", "ida", (*OF_PEOPLE, Scope.TEACH)),
    Role("who reads all", "rita", (Scope.READ,)),
    Role("who sets quotas", "quentin", (Scope.QUOTAS,)),
    Role("who operates GPUs", "greta", (Scope.GPUS,)),
    Role("who keeps homes", "hugo", (Scope.HOMES,)),
    Role("a hub's admin", "olga", tuple(OF_HUB_ADMINS), course=ADMIN),
    Role("a service that may nothing", "cron", (), "service"),
    Role("a service that reads all", "cron", (Scope.READ,), "service"),
    Role("a service that may all", "cron", tuple(Scope), "service", course=ADMIN),
]
