-- HOLD: take the lease on a VM for which no event waits, to tidy up after it. What comes meanwhile waits for RELEASE.
--
-- KEYS  1 vm   2 mail
-- ARGV  1 owner (different for every hold; "hold ...", which CLAIM knows)   2 lease ms   3 tombstone seconds   4 prefix   5 vm uuid
-- Answers {"held", epoch, state}, or one word: "waiting" (an event waits, and goes first), "busy" (a live lease).
-- Asked again by the same owner (a reply was lost) it answers as before.

local now = clock()
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  if end_of(KEYS[1], 'until', 'lease', now) > now then return {'busy'} end
  if redis.call('LLEN', KEYS[2]) > 0 then return {'waiting'} end
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HDEL', KEYS[1], 'late')
  -- Of a VM that nothing is known of, nothing stays when the holder dies.
  if redis.call('HEXISTS', KEYS[1], 'state') == 0 then may_vanish(ARGV[4], ARGV[5], ARGV[3]) end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', now + ARGV[2], 'lease', ARGV[2])
local held = redis.call('HMGET', KEYS[1], 'epoch', 'state')
return {'held', held[1], held[2] or ''}
