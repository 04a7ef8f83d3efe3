-- SWEEP: find VMs whose time has come: a lost wake-up, a dead worker's lease, the end of a back-off.
--
-- KEYS  1 due (of one queue)   2 dead
-- ARGV  1 prefix   2 at most   3 resend ms   4 dead letters kept
-- Answers a flat list: VM uuid, header of the head, attempt, VM uuid ... for each wake-up that must be sent.
-- The same VM is found again after the resend time, doubled each time up to 64 times: a long queue is not made longer.
-- What lies at a head and is no header (a stranger has written to our keys) goes to the dead letters.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function is_header(text, uuid)
  local readable, header = pcall(cjson.decode, text)
  return readable and type(header) == 'table' and type(header.id) == 'string' and type(header.type) == 'string'
    and type(header.queue) == 'string' and type(header.sequence) == 'number' and header.vm == uuid
end

local function head_of(uuid)
  local mail = ARGV[1] .. 'mail:' .. uuid
  local head = redis.call('LINDEX', mail, 0)
  while head and not is_header(head, uuid) do
    local letter = {at = now / 1000, origin = 'mailbox', reason = 'not a header', vm_uuid = uuid}
    redis.call('LPUSH', KEYS[2], cjson.encode(letter))
    redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
    redis.call('LPOP', mail)
    head = redis.call('LINDEX', mail, 0)
  end
  return head
end

local answer = {}
for _, uuid in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local vm = ARGV[1] .. 'vm:' .. uuid
  local known = redis.call('HMGET', vm, 'parked', 'until', 'attempts')
  local head = head_of(uuid)
  if not head or known[1] then
    redis.call('ZREM', KEYS[1], uuid)
  elseif known[2] and tonumber(known[2]) > now then
    redis.call('ZADD', KEYS[1], known[2], uuid)
  else
    local wakes = redis.call('HINCRBY', vm, 'wakes', 1)
    redis.call('ZADD', KEYS[1], now + ARGV[3] * 2 ^ math.min(wakes - 1, 6), uuid)
    answer[#answer + 1] = uuid
    answer[#answer + 1] = head
    answer[#answer + 1] = (known[3] or 0) + 1
  end
end
return answer
