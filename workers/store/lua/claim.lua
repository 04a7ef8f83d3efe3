-- CLAIM: take the lease on a VM for the event at the head of its mailbox, whatever event the message names.
--
-- KEYS  1 vm   2 mail   3 body
-- ARGV  1 prefix   2 vm uuid   3 queue and 4 number of the message (0: there was none)   5 owner (different for every claim)
--       6 lease ms
-- Answers {"claimed", epoch, attempt, deaths (workers that never gave the lease back), ms since the head was posted, ms since
-- its first attempt ("begun"; a retry by an operator and a trial begin anew, as "attempts" does), body, state, {intents},
-- {places of the hypervisor that hang}, the code that it was parked for ("": this is no trial), key, id, source, type, queue,
-- sequence and traceparent of the head, headers behind it ...}, or one word: "empty", "parked", "busy" (a live lease),
-- "too_early" (a back-off is not over: the message was a double), "elsewhere" (the next event is for another queue, whose
-- workers are woken).
-- Asked again by the same owner (a reply was lost) it answers as before.

local LOOK_AHEAD = 255  -- enough for whoever looks at them; what supersedes the head is handed in any case

local prefix, uuid, queue = ARGV[1], ARGV[2], ARGV[3]
local now = clock()
-- A delete before anything else: after it, a full Redis refuses no write. What is in goes on, it makes room.
redis.call('HDEL', KEYS[1], '')
arrived(prefix, queue, 'wakeups:', uuid, tonumber(ARGV[4]))

local head = head_of(prefix, uuid)
local known = redis.call('HMGET', KEYS[1], 'queue', 'parked', 'owner')
if not head then
  if known[1] then redis.call('ZREM', prefix .. 'due:' .. known[1], uuid) end
  return {'empty'}
end
if known[2] then return {'parked'} end

local due = prefix .. 'due:' .. head.queue
if known[3] ~= ARGV[5] then
  local busy, early = end_of(KEYS[1], 'until', 'lease', now), end_of(KEYS[1], 'retry_at', 'delay', now)
  if busy > now or early > now then
    redis.call('ZADD', due, math.max(busy, early), uuid)
    return {busy > now and 'busy' or 'too_early'}
  end
  if head.queue ~= queue then
    wake(prefix, uuid, head, 1)
    return {'elsewhere'}
  end
  redis.call('HDEL', KEYS[1], 'retry_at', 'delay', 'reason', 'away', 'late')
  if known[3] and string.sub(known[3], 1, 5) ~= 'hold ' then  -- it never gave back, and may be at it still
    redis.call('HINCRBY', KEYS[1], 'deaths', 1)
    redis.call('ZADD', prefix .. 'verify:' .. head.queue, now + ARGV[6], uuid)
  end
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  local begun = redis.call('HEXISTS', KEYS[1], 'attempts') == 1 and tonumber(redis.call('HGET', KEYS[1], 'begun') or '')
  if not begun or begun > now then redis.call('HSET', KEYS[1], 'begun', now) end  -- later: the clock was set back
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
end
redis.call('HSET', KEYS[1], 'queue', head.queue, 'owner', ARGV[5], 'until', now + ARGV[6], 'lease', ARGV[6])
redis.call('ZADD', due, now + ARGV[6], uuid)

local attempt = redis.call('HMGET', KEYS[1], 'epoch', 'attempts', 'deaths', 'state', 'trial', 'begun')
local waited = math.max(0, now - (type(head.at) == 'number' and head.at or now))
local hanging = {}
local places = redis.call('HGETALL', prefix .. 'places:' .. (string.match(head.queue, '^configdrive%.([^.]+)') or ''))
for index = 1, #places, 2 do
  local ends = tonumber(string.match(places[index + 1], '^hangs (%d+)$') or 0)
  if ends > now then hanging[#hanging + 1] = places[index] end
end
local answer = {'claimed', attempt[1], attempt[2], attempt[3] or 0, waited, math.max(0, now - (attempt[6] or now)),
  redis.call('HGET', KEYS[3], head.key) or '', attempt[4] or '', redis.call('SMEMBERS', prefix .. 'intents:' .. uuid), hanging, string.match(attempt[5] or '', '^%S+') or '', fields_of(head)}
for _, header in ipairs(redis.call('LRANGE', KEYS[2], 1, LOOK_AHEAD)) do answer[#answer + 1] = header end
if redis.call('LLEN', KEYS[2]) > LOOK_AHEAD + 1 then answer[#answer + 1] = successor_of(KEYS[2], head, LOOK_AHEAD + 1) end
return answer
