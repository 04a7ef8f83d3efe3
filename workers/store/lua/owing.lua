-- OWING: find hosts that still have something of a VM, and whose time to be asked again has come.
--
-- KEYS  1 left (of one queue): "<vm uuid> <host>" -> time (ms)
-- ARGV  1 pause ms until the next time   2 at most so many VMs
-- Answers the hosts, each once.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local hosts, known = {}, {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  redis.call('ZADD', KEYS[1], now + ARGV[1], member)
  local host = string.sub(member, 38)
  if not known[host] then
    known[host] = true
    hosts[#hosts + 1] = host
  end
end
return hosts
