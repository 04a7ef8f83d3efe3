-- TRIALS: try again what is parked because a host or storage was away: one VM of each such place at a time, and all of them
-- once it is back (docs/adr/0053).
--
-- KEYS  1 away (of one queue): place -> time (ms) of its next trial; once a trial has found it back, minus the time of that
-- ARGV  1 prefix   2 queue   3 pause ms until the next trial   4 at most so many VMs of a place at once
-- Answers as WAKEUP does.

local prefix, queue, pause, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = clock()
local answer = {}

-- Wake a worker for a VM, if it is parked for that place still. `alone`: what comes of it tells of the place.
local function try(uuid, place, alone)
  local vm = prefix .. 'vm:' .. uuid
  local known = redis.call('HMGET', vm, 'parked', 'away')
  local head = known[1] and known[2] == place and head_of(prefix, uuid)
  if not head or head.queue ~= queue then return false end
  redis.call('HDEL', vm, 'parked', 'away', 'attempts', 'deaths')
  redis.call('HSET', vm, 'queue', queue, 'trial', known[1] .. (alone and ' alone ' or ' all ') .. place)
  if wake(prefix, uuid, head, 1) then
    for _, one in ipairs({uuid, 1, fields_of(head)}) do answer[#answer + 1] = one end
  end
  return true
end

-- No trial is so much later: the clock was set back.
for _, place in ipairs(redis.call('ZRANGE', KEYS[1], now + pause + 1, '+inf', 'BYSCORE', 'LIMIT', 0, most)) do
  redis.call('ZADD', KEYS[1], now + pause, place)
end
for _, place in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, most)) do
  local vms = prefix .. 'away_vms:' .. queue .. ' ' .. place
  local due = tonumber(redis.call('ZSCORE', KEYS[1], place))
  local back = due < 0 and -due
  -- Those that were parked again since then wait for the next trial: that place is not the only one they need.
  local found = redis.call('ZRANGE', vms, '-inf', back or '+inf', 'BYSCORE', 'LIMIT', 0, most)
  for _, uuid in ipairs(found) do
    redis.call('ZREM', vms, uuid)
    if try(uuid, place, not back) and not back then break end
  end
  if redis.call('EXISTS', vms) == 0 then
    redis.call('ZREM', KEYS[1], place)
  elseif not back or #found < most then
    redis.call('ZADD', KEYS[1], now + pause, place)
  end
end
return answer
