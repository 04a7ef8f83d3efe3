-- RENEW: keep the lease, if it is still ours. Also the check before each step that changes the world; and INTEND, which
-- writes down in the same step where an image may lie from now on.
--
-- KEYS  1 vm   2 intents
-- ARGV  1 prefix   2 vm uuid   3 epoch and 4 owner of the claim or hold   5 lease ms   6 ... intents
-- Answers 1, or 0 when the VM is another's by now (the caller is fenced off) or the lease was given back.

if not is_theirs(KEYS[1], ARGV[3], ARGV[4]) then return 0 end

local lease_end, queue = clock() + ARGV[5], redis.call('HGET', KEYS[1], 'queue')
redis.call('HDEL', KEYS[1], 'reason')  -- a delete first: see CLAIM
redis.call('HSET', KEYS[1], 'until', lease_end, 'lease', ARGV[5])
if queue then redis.call('ZADD', ARGV[1] .. 'due:' .. queue, 'XX', lease_end, ARGV[2]) end  -- HOLD has none due
if ARGV[6] then redis.call('SADD', KEYS[2], unpack(ARGV, 6)) end
return 1
