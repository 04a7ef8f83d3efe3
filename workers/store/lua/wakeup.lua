-- WAKEUP: wake workers for the VMs of one queue whose time has come (the end of a back-off, a dead worker's lease), and send
-- again what was lost on its way.
--
-- KEYS  1 due (of the queue)
-- ARGV  1 prefix   2 queue   3 at most   4 resend ms   5 ms that no lease and no back-off is longer than
-- Answers a flat list, nine for each message that was sent: VM uuid, attempt, and key, id, source, type, queue, sequence and
-- traceparent of its next event.
--
-- A message is lost when messages behind it were taken, or none is left in Celery's list, and no worker has come with it for
-- the resend time. Messages go in at one end of the list and out at the other, so their numbers tell that, whatever clocks do:
-- twice in the resend time the number that the list has passed by now is noted, and `lost` is what was noted twice before.

local prefix, queue, most, resend = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = clock()
local answer = {}

local function look_after(uuid)
  redis.call('ZREM', KEYS[1], uuid)
  local vm, head = prefix .. 'vm:' .. uuid, head_of(prefix, uuid)
  local known = redis.call('HMGET', vm, 'parked', 'attempts')
  if not head or known[1] then return end
  local later = math.max(end_of(vm, 'until', 'lease', now), end_of(vm, 'retry_at', 'delay', now))
  if later > now then
    redis.call('ZADD', prefix .. 'due:' .. head.queue, later, uuid)
  else
    local attempt = tonumber(known[2] or 0) + 1
    if wake(prefix, uuid, head, attempt) then
      for _, one in ipairs({uuid, attempt, fields_of(head)}) do answer[#answer + 1] = one end
    end
  end
end

for _, uuid in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, most)) do look_after(uuid) end
-- Nobody is away for so long: the clock was set back.
for _, uuid in ipairs(redis.call('ZRANGE', KEYS[1], now + ARGV[5], '+inf', 'BYSCORE', 'LIMIT', 0, most)) do look_after(uuid) end

local wakeups, questions, counts = prefix .. 'wakeups:' .. queue, prefix .. 'questions:' .. queue, prefix .. 'queue:' .. queue
if redis.call('EXISTS', wakeups, questions) == 0 then return answer end
local known = redis.call('HMGET', counts, 'sent', 'taken', 'passed', 'before', 'lost', 'looked')
local lost, looked = tonumber(known[5] or 0), tonumber(known[6] or 0)
if now < looked or now - looked >= resend / 2 then
  lost = tonumber(known[4] or 0)
  local passed = tonumber(known[redis.call('EXISTS', prefix .. queue) == 0 and 1 or 2] or 0)
  redis.call('HSET', counts, 'passed', passed, 'before', known[3] or 0, 'lost', lost, 'looked', now)
end
for _, uuid in ipairs(redis.call('ZRANGE', wakeups, '-inf', lost, 'BYSCORE', 'LIMIT', 0, most)) do
  redis.call('ZREM', wakeups, uuid)
  look_after(uuid)
end
redis.call('ZREMRANGEBYSCORE', questions, '-inf', lost)  -- asked again when their time comes
return answer
