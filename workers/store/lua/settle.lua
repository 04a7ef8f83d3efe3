-- SETTLE: write down what became of the oldest entries that were taken, all of them at once. `put` is PUT (put.lua).
--
-- KEYS  1 taken   2 number   3 outcomes
-- ARGV  1 prefix   2 number of the first entry   3 how many   4 outcomes kept
--       5 bytes that may wait for one VM   6 ... seven for each entry:
--         "put"      vm uuid      event key   header    body   short type   queue
--         "refuse"   dead letter  event key   outcome   ""     ""           ""      (the last two of these may be "")
-- Answers {"settled", how many events were not stored: known, with another's source and id, or too many for their VM}.
-- {"moved"} when these entries are done with: another ingester was faster, or the reply was lost. The number is the fence:
-- it counts the entries that were settled, so nobody settles twice, or what he has not seen.

if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[2] then return {'moved'} end

local PASSING = {OOM = true, MISCONF = true, READONLY = true, NOREPLICAS = true, MASTERDOWN = true}
local prefix, passed_over = ARGV[1], 0
local now = clock() / 1000

local function letter(uuid, header, reason)
  local event = read(header)
  return cjson.encode({at = now, origin = 'intake', reason = reason, event_id = event.id, source = event.source, vm_uuid = uuid})
end

-- An outcome by hand, as cjson would round a large number.
local function rejected(uuid, header, kind, detail, remedy)
  local event = read(header)
  return '{"event_id":"' .. event.id .. '","source":' .. cjson.encode(event.source) .. ',"event_type":"' .. kind
    .. '","vm_uuid":"' .. uuid .. '","sequence":' .. string.format('%.0f', event.sequence)
    .. ',"status":"rejected","at":' .. string.format('%.3f', now) .. ',"code":"mailbox_full","detail":' .. cjson.encode(detail)
    .. ',"remedy":' .. cjson.encode(remedy) .. ',"attempts":0,"facts":{}}'
end

local function publish(key, outcome)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*', 'event', key, 'outcome', outcome)
end

local function take_in(number, uuid, key, header, body, kind, queue)
  local keys = {prefix .. 'vm:' .. uuid, prefix .. 'mail:' .. uuid, prefix .. 'body:' .. uuid, prefix .. 'seen:' .. key,
    prefix .. 'queues', prefix .. 'parked'}
  local nonce = 'intake.' .. number
  local fine, answer = pcall(put, keys, {prefix, uuid, key, header, body, kind, queue, nonce, ARGV[5]})
  if not fine then
    -- A Redis that takes nothing now will later. Anything else is a stranger's work on this VM's keys, and its own affair.
    if PASSING[string.match(type(answer) == 'table' and answer.err or '', '^%-?(%u+)')] then error(answer) end
    dead_letter(prefix, letter(uuid, header, 'misconfigured: the keys of this VM on Redis are not as the fleet writes them'))
  elseif answer[1] == 'duplicate' then
    dead_letter(prefix, letter(uuid, header, 'duplicate: the event was published before'))
    passed_over = passed_over + 1
  elseif answer[1] == 'full' then
    local reason, remedy = answer[2], answer[3]
    dead_letter(prefix, letter(uuid, header, 'mailbox_full: ' .. reason))
    publish(key, rejected(uuid, header, kind, reason, remedy))
    passed_over = passed_over + 1
  elseif answer[1] == 'conflict' then  -- no outcome: it would be taken for the other's
    local other, vm, sequence = string.match(answer[2], '^(.-):(.-):(.*)$')
    local whose = other .. ' #' .. sequence .. ' of VM ' .. vm
    dead_letter(prefix, letter(uuid, header, 'id_conflict: source and id are those of ' .. whose))
    passed_over = passed_over + 1
  end
end

for index = 0, ARGV[3] - 1 do
  local at = 6 + 7 * index
  if ARGV[at] == 'put' then
    take_in(ARGV[2] + index, unpack(ARGV, at + 1, at + 6))
  else
    dead_letter(prefix, ARGV[at + 1])
    -- An outcome for whoever waits, unless it is another's event that has this id.
    if ARGV[at + 3] ~= '' and redis.call('EXISTS', prefix .. 'seen:' .. ARGV[at + 2]) == 0 then
      publish(ARGV[at + 2], ARGV[at + 3])
    end
  end
end
redis.call('LTRIM', KEYS[1], 0, -1 - ARGV[3])
redis.call('INCRBY', KEYS[2], ARGV[3])
return {'settled', passed_over}
