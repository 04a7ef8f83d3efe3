-- ALONE: who is alone at something that the fleet does one at a time, in the order in which they came (`tasks.isolation`).
--
-- KEYS  1 alone: the VM whose attempt is there   2 line: VM -> its number
--       3 asked: VM -> when it asked last (ms); in the future while it works and does not ask
-- ARGV  1 "enter" | "near" (to wait before it looks at its VM) | "works" | "deferred" | "ended" (it is there no more; the
--       first two keep their place in line)   2 VM   3 ms for which one is believed to be there, or to work
--       4 ms after which who asks no more is passed by   5 ms after which it has lost its place
-- Answers how many are before the VM; 0 to "enter": it is there. To "near" those count who work.

local how, vm, lease, most, kept = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = clock()

local function forget(who)
  redis.call('ZREM', KEYS[2], who)
  redis.call('ZREM', KEYS[3], who)
end

local holder = redis.call('GET', KEYS[1])
if how ~= 'enter' and how ~= 'near' then
  if holder == vm then redis.call('DEL', KEYS[1]) end
  if how == 'ended' then
    forget(vm)
  else
    redis.call('ZADD', KEYS[3], 'XX', how == 'works' and now + lease or now - most - 1, vm)
  end
  return 0
end
if holder ~= vm then
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - kept)) do forget(gone) end
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  redis.call('ZADD', KEYS[2], 'NX', (last[2] or 0) + 1, vm)
  redis.call('ZADD', KEYS[3], now, vm)
  redis.call('PEXPIRE', KEYS[2], kept)
  redis.call('PEXPIRE', KEYS[3], kept)
  local number = tonumber(redis.call('ZSCORE', KEYS[2], vm))
  local before = holder and 1 or 0
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], now - most, how == 'near' and '+inf' or now)) do
    local its = tonumber(redis.call('ZSCORE', KEYS[2], other) or number)
    if other ~= holder and its < number then before = before + 1 end
  end
  if before > 0 or how == 'near' then return before end
end
if how == 'enter' then redis.call('SET', KEYS[1], vm, 'PX', lease) end
return 0
