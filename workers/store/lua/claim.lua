-- CLAIM: take the lease on a VM for the event at the head of its mailbox.
--
-- KEYS  1 vm   2 mail   3 body
-- ARGV  1 prefix   2 vm uuid   3 event id   4 owner (different for every claim)   5 lease ms
-- Answers {"claimed", epoch, attempt, deaths (workers that never gave the lease back), body, state, header of the head,
-- headers behind it ...}, or one word: "empty", "not_head" (the message is for another event than the head), "parked",
-- "too_early" (a back-off is not over: the message was a double), "busy" (a live lease).
-- Asked again by the same owner (a reply was lost) it answers as before.

local LOOK_AHEAD = 255  -- enough to see what supersedes what; a destroy is looked for behind that too

local function read(header)  -- {} when it is no header: a stranger has written to our keys
  local readable, found = pcall(cjson.decode, header or '')
  return readable and type(found) == 'table' and found or {}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local headers = redis.call('LRANGE', KEYS[2], 0, LOOK_AHEAD)
local known = redis.call('HMGET', KEYS[1], 'queue', 'parked', 'retry_at', 'owner', 'until')
if #headers == 0 then
  if known[1] then redis.call('ZREM', ARGV[1] .. 'due:' .. known[1], ARGV[2]) end
  return {'empty'}
end
local head = read(headers[1])
if head.id ~= ARGV[3] then return {'not_head'} end
if known[2] then return {'parked'} end

if known[4] ~= ARGV[4] then
  if known[5] and tonumber(known[5]) > now then return {'busy'} end
  if known[3] and tonumber(known[3]) > now then return {'too_early'} end
  -- A delete before anything else: after it, a full Redis refuses no write. What is in goes on, it makes room.
  redis.call('HDEL', KEYS[1], 'wakes', 'reason', 'retry_at')
  if known[4] and string.sub(known[4], 1, 5) ~= 'hold ' then redis.call('HINCRBY', KEYS[1], 'deaths', 1) end
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
end
redis.call('HSET', KEYS[1], 'owner', ARGV[4], 'until', now + ARGV[5])
redis.call('ZADD', ARGV[1] .. 'due:' .. (known[1] or head.queue), now + ARGV[5], ARGV[2])

local turn = redis.call('HMGET', KEYS[1], 'epoch', 'attempts', 'deaths', 'state')
local body = redis.call('HGET', KEYS[3], ARGV[3])
local answer = {'claimed', turn[1], turn[2], turn[3] or 0, body or '', turn[4] or ''}
for _, header in ipairs(headers) do answer[#answer + 1] = header end
if #headers > LOOK_AHEAD then
  for _, header in ipairs(redis.call('LRANGE', KEYS[2], LOOK_AHEAD + 1, -1)) do
    if string.find(header, '"type":"destroy"', 1, true) then
      answer[#answer + 1] = header
      break
    end
  end
end
return answer
