-- ALONE: who is alone at something that the fleet does one at a time, in the order in which they came (`tasks.isolation`).
--
-- KEYS  1 alone: the owner of the attempt that is there   2 line: owner -> its number, a sorted set
--       3 seen: owner -> when it asked last (ms)
-- ARGV  1 "enter" | "leave"   2 owner   3 ms of the lease   4 ms after which who asks no more is in line no more
-- Answers how many are before the owner; 0: it is there.

local how, owner, lease, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = clock()

local function forget(who)
  redis.call('ZREM', KEYS[2], who)
  redis.call('HDEL', KEYS[3], who)
end

local holder = redis.call('GET', KEYS[1])
if how == 'leave' then
  if holder == owner then redis.call('DEL', KEYS[1]) end
  forget(owner)
  return 0
end
if holder ~= owner then
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  redis.call('ZADD', KEYS[2], 'NX', (last[2] or 0) + 1, owner)
  redis.call('HSET', KEYS[3], owner, now)
  redis.call('PEXPIRE', KEYS[2], lease)
  redis.call('PEXPIRE', KEYS[3], lease)
  local before = 0
  for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if other == owner then break end
    local seen = tonumber(redis.call('HGET', KEYS[3], other) or 0)
    if seen <= now and now - seen <= most then before = before + 1 else forget(other) end
  end
  if holder then return before + 1 end
  if before > 0 then return before end
  forget(owner)
end
redis.call('SET', KEYS[1], owner, 'PX', lease)
return 0
