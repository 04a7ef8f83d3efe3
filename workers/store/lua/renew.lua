-- RENEW: keep the lease, if it is still ours. Also the check before each step that changes the world.
--
-- KEYS  1 vm
-- ARGV  1 prefix   2 vm uuid   3 epoch   4 lease ms
-- Answers 1, or 0 when a newer epoch exists (the caller is fenced off) or the lease was given back.

local known = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'queue')
if known[1] ~= ARGV[3] or not known[2] then return 0 end

local lease_end = clock() + ARGV[4]
redis.call('HDEL', KEYS[1], 'reason')  -- a delete first: see CLAIM
redis.call('HSET', KEYS[1], 'until', lease_end)
if known[3] then redis.call('ZADD', ARGV[1] .. 'due:' .. known[3], 'XX', lease_end, ARGV[2]) end  -- HOLD has none due
return 1
