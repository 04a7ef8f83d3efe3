-- DONE: end an attempt. Fenced: only the owner of the newest epoch may.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 outcomes   6 parked
-- ARGV  1 prefix   2 vm uuid   3 epoch and 4 owner of the claim   5 event key
--       6 "finish" | "gone" (finish, and the VM is no more) | "retry" | "defer" (a retry, and this was no attempt) | "park"
--         | "stay" (parked as before, after a trial that has found nothing new)
--       7 outcome JSON   8 state ("": as it was)
--       9 delay ms ("retry")   10 seen seconds   11 outcomes kept   12 tombstone seconds
--       13 ms after which a host that was away is asked   14 code ("retry": the reason, "park": what it is parked for,
--       "finish": of the outcome)
--       15 number of intents that are no more   16... these intents, and then hosts that still have something of the VM,
--       each behind the queue whose workers ask it again; "park": the place that was away ("": it is parked for another cause)
-- Answers "ended", or "fenced" when the VM is another's by now. Asked again (a reply was lost) nothing is written twice.
local prefix, uuid, how = ARGV[1], ARGV[2], ARGV[6]
local now = clock()
local nonce, _, known = seen_of(KEYS[4])
local repeated = redis.call('HGET', KEYS[1], 'ended') == ARGV[4] or ARGV[7] ~= '' and known == ARGV[7]
if not is_theirs(KEYS[1], ARGV[3], ARGV[4]) then return repeated and 'ended' or 'fenced' end

local queue, head = redis.call('HGET', KEYS[1], 'queue'), read(redis.call('LINDEX', KEYS[2], 0))
if not is_header(head, uuid) or head.key ~= ARGV[5] then return 'fenced' end
give_back(KEYS[1], ARGV[4])
-- A trial (TRIALS): who was tried alone, and was not parked for a place that is away, has found it back; who was dropped has
-- not been there.
local DROPPED = {superseded = true, stale_sequence = true, vm_gone = true}
local tried_code, tried, tried_place = string.match(redis.call('HGET', KEYS[1], 'trial') or '', '^(%S+) (%S+) (.*)$')
local away = how == 'park' and ARGV[16] or how == 'stay' and tried_place or ''
local waits_for = prefix .. 'away:' .. (queue or head.queue)
local function wait_for(place)
  redis.call('HSET', KEYS[1], 'away', place)
  redis.call('ZADD', waits_for, 'NX', now + ARGV[13], place)
  redis.call('ZADD', prefix .. 'away_vms:' .. (queue or head.queue) .. ' ' .. place, now, uuid)
end
if tried_code then
  redis.call('HDEL', KEYS[1], 'trial')
  if away == '' and tried == 'alone' and not DROPPED[ARGV[14]] then redis.call('ZADD', waits_for, 'XX', -now, tried_place) end
  if how ~= 'stay' then
    redis.call('ZREM', KEYS[6], uuid)
    redis.call('SET', KEYS[4], seen_as(nonce, head, ''))
  end
end
local due = prefix .. 'due:' .. (queue or head.queue)
redis.call('ZREM', due, uuid)
if how == 'defer' then
  redis.call('HINCRBY', KEYS[1], 'attempts', -1)
  how = 'retry'
end
if how == 'retry' or how == 'park' or how == 'stay' then
  -- What supersedes it has come meanwhile: the next claim drops the event, at once. Only once: an event that cannot be
  -- dropped either gets its back-off, and is parked.
  if redis.call('HGET', KEYS[1], 'superseded') ~= head.key and successor_of(KEYS[2], head, 1) then
    redis.call('HDEL', KEYS[1], 'deaths', 'reason')
    redis.call('HSET', KEYS[1], 'superseded', head.key)
    redis.call('ZREM', KEYS[6], uuid)
    wake(prefix, uuid, head, redis.call('HINCRBY', KEYS[1], 'attempts', 0) + 1)
    return 'ended'
  end
end
if how == 'retry' then
  redis.call('HSET', KEYS[1], 'reason', ARGV[14], 'retry_at', now + ARGV[9], 'delay', ARGV[9])
  redis.call('ZADD', due, now + ARGV[9], uuid)
  return 'ended'
end
redis.call('HDEL', KEYS[1], 'attempts', 'deaths', 'reason', 'superseded')
if how == 'stay' then
  redis.call('HSET', KEYS[1], 'parked', tried_code)
  wait_for(tried_place)
  return 'ended'
end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[11], '*', 'event', ARGV[5], 'outcome', ARGV[7])
if how == 'park' then
  redis.call('HSET', KEYS[1], 'parked', ARGV[14])
  if away ~= '' then wait_for(away) else redis.call('HDEL', KEYS[1], 'away') end
  redis.call('ZADD', KEYS[6], now, uuid)
  redis.call('SET', KEYS[4], seen_as(nonce, head, ARGV[7]))
  return 'ended'
end
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[8]) end
if how == 'gone' then redis.call('HSET', KEYS[1], 'gone', 1) end
if ARGV[14] == 'superseded' then  -- an attempt at it may have begun, and nobody looks any more at what that did
  redis.call('ZADD', prefix .. 'verify:' .. (queue or head.queue), now + ARGV[13], uuid)
end
local past = 16 + ARGV[15]
looked_at(prefix, uuid, ARGV, 16, past - 1)
for index = past, #ARGV, 2 do
  redis.call('ZADD', prefix .. 'left:' .. ARGV[index], 'NX', now + ARGV[13], uuid .. ' ' .. ARGV[index + 1])
end
taken_out(KEYS[1], KEYS[2], KEYS[3], redis.call('LPOP', KEYS[2]), ARGV[5])
redis.call('SET', KEYS[4], seen_as(nonce, head, ARGV[7]), 'EX', ARGV[10])

wake_next(prefix, KEYS[1], uuid, ARGV[12])
return 'ended'
