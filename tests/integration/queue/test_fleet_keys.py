"""The fleet's key ids on Redis: entered by the first worker, and no other makes keys in silence."""

from pathlib import Path

import pytest

from configdrive.client.fleet_keys import read_key_ids
from configdrive.errors import PermanentCode
from tests.mailboxes import Store
from tests.support import error_of
from workers.config.keys import Key, read_keys, write_keys
from workers.store.fleet_keys import WorkerKeys


def test_the_first_worker_makes_a_key_and_says_so_once(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    require = WorkerKeys(store.client, store.prefix, path)
    require()
    require()
    (key,) = read_keys(path)
    assert read_key_ids(store.client, store.prefix) == (key.identity,)
    assert [key.identity in said for said in caplog.messages] == [True]


def test_a_second_machine_makes_none_and_after_a_loss_of_redis_the_ids_come_back(store: Store, tmp_path: Path) -> None:
    first, second = (WorkerKeys(store.client, store.prefix, tmp_path / name) for name in ("one.json", "two.json"))
    first()
    assert error_of(second).code is PermanentCode.MISCONFIGURED
    assert not (tmp_path / "two.json").exists()
    write_keys(tmp_path / "two.json", [Key.generate()], replace=False)
    assert error_of(second).code is PermanentCode.MISCONFIGURED
    store.client.delete(store.key("keys"))
    first()
    assert error_of(second).code is PermanentCode.MISCONFIGURED


def test_of_two_first_workers_at_once_the_slower_one_keeps_no_key(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, generate = WorkerKeys(store.client, store.prefix, tmp_path / "one.json"), Key.generate

    def late() -> Key:
        monkeypatch.setattr(Key, "generate", generate)
        other()
        return generate()

    monkeypatch.setattr(Key, "generate", late)
    assert error_of(WorkerKeys(store.client, store.prefix, tmp_path / "two.json")).code is PermanentCode.MISCONFIGURED
    assert not (tmp_path / "two.json").exists()
    assert read_key_ids(store.client, store.prefix) == (read_keys(tmp_path / "one.json")[0].identity,)


def test_a_key_of_the_fleet_that_the_file_lacks_is_named_once(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, lacking = tmp_path / "keys.json", Key.generate().identity
    require = WorkerKeys(store.client, store.prefix, path)
    require()
    store.client.append(store.key("keys"), f" {lacking}")
    caplog.clear()
    require()
    require()
    assert [lacking in said for said in caplog.messages] == [True]


def test_where_images_lie_no_key_is_made_until_a_person_says_that_it_is_a_new_fleet(
    store: Store, tmp_path: Path
) -> None:
    path, image = tmp_path / "keys.json", "vm.0-1.1.fp-fleet.iso on host h1"
    require = WorkerKeys(store.client, store.prefix, path, lambda: image)
    error = error_of(require)
    assert (error.code, image in error.detail) == (PermanentCode.MISCONFIGURED, True)
    assert not path.exists()
    assert read_key_ids(store.client, store.prefix) == ()
    write_keys(path, [Key.generate()], replace=False)
    require()
    assert read_key_ids(store.client, store.prefix) == (read_keys(path)[0].identity,)
