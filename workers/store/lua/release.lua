-- RELEASE: give back what HOLD took. Fenced: only the owner of the newest epoch may.
--
-- KEYS  1 vm   2 mail   3 left (of one queue)
-- ARGV  1 prefix   2 vm uuid   3 epoch and 4 owner of the hold   5 state ("": as it was)
--       6 "gone" when it is a tombstone, else ""   7 tombstone seconds
--       8 "<vm uuid> <host>" that has nothing of the VM any more ("": none)
--       9 queue for which the VM was verified ("": it was not)   10 its mark there: one that was set anew meanwhile stays
--       11 ms after which a host that was away is asked   12 number of intents that are no more
--       13... these intents, and then hosts that still have something, each behind the queue whose workers ask it again
-- Answers "ended"; "fenced" when the VM is another's by now. Asked again (a reply was lost) it answers as before.

local prefix, uuid = ARGV[1], ARGV[2]
if not is_theirs(KEYS[1], ARGV[3], ARGV[4]) then
  return redis.call('HGET', KEYS[1], 'ended') == ARGV[4] and 'ended' or 'fenced'
end
give_back(KEYS[1], ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[5]) end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'gone', 1) end
if ARGV[8] ~= '' then redis.call('ZREM', KEYS[3], ARGV[8]) end  -- here, or what is left on that host anew would go too
if ARGV[9] ~= '' then
  local verify, past = prefix .. 'verify:' .. ARGV[9], 13 + ARGV[12]
  if tonumber(redis.call('ZSCORE', verify, uuid) or '') == tonumber(ARGV[10]) then redis.call('ZREM', verify, uuid) end
  looked_at(prefix, uuid, ARGV, 13, past - 1)
  for index = past, #ARGV, 2 do
    redis.call('ZADD', prefix .. 'left:' .. ARGV[index], 'NX', clock() + ARGV[11], uuid .. ' ' .. ARGV[index + 1])
  end
end

local head = head_of(prefix, uuid)
if head then  -- it has come meanwhile
  redis.call('HSET', KEYS[1], 'queue', head.queue)
  redis.call('ZREM', prefix .. 'due:' .. head.queue, uuid)
  wake(prefix, uuid, head, 1)
  return 'ended'
end
may_vanish(prefix, uuid, ARGV[7])
return 'ended'
