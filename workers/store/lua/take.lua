-- TAKE: take or keep the lease on the intake list, and look at its oldest entries, which move to the list of those taken.
--
-- KEYS  1 lease   2 intake   3 taken   4 number
-- ARGV  1 owner (different for every ingester)   2 lease ms   3 at most so many entries   4 at most so many bytes, but one
--       entry   5 bytes above which an entry's length stands for it
-- Answers {"busy", ms until the other's lease ends} or {"held", number of the first entry, entry ...}, oldest first. An
-- entry stays in the list of those taken until SETTLE says what became of it, so what a dead ingester had taken is found
-- first. Both lists hand over at their right ends only: whoever moves an entry, their order stays.

local holder = redis.call('GET', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left > tonumber(ARGV[2]) then  -- the clock was set back
  left = tonumber(ARGV[2])
  redis.call('PEXPIRE', KEYS[1], left)
end
if holder and holder ~= ARGV[1] then return {'busy', left} end
-- Not each time: an idle list is looked at often, and should cost no write to Redis' file.
if not holder or left < ARGV[2] / 2 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end

local entries_most, bytes_most, entry_most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local answer = {'held', redis.call('GET', KEYS[4]) or '0'}
local waiting, bytes = redis.call('LLEN', KEYS[3]), 0
for index = 1, entries_most do
  local entry
  if index <= waiting then
    entry = redis.call('LINDEX', KEYS[3], -index)
  else
    entry = redis.call('LMOVE', KEYS[2], KEYS[3], 'RIGHT', 'LEFT')
  end
  if not entry then break end
  answer[#answer + 1] = #entry > entry_most and #entry or entry
  bytes = bytes + #entry
  if bytes > bytes_most then break end
end
return answer
