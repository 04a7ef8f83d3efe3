"""All that lies on Redis behind a prefix, read as it is and not through the store that wrote it."""

from dataclasses import dataclass, field
from typing import Any

import redis

_OF_A_VM = ("vm", "mail", "body")
_READ = """
local found = {}
for _, name in ipairs(redis.call('KEYS', ARGV[1])) do
  local how = {hash = {'HGETALL', name}, list = {'LRANGE', name, 0, -1}, set = {'SMEMBERS', name},
    zset = {'ZRANGE', name, 0, -1, 'WITHSCORES'}, stream = {'XRANGE', name, '-', '+'}, string = {'GET', name}}
  local kind = redis.call('TYPE', name).ok
  found[#found + 1] = {name, kind, redis.call('TTL', name), redis.call(unpack(how[kind]))}
end
return found
"""


@dataclass
class Keyspace:
    """All keys behind a prefix at one moment, as they lie there."""

    types: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    ttls: dict[str, int] = field(default_factory=dict)

    def named(self, kind: str) -> dict[str, Any]:
        """Return the values of all keys of a kind, by what stands behind the colon."""
        return {key.partition(":")[2]: value for key, value in self.values.items() if key.partition(":")[0] == kind}

    def vms(self) -> set[str]:
        """Return every VM that has a key."""
        return {uuid for kind in _OF_A_VM for uuid in self.named(kind)}


def read(client: redis.Redis, prefix: str) -> Keyspace:
    """Read everything behind a prefix, as it is at one moment."""
    found: Any = client.eval(_READ, 0, f"{prefix}*")
    keys = [(name.decode().removeprefix(prefix), kind.decode(), ttl, value) for name, kind, ttl, value in sorted(found)]
    return Keyspace(
        types={key: kind for key, kind, _, _ in keys},
        values={key: _value(kind, value) for key, kind, _, value in keys},
        ttls={key: ttl for key, _, ttl, _ in keys},
    )


def _value(kind: str, answer: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
    text = _text(answer)
    match kind:
        case "hash":
            return _pairs(text)
        case "zset":
            return [[member, float(score)] for member, score in _pairs(text).items()]
        case "stream":
            return [[position, _pairs(fields)] for position, fields in text]
        case _:
            return text


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _text(value: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
    match value:
        case bytes():
            return value.decode("utf-8", "replace")
        case list():
            return [_text(part) for part in value]
        case _:
            return value
