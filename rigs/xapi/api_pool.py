"""The messages of the classes session, task, pool and host."""

from __future__ import annotations

import contextlib

from rigs.xapi.errors import XapiError
from rigs.xapi.methods import Call, message
from rigs.xapi.world import World, now


def new_session(world: World, host: str, originator: str = "") -> str:
    """Open a session at a host, for someone whose password was right."""
    moment = now()
    return world.db.add(
        "session",
        this_host=host,
        last_active=moment,
        validation_time=moment,
        auth_user_name=world.user,
        originator=originator,
    )


def check_password(world: World, uname: str, pwd: str) -> None:
    """Refuse a wrong name or password.

    Raises:
        XapiError: `SESSION_AUTHENTICATION_FAILED`.
    """
    if (uname, pwd) != (world.user, world.password):
        raise XapiError("SESSION_AUTHENTICATION_FAILED", uname, "System error")


@message("session.login_with_password", with_session=False)
def login_with_password(call: Call, uname: str, pwd: str, version: str = "", originator: str = "") -> str:
    """Open a session, on the master only."""
    del version
    check_password(call.world, uname, pwd)
    return new_session(call.world, call.machine.reference, originator)


@message("session.slave_local_login_with_password", with_session=False, on_slaves=True)
def slave_local_login_with_password(call: Call, uname: str, pwd: str) -> str:
    """Open a session that is good for emergencies on this host; no other message here takes it."""
    check_password(call.world, uname, pwd)
    return "OpaqueRef:local-" + call.machine.uuid


@message("session.logout")
def logout(call: Call) -> None:
    """Close the caller's session."""
    call.db.remove("session", call.session)


@message("task.create")
def task_create(call: Call, label: str, description: str) -> str:
    """Make a task for an HTTP handler to tell its progress and result in."""
    return new_task(call.world, call.machine.reference, label, description)


@message("task.destroy")
def task_destroy(call: Call, task: str) -> None:
    """Forget a task."""
    call.db.row("task", task)
    call.db.remove("task", task)


@message("task.cancel")
def task_cancel(call: Call, task: str) -> None:
    """Ask that a task ends: a running import notices it between two pieces of its body."""
    row = call.db.row("task", task)
    if row["status"] == "pending":
        row["status"] = "cancelling" if row.get("_running") else "cancelled"


def new_task(world: World, host: str, label: str, description: str = "") -> str:
    """Make a pending task."""
    return world.db.add(
        "task",
        name_label=label,
        name_description=description,
        created=now(),
        resident_on=host,
        allowed_operations=["cancel"],
    )


def end_task(world: World, task: str, *, result: str = "", error: list[str] | None = None) -> None:
    """Write a task's end: its result, or the error; a task that is gone is left alone."""
    if not world.db.has("task", task):
        return
    row = world.db.row("task", task)
    status = "failure" if error else "success"
    if row["status"] == "cancelling":
        status, error = "cancelled", ["TASK_CANCELLED", task]
    row.update(status=status, result=result, error_info=error or [], progress=1.0, finished=now())
    row.update(allowed_operations=[], _running=False)


@message("host.disable")
def host_disable(call: Call, host: str) -> None:
    """Let no VM start on, or move to, a host."""
    call.db.row("host", host)["enabled"] = False


@message("host.enable")
def host_enable(call: Call, host: str) -> None:
    """Let VMs start on, and move to, a host."""
    call.db.row("host", host)["enabled"] = True


def touch(world: World, session: str) -> None:
    """See that a session is good, and note its use.

    Raises:
        XapiError: `SESSION_INVALID`.
    """
    with contextlib.suppress(XapiError):
        world.db.row("session", session)["last_active"] = now()
        return
    raise XapiError("SESSION_INVALID", session)
