-- PUT: take one event into its VM's mailbox, once, and wake a worker for it.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 queues   6 parked
-- ARGV  1 prefix   2 vm uuid   3 event key   4 header   5 body   6 short type   7 queue   8 nonce
--       9 bytes that may wait for one VM
-- Answers {"accepted"}, {"duplicate", outcome of the first ("" while it waits)}, or {"conflict", "<type>:<vm>:<sequence>"} when
-- the key is that of another event, or {"full", what is wrong, remedy} when too much waits; a stop or destroy always gets in.
-- The header gets the time of its posting, "at", in ms.
-- Asked again with the same nonce (a reply was lost), the event is not a duplicate of itself, whatever it has come to.

local event = {key = ARGV[3], type = ARGV[6], vm = ARGV[2], queue = ARGV[7], sequence = read(ARGV[4]).sequence}
local nonce, content, outcome = seen_of(KEYS[4])
if nonce then
  if content ~= content_of(event) then return {'conflict', content} end
  if nonce ~= ARGV[8] then return {'duplicate', outcome} end
  if outcome ~= '' then return {'accepted'} end
else
  local header = string.format('%s,"at":%d}', string.sub(ARGV[4], 1, -2), clock())
  local bytes = #header + #ARGV[5]
  local waiting = 0
  if redis.call('LINDEX', KEYS[2], 0) and redis.call('HEXISTS', KEYS[1], 'bytes') == 1 then
    waiting = redis.call('HINCRBY', KEYS[1], 'bytes', 0)
  end
  if waiting + bytes > tonumber(ARGV[9]) and event.type ~= 'stop' and event.type ~= 'destroy' then
    return {'full', string.format('event: %d bytes wait for VM %s, and with its %d they were more than %d (mailbox_bytes)',
      waiting, ARGV[2], bytes, ARGV[9]), 'see `configdrive show` for what holds the VM up, retry or skip that, and publish '
      .. 'the event again; or raise the setting mailbox_bytes'}
  end
  redis.call('HSET', KEYS[1], 'bytes', waiting + bytes)
  redis.call('SET', KEYS[4], seen_as(ARGV[8], event, ''))
  redis.call('RPUSH', KEYS[2], header)
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
  redis.call('SADD', KEYS[5], ARGV[7])
  redis.call('PERSIST', KEYS[1])  -- a tombstone with mail must not vanish
end

-- Nothing of the VM is read here but whether fields are there, and a number: a publisher's login can read no more of it.
local head = read(redis.call('LINDEX', KEYS[2], 0))
if not is_header(head, ARGV[2]) or redis.call('HEXISTS', KEYS[3], head.key) == 0 then  -- a stranger's: whoever claims the VM makes a dead letter of it
  head = {key = event.key, type = event.type, queue = event.queue, sequence = -1}
end
local supersedes_head = supersedes(event, head)
if head.key == ARGV[3] then redis.call('HSET', KEYS[1], 'queue', ARGV[7]) end
local due, attempt = ARGV[1] .. 'due:' .. head.queue, 1
if redis.call('HEXISTS', KEYS[1], 'parked') == 1 then
  if not supersedes_head then return {'accepted'} end
  -- It goes through whatever is parked before it: the parked event is dropped when it is claimed.
  redis.call('HDEL', KEYS[1], 'parked', 'attempts', 'deaths')
  redis.call('ZREM', KEYS[6], ARGV[2])
elseif supersedes_head and redis.call('HDEL', KEYS[1], 'retry_at') == 1 then
  -- No reason to wait for the end of a back-off.
  redis.call('HDEL', KEYS[1], 'delay')
  attempt = redis.call('HINCRBY', KEYS[1], 'attempts', 0) + 1
  redis.call('ZREM', due, ARGV[2])
elseif redis.call('ZSCORE', due, ARGV[2]) then
  return {'accepted'}  -- in work, or in a back-off: its end wakes whoever is next
end
wake(ARGV[1], ARGV[2], head, attempt)
return {'accepted'}
