-- UNPARK: a person's word on the event at the head: try it again now, or skip it.
--
-- KEYS  1 vm   2 mail   3 body   4 outcomes   5 parked
-- ARGV  1 prefix   2 vm uuid   3 "retry" | "skip"   4 event id that the person has seen at the head
--       5 outcome JSON of a skip   6 seen seconds   7 outcomes kept   8 resend ms   9 nonce
-- Answers {"wake", header of the head, 1}, {"idle"} when nothing is left, {"empty"} when nothing waited,
-- {"not_head"} when the head has changed, {"busy"} when a worker is at it.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local head = redis.call('LINDEX', KEYS[2], 0)
if not head then return {'empty'} end
local id = cjson.decode(head).id
if id ~= ARGV[4] then return {'not_head'} end
local known = redis.call('HMGET', KEYS[1], 'until', 'queue')
if known[1] and tonumber(known[1]) > now then return {'busy'} end

redis.call('HDEL', KEYS[1], 'parked', 'attempts', 'deaths', 'wakes', 'reason')
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('ZREM', ARGV[1] .. 'due:' .. known[2], ARGV[2])
local seen = ARGV[1] .. 'seen:' .. id
if ARGV[3] == 'retry' then
  redis.call('SET', seen, 'pending ' .. ARGV[9])
else
  redis.call('LPOP', KEYS[2])
  redis.call('HDEL', KEYS[3], id)
  redis.call('SET', seen, ARGV[5], 'EX', ARGV[6])
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[7], '*', 'event', id, 'outcome', ARGV[5])
  head = redis.call('LINDEX', KEYS[2], 0)
  if not head then return {'idle'} end
end

local queue = cjson.decode(head).queue
redis.call('HSET', KEYS[1], 'queue', queue)
redis.call('ZADD', ARGV[1] .. 'due:' .. queue, now + ARGV[8], ARGV[2])
return {'wake', head, 1}
