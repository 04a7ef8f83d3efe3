-- CLAIM: take the lease on a VM for the event at the head of its mailbox.
--
-- KEYS  1 vm   2 mail   3 body
-- ARGV  1 prefix   2 vm uuid   3 event id   4 owner (different for every claim)   5 lease ms
-- Answers {"claimed", epoch, attempt, deaths (workers that never gave the lease back), body, state, header of the head, headers behind it ...}, or one word:
-- "empty", "not_head" (the message is for another event than the head), "parked", "busy" (a live lease).
-- Asked again by the same owner (a reply was lost) it answers as before.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local headers = redis.call('LRANGE', KEYS[2], 0, 255)  -- enough to see what supersedes what
local queue = redis.call('HGET', KEYS[1], 'queue')
if #headers == 0 then
  if queue then redis.call('ZREM', ARGV[1] .. 'due:' .. queue, ARGV[2]) end
  return {'empty'}
end
if cjson.decode(headers[1]).id ~= ARGV[3] then return {'not_head'} end
if redis.call('HGET', KEYS[1], 'parked') then return {'parked'} end

local lease_end = redis.call('HGET', KEYS[1], 'until')
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner ~= ARGV[4] then
  if lease_end and tonumber(lease_end) > now then return {'busy'} end
  if owner then redis.call('HINCRBY', KEYS[1], 'deaths', 1) end
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
end
redis.call('HSET', KEYS[1], 'owner', ARGV[4], 'until', now + ARGV[5])
redis.call('HDEL', KEYS[1], 'wakes', 'reason')
redis.call('ZADD', ARGV[1] .. 'due:' .. queue, now + ARGV[5], ARGV[2])

local known = redis.call('HMGET', KEYS[1], 'epoch', 'attempts', 'deaths', 'state')
local body = redis.call('HGET', KEYS[3], ARGV[3])
local answer = {'claimed', known[1], known[2], known[3] or 0, body or '', known[4] or ''}
for _, header in ipairs(headers) do answer[#answer + 1] = header end
return answer
