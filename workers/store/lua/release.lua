-- RELEASE: give back what HOLD took. Fenced: only the newest epoch may.
--
-- KEYS  1 vm   2 mail   3 left (of one queue)
-- ARGV  1 prefix   2 vm uuid   3 epoch   4 state ("": as it was)   5 "gone" when it is a tombstone, else ""
--       6 tombstone seconds   7 resend ms   8 "<vm uuid> <host>" that has nothing of the VM any more ("": none)
-- Answers {"wake", header of the head, 1} when an event has come meanwhile, else {"idle"}; {"fenced"} when a newer epoch
-- exists. Asked again (a reply was lost) it answers as before.

local function read(header)  -- {} when it is no header: a stranger has written to our keys
  local readable, found = pcall(cjson.decode, header or '')
  return readable and type(found) == 'table' and found or {}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[3] then return {'fenced'} end
redis.call('HDEL', KEYS[1], 'owner', 'until')
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'gone', 1) end
if ARGV[8] ~= '' then redis.call('ZREM', KEYS[3], ARGV[8]) end  -- here, or a new debt of the same host would go too

local head = redis.call('LINDEX', KEYS[2], 0)
if not head then
  local kept = redis.call('HMGET', KEYS[1], 'state', 'gone')
  if kept[2] or not kept[1] then
    redis.call('EXPIRE', KEYS[1], ARGV[6])
  else
    redis.call('PERSIST', KEYS[1])  -- nothing was known of it until now
  end
  return {'idle'}
end
local queue = read(head).queue
if type(queue) ~= 'string' then
  local known = redis.call('HGET', KEYS[1], 'queue')
  if known then redis.call('ZADD', ARGV[1] .. 'due:' .. known, now, ARGV[2]) end  -- the sweep buries it
  return {'idle'}
end
redis.call('HSET', KEYS[1], 'queue', queue)
redis.call('ZADD', ARGV[1] .. 'due:' .. queue, now + ARGV[7], ARGV[2])
return {'wake', head, 1}
