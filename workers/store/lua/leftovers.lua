-- LEFTOVERS: have workers ask the hosts that still have something of a VM, and whose time to be asked has come.
--
-- KEYS  1 left (of one queue): "<vm uuid> <host>" -> time (ms)
-- ARGV  1 prefix   2 queue   3 pause ms until the next time   4 at most so many VMs
-- Answers the hosts for which a message was sent.

local prefix, queue = ARGV[1], ARGV[2]
local now = clock()
local asked = {}
-- Nobody is asked so much later: the clock was set back.
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], now + ARGV[3] + 1, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  redis.call('ZADD', KEYS[1], now + ARGV[3], member)
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  redis.call('ZADD', KEYS[1], now + ARGV[3], member)
  local host = string.sub(member, 38)
  local id = 'leftovers.' .. queue .. '.' .. string.format('%.0f', now) .. '.' .. #asked
  if send(prefix, queue, 'questions:', host, 'configdrive.leftovers', id, {host}, 0) then
    asked[#asked + 1] = host
  end
end
return asked
