"""The messages of the classes session, task and host."""

from rigs.xapi.errors import XapiError
from rigs.xapi.methods import Call, message
from rigs.xapi.world import World


@message("session.login_with_password", with_session=False)
def login_with_password(call: Call, uname: str, pwd: str, version: str = "", originator: str = "") -> str:
    """Open a session, on the master only."""
    del version, originator
    if (uname, pwd) != (call.world.user, call.world.password):
        raise XapiError("SESSION_AUTHENTICATION_FAILED", uname, "System error")
    return call.db.add("session", this_host=call.host.reference)


@message("session.slave_local_login_with_password", with_session=False)
def slave_local_login_with_password(call: Call, uname: str, pwd: str) -> str:
    """Open a session that is good for emergencies on one host; here for nothing."""
    del uname, pwd
    return f"OpaqueRef:local-{call.host.uuid}"


@message("session.logout")
def logout(call: Call) -> None:
    """Close the caller's session."""
    call.db.remove("session", call.session)


@message("task.create")
def task_create(call: Call, label: str, description: str) -> str:
    """Make a task for an HTTP handler to tell its progress and result in."""
    return call.db.add("task", name_label=label, name_description=description)


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


def end_task(world: World, task: str, *, result: str = "", error: list[str] | None = None) -> None:
    """Write a task's end: its result, or the error; a task that is gone is left alone."""
    if not world.db.has("task", task):
        return
    row = world.db.row("task", task)
    status = "failure" if error else "success"
    if row["status"] == "cancelling":
        status, error = "cancelled", ["TASK_CANCELLED", task]
    row.update(status=status, result=result, error_info=error or [], progress=1.0, _running=False)


@message("host.disable")
def host_disable(call: Call, host: str) -> None:
    """Let no VM start on, or move to, a host."""
    call.db.row("host", host)["enabled"] = False


@message("host.enable")
def host_enable(call: Call, host: str) -> None:
    """Let VMs start on, and move to, a host."""
    call.db.row("host", host)["enabled"] = True


def check_session(world: World, session: str) -> None:
    """See that a session is good.

    Raises:
        XapiError: `SESSION_INVALID`.
    """
    if not world.db.has("session", session):
        raise XapiError("SESSION_INVALID", session)
