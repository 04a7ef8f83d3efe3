-- SWEEP: find VMs whose time has come: a lost wake-up, a dead worker's lease, the end of a back-off.
--
-- KEYS  1 due (of one queue)
-- ARGV  1 prefix   2 at most   3 resend ms
-- Answers a flat list: header of the head, attempt, header, attempt ... for each wake-up that must be sent.
-- The same VM is found again after the resend time, doubled each time up to 64 times: a long queue is not made longer.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}

for _, uuid in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local vm = ARGV[1] .. 'vm:' .. uuid
  local head = redis.call('LINDEX', ARGV[1] .. 'mail:' .. uuid, 0)
  local known = redis.call('HMGET', vm, 'parked', 'until', 'attempts')
  if not head or known[1] then
    redis.call('ZREM', KEYS[1], uuid)
  elseif known[2] and tonumber(known[2]) > now then
    redis.call('ZADD', KEYS[1], known[2], uuid)
  else
    local wakes = redis.call('HINCRBY', vm, 'wakes', 1)
    redis.call('ZADD', KEYS[1], now + ARGV[3] * 2 ^ math.min(wakes - 1, 6), uuid)
    answer[#answer + 1] = head
    answer[#answer + 1] = tonumber(known[3] or 0) + 1
  end
end
return answer
