-- PLACE: what the fleet knows of a host or storage that may hang (`tasks.isolation`).
--
-- KEYS  1 places (of one hypervisor): place -> "doubted|hangs|forgiven <ms>": since when, or until when
--       2 busy: the owner of the one attempt at the place, if it hangs
-- ARGV  1 "enter" | "doubt" | "hangs" | "well" | "leave"   2 place   3 owner   4 ms after which doubt counts as hanging
--       5 ms for which a place hangs   6 ms for which one is forgiven that was slow and hung not   7 ms of the lease
-- Answers "open", "mine" or "taken".

local how, place, owner, doubt = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = clock()
local word, time = string.match(redis.call('HGET', KEYS[1], place) or '', '^(%a+) (%d+)$')
time = tonumber(time or 0)

local function know(what, when)
  redis.call('HSET', KEYS[1], place, what .. ' ' .. string.format('%.0f', when))
  redis.call('PEXPIRE', KEYS[1], ARGV[5] + ARGV[6])
end

local hangs = word == 'hangs' and time > now and time <= now + ARGV[5]
if how == 'doubt' and not hangs then
  if word == 'doubted' and time <= now and now - time <= 10 * doubt then
    hangs = now - time >= doubt
  elseif not (word == 'forgiven' and time > now and time <= now + ARGV[6]) then
    know('doubted', now)
  end
  if hangs then know('hangs', now + ARGV[5]) end
end
if how == 'enter' or how == 'doubt' then
  if not hangs then return 'open' end
  local other = redis.call('GET', KEYS[2])
  if other and other ~= owner then return 'taken' end
  redis.call('SET', KEYS[2], owner, 'PX', ARGV[7])
  return 'mine'
end
if redis.call('GET', KEYS[2]) == owner then redis.call('DEL', KEYS[2]) end
if how == 'hangs' then
  know('hangs', now + ARGV[5])
elseif how == 'well' and hangs then
  know('forgiven', now + ARGV[6])
elseif how == 'well' and word ~= 'forgiven' then
  redis.call('HDEL', KEYS[1], place)
end
return 'open'
