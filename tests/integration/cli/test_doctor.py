from collections.abc import Callable
from pathlib import Path

import pytest

from configdrive.client import connect
from configdrive.errors import PermanentError
from configdrive.model import HostName
from rigs.cloud import VmScript
from rigs.process import free_port
from rigs.redis import RedisServer
from tests.integration.cli.place import FLEET, PASSWORD, Place
from tests.support import wait_until
from workers.cli.errors import ExitCode


def findings(place: Place, code: ExitCode = ExitCode.DONE) -> list[dict[str, str]]:
    document = place.json("doctor", code=code)
    assert document["well"] is (code is ExitCode.DONE)
    found: list[dict[str, str]] = document["findings"]
    assert all(finding["remedy"] for finding in found if finding["level"] != "ok")
    return found


def one(found: list[dict[str, str]], words: str) -> dict[str, str]:
    (finding,) = [finding for finding in found if words in finding["detail"]]
    return finding


def test_where_all_is_well_every_part_is_named(cli_redis: RedisServer, tmp_path: Path) -> None:
    place = Place(tmp_path, cli_redis)  # of its own: others leave VMs that are parked
    with place.fleet:
        place.run("keys", "generate")
        found = findings(place)
        text = place.run("doctor").stdout

    assert {finding["level"] for finding in found} == {"ok"}
    subjects = "\n".join(f"{finding['subject']}: {finding['detail']}" for finding in found)
    for words in (
        "settings: ",
        "keys: ",
        f"redis 127.0.0.1:{place.fleet.redis.port}: answers, version ",
        "maxmemory-policy noeviction",
        "appendonly yes",
        "runs scripts that write",
        "takes from configdrive.simulated",
        "inventory: ",
        "simulated: the driver is there; hosts: h1",
        "simulated host h1, storage p1: writable",
    ):
        assert words in subjects
    assert all(line.startswith("OK    ") for line in text.splitlines())


def test_a_redis_that_would_lose_events_is_found_out_and_one_that_is_away_hides_nothing_else(
    tmp_path: Path, cli_redis: RedisServer
) -> None:
    with RedisServer(tmp_path / "redis") as server, server.client() as client:
        place = Place(tmp_path / "place", server, workers=0)
        place.run("keys", "generate")
        for setting, value, level, words in (
            ("maxmemory-policy", "allkeys-lru", "fail", "throw events away"),
            ("appendonly", "no", "warn", "lost when Redis restarts"),
            ("min-replicas-to-write", "1", "fail", "refused a command"),
        ):
            (usual,) = client.config_get(setting).values()
            client.config_set(setting, value)
            code = ExitCode.FAILED if level == "fail" else ExitCode.DONE
            assert one(findings(place, code), words)["level"] == level
            client.config_set(setting, usual)
        client.replicaof("127.0.0.1", str(cli_redis.port))
        assert one(findings(place, ExitCode.FAILED), "is a replica")["level"] == "fail"
        server.stop()
        found = findings(place, ExitCode.FAILED)
        text = place.run("doctor").stdout
        place.fleet.stop()

    assert one(found, "cannot be reached")["level"] == "fail"
    assert one(found, "writable")["level"] == "ok"
    assert f"FAIL  redis 127.0.0.1:{server.port}: " in text
    assert "      remedy: start it" in text


