-- PUT: take one event into its VM's mailbox, once.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 queues   6 parked
-- ARGV  1 prefix   2 vm uuid   3 event id   4 header   5 body   6 short type   7 queue   8 nonce   9 resend ms
-- Answers {"wake", header of the head, attempt} when a wake-up must be sent, {"queued"} when one exists or will,
-- {"duplicate", packed outcome of the first ("" while it waits)}.
-- The header gets the time of its posting, "at", in ms.
-- Asked again with the same nonce (a reply was lost), the event is not a duplicate of itself, whatever it has come to.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local seen = redis.call('GET', KEYS[4])
if seen then
  local nonce, outcome = string.match(seen, '^(%S*) (.*)$')
  if nonce ~= ARGV[8] then return {'duplicate', outcome} end
  if outcome ~= '' then return {'queued'} end
else
  redis.call('SET', KEYS[4], ARGV[8] .. ' ')
  redis.call('RPUSH', KEYS[2], string.format('%s,"at":%d}', string.sub(ARGV[4], 1, -2), now))
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
  redis.call('SADD', KEYS[5], ARGV[7])
  redis.call('PERSIST', KEYS[1])  -- a tombstone with mail must not vanish
end

-- Nothing of the VM is read here but whether fields are there, and a number: a publisher's login can read no more of it.
local head = redis.call('LINDEX', KEYS[2], 0)
local readable, header = pcall(cjson.decode, head)
if not readable or type(header) ~= 'table' then header = {} end  -- a stranger has written to our keys: the sweep buries it
local attempt = 1
if redis.call('HEXISTS', KEYS[1], 'parked') == 1 then
  if ARGV[6] ~= 'destroy' then return {'queued'} end
  -- A destroy goes through whatever is parked before it: the parked event is superseded when it is claimed.
  redis.call('HDEL', KEYS[1], 'parked', 'attempts', 'deaths', 'wakes')
  redis.call('ZREM', KEYS[6], ARGV[2])
elseif header.id == ARGV[3] then
  redis.call('HSET', KEYS[1], 'queue', ARGV[7])
  redis.call('ZADD', ARGV[1] .. 'due:' .. ARGV[7], 'NX', now + ARGV[9], ARGV[2])
  return {'wake', head, 1}
elseif (ARGV[6] == 'destroy' or ARGV[6] == 'stop') and redis.call('HDEL', KEYS[1], 'retry_at') == 1 then
  -- It may supersede the head: no reason to wait for the end of a back-off.
  attempt = redis.call('HINCRBY', KEYS[1], 'attempts', 0) + 1
else
  return {'queued'}
end

if type(header.queue) ~= 'string' then return {'queued'} end
redis.call('ZADD', ARGV[1] .. 'due:' .. header.queue, now + ARGV[9], ARGV[2])
return {'wake', head, attempt}
