import json
from collections.abc import Callable

from rigs.cloud import VmScript
from tests.integration.cli.place import Place
from workers.store.scripts import FunctionLibrary


def test_what_is_shown_is_what_is_loaded_also_a_second_time_and_knows_the_settings(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place(key_prefix="fleet7:", hypervisors=["simulated"], zones=["berlin-1"])
    library = FunctionLibrary.of(place.fleet.settings)
    shown = place.run("functions", "show").stdout
    assert shown == library.code
    assert place.json("functions", "load") == {
        "library": "fleet7_v1",
        "put": "fleet7_put_v1",
        "hypervisors": ["simulated"],
    }
    assert place.run("functions", "load").stdout == "loaded fleet7_v1: FCALL fleet7_put_v1 0 <event JSON>\n"
    with place.fleet.redis.client(decode_responses=True) as client:
        (found,) = client.function_list("fleet7_v1", withcode=True)
        assert shown in found
        event = {**vm.event("stop", zone="berlin-1"), "time": "2026-03-10T12:33:00Z"}
        assert client.fcall("fleet7_put_v1", 0, json.dumps(event)) == ["accepted"]
        client.function_delete("fleet7_v1")
    assert place.fleet.mailbox.pending() == {"configdrive.simulated.berlin-1": 1}
