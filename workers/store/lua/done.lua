-- DONE: end a turn. Fenced: only the newest epoch may.
--
-- KEYS  1 vm   2 mail   3 body   4 seen   5 outcomes   6 parked
-- ARGV  1 prefix   2 vm uuid   3 epoch   4 event id   5 "finish" | "gone" (finish, and the VM is no more) | "again" | "park"
--       6 outcome JSON   7 state ("": as it was)   8 delay ms ("again")   9 seen seconds   10 outcomes kept
--       11 tombstone seconds   12 resend ms   13 code ("again": the reason, "park": what it is parked for)
--       14 the outcome as SEEN keeps it   15... hosts that still have something of the VM
-- Answers {"wake", header of the next head, 1} when a wake-up must be sent, else {"idle"}, {"later"}, {"parked"};
-- {"fenced"} when a newer epoch exists. Asked again (a reply was lost) nothing is written twice.

local function read(header)  -- {} when it is no header: a stranger has written to our keys
  local readable, found = pcall(cjson.decode, header or '')
  return readable and type(found) == 'table' and found or {}
end

local function destroy_waits()  -- behind the head
  for _, header in ipairs(redis.call('LRANGE', KEYS[2], 1, -1)) do
    if string.find(header, '"type":"destroy"', 1, true) then return true end
  end
  return false
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local nonce, known = string.match(redis.call('GET', KEYS[4]) or '', '^(%S*) ?(.*)$')
local repeated = ARGV[6] ~= '' and known == ARGV[14]
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[3] then return {repeated and 'idle' or 'fenced'} end
if repeated and ARGV[5] == 'park' then return {'parked'} end

local queue = redis.call('HGET', KEYS[1], 'queue')
local due = ARGV[1] .. 'due:' .. queue
local head = redis.call('LINDEX', KEYS[2], 0)
if not repeated then
  if read(head).id ~= ARGV[4] then return {'fenced'} end
  redis.call('HDEL', KEYS[1], 'owner', 'until')
  if ARGV[5] == 'again' then
    redis.call('HSET', KEYS[1], 'reason', ARGV[13], 'retry_at', now + ARGV[8])
    redis.call('ZADD', due, now + ARGV[8], ARGV[2])
    return {'later'}
  end
  if ARGV[5] == 'park' and destroy_waits() then
    -- It came while the event was worked on, and goes through: the next claim finds the event superseded.
    redis.call('HDEL', KEYS[1], 'attempts', 'deaths', 'reason')
    redis.call('ZADD', due, now + ARGV[12], ARGV[2])
    return {'wake', head, 1}
  end
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[10], '*', 'event', ARGV[4], 'outcome', ARGV[6])
  redis.call('ZREM', due, ARGV[2])
  if ARGV[5] == 'park' then
    redis.call('HSET', KEYS[1], 'parked', ARGV[13])
    redis.call('ZADD', KEYS[6], now, ARGV[2])
    redis.call('SET', KEYS[4], nonce .. ' ' .. ARGV[14])
    return {'parked'}
  end
  if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[7]) end
  if ARGV[5] == 'gone' then redis.call('HSET', KEYS[1], 'gone', 1) end
  for index = 15, #ARGV do
    redis.call('ZADD', ARGV[1] .. 'left:' .. queue, 'NX', now + ARGV[12], ARGV[2] .. ' ' .. ARGV[index])
  end
  redis.call('LPOP', KEYS[2])
  redis.call('HDEL', KEYS[3], ARGV[4])
  redis.call('HDEL', KEYS[1], 'attempts', 'deaths', 'reason')
  redis.call('SET', KEYS[4], nonce .. ' ' .. ARGV[14], 'EX', ARGV[9])
  head = redis.call('LINDEX', KEYS[2], 0)
end

if not head then
  local kept = redis.call('HMGET', KEYS[1], 'state', 'gone')
  if kept[2] or not kept[1] then redis.call('EXPIRE', KEYS[1], ARGV[11]) end
  return {'idle'}
end
queue = read(head).queue
if type(queue) ~= 'string' then
  redis.call('ZADD', due, now, ARGV[2])  -- the sweep buries it
  return {'idle'}
end
redis.call('HSET', KEYS[1], 'queue', queue)
redis.call('ZADD', ARGV[1] .. 'due:' .. queue, now + ARGV[12], ARGV[2])
return {'wake', head, 1}
