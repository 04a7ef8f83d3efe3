-- LEFTOVERS: have workers ask the hosts that still have something of a VM, and verify VMs that may have been left half-done,
-- whose time has come.
--
-- KEYS  1 left (of one queue): "<vm uuid> <host>" -> time (ms)   2 verify (of one queue): vm uuid -> time (ms)
-- ARGV  1 prefix   2 queue   3 pause ms until the next time   4 at most so many VMs
-- Answers the hosts for which a message was sent. For all VMs to be verified there is one, which names the host "*".

local prefix, queue = ARGV[1], ARGV[2]
local now = clock()
local asked = {}

-- Those of a set whose time has come; it comes again after the pause.
local function due(key)
  -- Nobody is asked so much later: the clock was set back.
  for _, member in ipairs(redis.call('ZRANGE', key, now + ARGV[3] + 1, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
    redis.call('ZADD', key, now + ARGV[3], member)
  end
  local found = redis.call('ZRANGE', key, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[4])
  for _, member in ipairs(found) do redis.call('ZADD', key, now + ARGV[3], member) end
  return found
end

if #due(KEYS[2]) > 0 then
  local id = 'verify.' .. queue .. '.' .. string.format('%.0f', now)
  send(prefix, queue, 'questions:', '*', 'configdrive.leftovers', id, {'*'}, 0)
end
for _, member in ipairs(due(KEYS[1])) do
  local host = string.sub(member, 38)
  local id = 'leftovers.' .. queue .. '.' .. string.format('%.0f', now) .. '.' .. #asked
  if send(prefix, queue, 'questions:', host, 'configdrive.leftovers', id, {host}, 0) then
    asked[#asked + 1] = host
  end
end
return asked
