"""Redis URLs: what is taken, what is refused, and that no login is shown."""

import pytest
from kombu.utils.url import parse_url
from pydantic import SecretStr, ValidationError

from configdrive.client.redis_url import Endpoint
from workers.config.settings import Settings
from workers.queueing.app import broker_url, make_app

SENTINEL = "redis+sentinel://worker:p%40ss:w%2Frd@one:26379,two.example,[::1]:26380/my-master/3"


def read(url: str) -> Endpoint:
    endpoint = Endpoint.read(url)
    assert endpoint is not None
    return endpoint


def test_url_of_a_sentinel_is_taken_apart() -> None:
    endpoint = read(SENTINEL)
    assert endpoint.nodes == (("one", 26379), ("two.example", 26379), ("::1", 26380))
    assert (endpoint.master, endpoint.database, endpoint.tls) == ("my-master", 3, False)
    assert (endpoint.user, endpoint.password) == ("worker", "p@ss:w/rd")
    assert read("rediss+sentinel://one/m").tls
    assert read("redis+sentinel://one:1/m/").nodes == (("one", 1),)


def test_kombu_reads_what_it_is_given() -> None:
    urls = broker_url(Settings(redis_url=SecretStr(SENTINEL))).split(";")
    assert [(parse_url(url)["hostname"], parse_url(url)["port"]) for url in urls] == list(read(SENTINEL).nodes)
    assert {(parse_url(url)["userid"], parse_url(url)["password"]) for url in urls} == {("worker", "p@ss:w/rd")}
    assert {(parse_url(url)["transport"], parse_url(url)["virtual_host"]) for url in urls} == {("sentinel", "3")}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:secret@redis.example:6380/1", "redis.example:6380"),
        ("rediss://redis.example", "redis.example:6379"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
        (SENTINEL, "my-master behind Sentinel one:26379,two.example,[::1]:26380"),
    ],
)
def test_address_is_fit_for_messages(url: str, address: str) -> None:
    assert read(url).address == address
    assert "secret" not in repr(read(url))
    assert "ss:w" not in repr(read(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://redis",
        "redis://redis:0",
        "redis://redis:port",
        "redis+sentinel://one:26379",
        "redis+sentinel://one:26379/",
        "redis+sentinel://one:0/m",
        "redis+sentinel://one:70000/m",
        "redis+sentinel://one:26379,/m",
        "redis+sentinel://one:26379/m/x",
        "redis+sentinel://user:a@b@one/m",
        "sentinel://one/m",
    ],
)
def test_other_urls_are_refused_without_being_shown(url: str) -> None:
    assert Endpoint.read(url) is None
    with pytest.raises(ValidationError) as refused:
        Settings(redis_url=SecretStr(url))
    assert url not in str(refused.value)
    assert "redis+sentinel://" in str(refused.value)  # what would be right


def test_tls_is_verified_and_needs_both_files() -> None:
    settings = Settings(redis_url=SecretStr("rediss://redis"))
    options = make_app(settings).conf.broker_use_ssl
    assert (options["ssl_cert_reqs"], options["ssl_check_hostname"]) == ("required", True)
    with pytest.raises(ValidationError, match="redis_certificate_key"):
        Settings.model_validate({"redis_certificate": "client.pem"})
    assert make_app(Settings()).conf.broker_use_ssl is None
