"""All that lies on Redis behind a prefix, read as it is and not through the store that wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

_OF_A_VM = ("vm", "mail", "body")


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


_READ = """
local commands = {
  hash = {'HGETALL'}, list = {'LRANGE', 0, -1}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'},
  set = {'SMEMBERS'}, stream = {'XRANGE', '-', '+'}, string = {'GET'},
}
local names, found = redis.call('KEYS', ARGV[1] .. '*'), {}
table.sort(names)
for _, name in ipairs(names) do
  local kind = redis.call('TYPE', name).ok
  local command = commands[kind]
  local value = redis.call(command[1], name, unpack(command, 2))
  found[#found + 1] = {name, kind, redis.call('TTL', name), value}
end
return found
"""


def read(client: redis.Redis, prefix: str) -> Keyspace:
    """Read everything behind a prefix, as it is at one moment."""
    space = Keyspace()
    answer: Any = client.eval(_READ, 0, prefix)
    for name, kind, ttl, value in answer:
        key = name.decode().removeprefix(prefix)
        space.types[key], space.ttls[key] = kind.decode(), ttl
        space.values[key] = _of_kind(space.types[key], _text(value))
    return space


def _of_kind(kind: str, value: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
    match kind:
        case "hash":
            return dict(zip(value[::2], value[1::2], strict=True))
        case "zset":
            return [[member, float(score)] for member, score in zip(value[::2], value[1::2], strict=True)]
        case "stream":
            return [[mark, dict(zip(fields[::2], fields[1::2], strict=True))] for mark, fields in value]
        case _:
            return value


def _text(value: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
    match value:
        case bytes():
            return value.decode("utf-8", "replace")
        case list():
            return [_text(part) for part in value]
        case _:
            return value
