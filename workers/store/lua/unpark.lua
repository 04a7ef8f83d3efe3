-- UNPARK: a person's word on the event at the head: try it again now, or skip it. Whoever still works on it is fenced off.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 outcomes   6 parked
-- ARGV  1 prefix   2 vm uuid   3 "retry" | "skip"   4 event id that the person has seen at the head
--       5 outcome JSON of a skip   6 seen seconds   7 outcomes kept   8 resend ms   9 tombstone seconds
--       10 that outcome as SEEN keeps it
-- Answers {"wake", header of the head, 1}, {"idle"} when nothing is left, {"empty"} when nothing waited,
-- {"not_head"} when the head has changed, {"busy"} when a worker is at it.
-- A skip that is asked again (a reply was lost) answers as before; a retry may be asked as often as one likes.

local function read(header)  -- {} when it is no header: a stranger has written to our keys
  local readable, found = pcall(cjson.decode, header or '')
  return readable and type(found) == 'table' and found or {}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local nonce, outcome = string.match(redis.call('GET', KEYS[4]) or '', '^(%S*) ?(.*)$')
local head = redis.call('LINDEX', KEYS[2], 0)
local known = redis.call('HMGET', KEYS[1], 'until', 'queue')

if not (ARGV[3] == 'skip' and outcome == ARGV[10]) then
  if not head then return {'empty'} end
  if read(head).id ~= ARGV[4] then return {'not_head'} end
  if known[1] and tonumber(known[1]) > now then return {'busy'} end

  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HDEL', KEYS[1], 'parked', 'attempts', 'deaths', 'wakes', 'reason', 'retry_at', 'owner', 'until')
  redis.call('ZREM', KEYS[6], ARGV[2])
  if ARGV[3] == 'retry' then
    redis.call('SET', KEYS[4], nonce .. ' ')
  else
    redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[7], '*', 'event', ARGV[4], 'outcome', ARGV[5])
    redis.call('LPOP', KEYS[2])
    redis.call('HDEL', KEYS[3], ARGV[4])
    redis.call('SET', KEYS[4], nonce .. ' ' .. ARGV[10], 'EX', ARGV[6])
    head = redis.call('LINDEX', KEYS[2], 0)
  end
elseif redis.call('HEXISTS', KEYS[1], 'owner') == 1 then
  return {'idle'}  -- the answer was lost, and a worker has found the next event meanwhile
end

if known[2] then redis.call('ZREM', ARGV[1] .. 'due:' .. known[2], ARGV[2]) end
if not head then
  local kept = redis.call('HMGET', KEYS[1], 'state', 'gone')
  if kept[2] or not kept[1] then redis.call('EXPIRE', KEYS[1], ARGV[9]) end
  return {'idle'}
end
local queue = read(head).queue
if type(queue) ~= 'string' then
  redis.call('ZADD', ARGV[1] .. 'due:' .. known[2], now, ARGV[2])  -- the sweep buries it
  return {'idle'}
end
redis.call('HSET', KEYS[1], 'queue', queue)
redis.call('ZADD', ARGV[1] .. 'due:' .. queue, now + ARGV[8], ARGV[2])
return {'wake', head, 1}
