-- RELEASE: give back what HOLD took. Fenced: only the newest epoch may.
--
-- KEYS  1 vm   2 mail   3 left (of one queue)
-- ARGV  1 prefix   2 vm uuid   3 epoch   4 state ("": as it was)   5 "gone" when it is a tombstone, else ""
--       6 tombstone seconds   7 "<vm uuid> <host>" that has nothing of the VM any more ("": none)
-- Answers "ended"; "fenced" when a newer epoch exists. Asked again (a reply was lost) it answers as before.

local prefix, uuid = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[3] then return 'fenced' end
redis.call('HDEL', KEYS[1], 'owner', 'until')
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'gone', 1) end
if ARGV[7] ~= '' then redis.call('ZREM', KEYS[3], ARGV[7]) end  -- here, or what is left on that host anew would go too

local head = head_of(prefix, uuid)
if head then  -- it has come meanwhile
  redis.call('HSET', KEYS[1], 'queue', head.queue)
  redis.call('ZREM', prefix .. 'due:' .. head.queue, uuid)
  wake(prefix, uuid, head, 1)
  return 'ended'
end
local kept = redis.call('HMGET', KEYS[1], 'state', 'gone')
if kept[2] or not kept[1] then
  redis.call('EXPIRE', KEYS[1], ARGV[6])
else
  redis.call('PERSIST', KEYS[1])  -- nothing was known of it until now
end
return 'ended'
