-- PUT: take one event into its VM's mailbox, once.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 queues   6 parked
-- ARGV  1 prefix   2 vm uuid   3 event id   4 header   5 body   6 short type   7 queue   8 nonce   9 resend ms
-- Answers {"wake", header of the head, attempt} when a wake-up must be sent, {"queued"} when one exists or will,
-- {"duplicate", what is known of the first}. Asked again with the same nonce (a reply was lost) it answers as before.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local pending = 'pending ' .. ARGV[8]
local seen = redis.call('GET', KEYS[4])
if seen and seen ~= pending then
  return {'duplicate', seen}
end

if not seen then
  redis.call('SET', KEYS[4], pending)
  redis.call('RPUSH', KEYS[2], ARGV[4])
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
  redis.call('SADD', KEYS[5], ARGV[7])
end

local parked = redis.call('HGET', KEYS[1], 'parked')
if parked and ARGV[6] == 'destroy' then
  -- A destroy goes through whatever is parked before it: the parked event is superseded when it is claimed.
  redis.call('HDEL', KEYS[1], 'parked', 'attempts', 'deaths')
  redis.call('ZREM', KEYS[6], ARGV[2])
  parked = false
elseif redis.call('LLEN', KEYS[2]) > 1 or parked then
  return {'queued'}
else
  redis.call('HSET', KEYS[1], 'queue', ARGV[7])
end

local queue = redis.call('HGET', KEYS[1], 'queue')
redis.call('ZADD', ARGV[1] .. 'due:' .. queue, now + ARGV[9], ARGV[2])
return {'wake', redis.call('LINDEX', KEYS[2], 0), 1}