def test_events_that_nobody_takes_are_noticed(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    place.store(vm.event("deploy"))
    waiting = one(findings(place), "no worker that takes from it has answered")

    assert (waiting["level"], waiting["remedy"]) == ("warn", "configdrive worker --hypervisor simulated")


def test_what_waits_for_a_person_is_noticed(place: Place, vm: VmScript) -> None:
    place.parked(vm)
    parked = one(findings(place), "wait for a person")
    place.run("skip", "--yes", vm.uuid)

    assert (parked["level"], parked["remedy"]) == ("warn", "configdrive show")


def inventory(text: str) -> Callable[[Place], object]:
    return lambda place: place.fleet.settings.inventory.write_text(text)


SPOILT: dict[str, tuple[Callable[[Place], object], str, str]] = {
    "open keys": (lambda place: place.fleet.settings.keys_file.chmod(0o644), "can be read by others", "fail"),
    "damaged keys": (lambda place: place.fleet.settings.keys_file.write_text("{}"), "is not a key file", "fail"),
    "no keys": (lambda place: place.fleet.settings.keys_file.unlink(), "is not there", "warn"),
    "no inventory": (lambda place: place.fleet.settings.inventory.unlink(), "cannot be read", "fail"),
    "no TOML": (inventory("[simulated"), "is not valid TOML", "fail"),
    "empty inventory": (inventory(""), "is empty", "warn"),
    "unknown driver": (inventory("[hyper-w.hosts.a]\n"), "no driver is called", "fail"),
    "wrong table": (inventory("[simulated]\nlatency_ms = 1\n"), "directory", "fail"),
    "host down": (lambda place: place.cloud.world.set_host_up(HostName("h1"), up=False), "does not answer", "fail"),
}


@pytest.mark.parametrize(("spoil", "words", "level"), SPOILT.values(), ids=SPOILT)
def test_each_part_that_is_wrong_is_named_with_its_remedy(
    quiet_place: Callable[..., Place], spoil: Callable[[Place], object], words: str, level: str
) -> None:
    place = quiet_place()
    place.run("keys", "generate")
    spoil(place)

    assert one(findings(place, ExitCode.FAILED if level == "fail" else ExitCode.DONE), words)["level"] == level


def test_a_misspelt_variable_is_reported_with_the_nearest_setting(place: Place) -> None:
    place.environment["CONFIGDRIVE_LEASE_SECOND"] = PASSWORD
    try:
        found = one(findings(place), "CONFIGDRIVE_LEASE_SECOND is no setting")
        assert (found["level"], found["remedy"]) == ("warn", "did you mean CONFIGDRIVE_LEASE_SECONDS?")
    finally:
        del place.environment["CONFIGDRIVE_LEASE_SECOND"]


def test_a_publisher_needs_neither_key_file_nor_inventory(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    place.run("keys", "generate")
    public = place.run("keys", "public").stdout.strip()
    place.environment["CONFIGDRIVE_PUBLIC_KEY"] = public
    place.fleet.settings.keys_file.unlink()
    place.fleet.settings.inventory.unlink()
    found = findings(place)

    assert {finding["level"] for finding in found} == {"ok"}
    assert one(found, "opens nothing")


def test_the_fleets_id_is_shown_and_another_setting_is_a_failure(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    place.run("keys", "generate")
    key = f"{place.fleet.settings.key_prefix}fleet"
    before = one(findings(place), "not on Redis so far: the first worker will set it")
    with place.fleet.redis.client() as client:
        client.set(key, FLEET)
        kept = one(findings(place), FLEET)
        client.set(key, "another2")
    differs = one(findings(place, ExitCode.FAILED), "another2")

    assert before["detail"] == f"not on Redis so far: the first worker will set it to {FLEET}, as fleet_id says"
    assert kept["detail"] == f"{FLEET}, which every image's name carries: keep it beside the keys"
    assert (differs["level"], differs["subject"]) == ("fail", "fleet id")
    assert f"`redis-cli del {key}`" in differs["remedy"]


def test_a_node_of_a_redis_cluster_is_refused_by_what_it_is(tmp_path: Path, vm: VmScript) -> None:
    """By every command, as by doctor, and by the Python client."""
    with RedisServer(tmp_path / "redis", more={"cluster-enabled": "yes", "cluster-port": str(free_port())}) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
            wait_until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "it", timeout=30)
        place = Place(tmp_path / "place", server, workers=0)
        place.run("keys", "generate")
        published = place.store(vm.event("stop"))
        with connect(redis_url=server.url) as publisher, pytest.raises(PermanentError) as refused:
            publisher.publish(vm.event("stop"))
        place.fleet.stop()

    assert published.exit_code == ExitCode.MISCONFIGURED
    for said in (published.stderr, f"{refused.value.detail} {refused.value.remedy}"):
        assert "is a cluster, which no Celery broker can be" in said
        assert "use a single Redis, with Sentinel if wanted" in said
