-- DONE: end an attempt. Fenced: only the newest epoch may.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 outcomes   6 parked
-- ARGV  1 prefix   2 vm uuid   3 epoch   4 event id   5 "finish" | "gone" (finish, and the VM is no more) | "retry" | "park"
--       6 outcome JSON   7 state ("": as it was)   8 delay ms ("retry")   9 seen seconds   10 outcomes kept
--       11 tombstone seconds   12 ms after which a host that was away is asked   13 code ("retry": the reason, "park": what
--       it is parked for)   14... hosts that still have something of the VM
-- Answers "ended", or "fenced" when a newer epoch exists. Asked again (a reply was lost) nothing is written twice.

local function destroy_waits()  -- behind the head
  for _, header in ipairs(redis.call('LRANGE', KEYS[2], 1, -1)) do
    if string.find(header, '"type":"destroy"', 1, true) then return true end
  end
  return false
end

local prefix, uuid, how = ARGV[1], ARGV[2], ARGV[5]
local now = clock()
local nonce, known = string.match(redis.call('GET', KEYS[4]) or '', '^(%S*) ?(.*)$')
local repeated = ARGV[6] ~= '' and known == ARGV[6]
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[3] then return repeated and 'ended' or 'fenced' end

if not repeated then
  local queue, head = redis.call('HGET', KEYS[1], 'queue'), read(redis.call('LINDEX', KEYS[2], 0))
  if head.id ~= ARGV[4] then return 'fenced' end
  redis.call('HDEL', KEYS[1], 'owner', 'until')
  local due = prefix .. 'due:' .. (queue or head.queue)
  redis.call('ZREM', due, uuid)
  if how == 'retry' then
    redis.call('HSET', KEYS[1], 'reason', ARGV[13], 'retry_at', now + ARGV[8])
    redis.call('ZADD', due, now + ARGV[8], uuid)
    return 'ended'
  end
  redis.call('HDEL', KEYS[1], 'attempts', 'deaths', 'reason')
  if how == 'park' and destroy_waits() then
    -- It came while the event was worked on, and goes through: the next claim finds the event superseded.
    wake(prefix, uuid, head, 1)
    return 'ended'
  end
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[10], '*', 'event', ARGV[4], 'outcome', ARGV[6])
  if how == 'park' then
    redis.call('HSET', KEYS[1], 'parked', ARGV[13])
    redis.call('ZADD', KEYS[6], now, uuid)
    redis.call('SET', KEYS[4], nonce .. ' ' .. ARGV[6])
    return 'ended'
  end
  if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[7]) end
  if how == 'gone' then redis.call('HSET', KEYS[1], 'gone', 1) end
  for index = 14, #ARGV do
    redis.call('ZADD', prefix .. 'left:' .. (queue or head.queue), 'NX', now + ARGV[12], uuid .. ' ' .. ARGV[index])
  end
  redis.call('LPOP', KEYS[2])
  redis.call('HDEL', KEYS[3], ARGV[4])
  redis.call('SET', KEYS[4], nonce .. ' ' .. ARGV[6], 'EX', ARGV[9])
elseif how == 'park' then
  return 'ended'
end

local head = head_of(prefix, uuid)
if head then
  redis.call('HSET', KEYS[1], 'queue', head.queue)
  wake(prefix, uuid, head, 1)
else
  local kept = redis.call('HMGET', KEYS[1], 'state', 'gone')
  if kept[2] or not kept[1] then redis.call('EXPIRE', KEYS[1], ARGV[11]) end
end
return 'ended'
