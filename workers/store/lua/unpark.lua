-- UNPARK: an operator's action on the event at the head: try it again now, or skip it. Whoever still works on it is fenced
-- off.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 outcomes   6 parked
-- ARGV  1 prefix   2 vm uuid   3 "retry" | "skip"   4 key of the event that the operator has seen at the head
--       5 outcome JSON of a skip   6 seen seconds   7 outcomes kept   8 tombstone seconds
-- Answers "done", "empty" when nothing waited, "not_head" when the head has changed, "busy" when a worker is at it.
-- A skip that is asked again (a reply was lost) answers as before; a retry may be asked as often as one likes.

local prefix, uuid = ARGV[1], ARGV[2]
local nonce, _, outcome = seen_of(KEYS[4])
local queue = redis.call('HGET', KEYS[1], 'queue')

if not (ARGV[3] == 'skip' and outcome == ARGV[5]) then
  local head = head_of(prefix, uuid)
  if not head then return 'empty' end
  if head.key ~= ARGV[4] then return 'not_head' end
  local now = clock()
  if end_of(KEYS[1], 'until', 'lease', now) > now then return 'busy' end

  if ARGV[3] == 'skip' or redis.call('HEXISTS', KEYS[1], 'owner') == 1 then
    redis.call('ZADD', prefix .. 'verify:' .. head.queue, now, uuid)
  end
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HDEL', KEYS[1], 'parked', 'attempts', 'deaths', 'reason', 'retry_at', 'delay', 'owner', 'until', 'lease',
    'superseded', 'away', 'trial')
  redis.call('ZREM', KEYS[6], uuid)
  if ARGV[3] == 'retry' then
    redis.call('SET', KEYS[4], seen_as(nonce, head, ''))
  else
    redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[7], '*', 'event', ARGV[4], 'outcome', ARGV[5])
    taken_out(KEYS[1], KEYS[2], KEYS[3], redis.call('LPOP', KEYS[2]), ARGV[4])
    redis.call('SET', KEYS[4], seen_as(nonce, head, ARGV[5]), 'EX', ARGV[6])
  end
elseif redis.call('HEXISTS', KEYS[1], 'owner') == 1 then
  return 'done'  -- the answer was lost, and a worker has found the next event meanwhile
end

if queue then redis.call('ZREM', prefix .. 'due:' .. queue, uuid) end
wake_next(prefix, KEYS[1], uuid, ARGV[8])
return 'done'
