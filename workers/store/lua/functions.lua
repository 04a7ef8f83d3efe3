-- The same PUT for clients of any language: FCALL <name of the fleet>_put_v1 0 <event JSON>. `put` is PUT (put.lua),
-- `event_key` stands in sha256.lua; PREFIX,
-- MOST_BYTES, MAILBOX_BYTES, HYPERVISORS, ZONES and PUT_NAME stand above, from the settings of whoever loads the library.
--
-- Answers {"accepted"}, or, as the event is known, {"duplicate", "waiting"} or {"duplicate", "published"} when its outcome
-- stands on the stream: it is stored in all these cases.
-- An error is "<CODE> <field>: <what is wrong> (<remedy>)", and nothing was stored. What Lua cannot check, a worker does when
-- the event comes first: what is no event then is `rejected`, and holds nobody up.

local CONTENT = {deploy = true, start = true, password_reset = true, update = true}
local KINDS = {deploy = true, start = true, password_reset = true, update = true, stop = true, migrate = true, destroy = true}
local CONTRACT = 'see `configdrive schema` for the contract'

local function refused(field, problem, remedy, code)
  error({err = (code or 'INVALID_EVENT') .. ' ' .. field .. ': ' .. problem .. ' (' .. (remedy or CONTRACT) .. ')'})
end

local function object(value, field)
  if type(value) ~= 'table' then refused(field, 'must be an object') end
  return value
end

local function optional(value) -- null stands for what is left out
  if value == cjson.null then return nil end
  return value
end

local function text(value, field, pattern, most)
  if type(value) ~= 'string' or #value > most or not string.match(value, pattern) then
    refused(field, 'is missing, or has not the form that the contract asks for')
  end
  return value
end

local function known(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return 'known are: ' .. table.concat(names, ', ')
end

local function check(raw)
  if #raw > MOST_BYTES then
    refused('event', 'has ' .. #raw .. ' bytes, the limit of this way is ' .. MOST_BYTES,
      'put it on the list ' .. PREFIX .. 'intake', 'CONTENT_TOO_LARGE')
  end
  local readable, event = pcall(cjson.decode, raw)
  if not readable then refused('event', 'is not JSON') end
  object(event, 'event')
  local id = text(event.id, 'id', '^[A-Za-z0-9][A-Za-z0-9%._:@%+=~%-]*$', 128)
  local kind = string.match(text(event.type, 'type', '^.', 64), '^configdrive%.vm%.([a-z_]+)%.v1$')
  if not KINDS[kind] then refused('type', 'is no type of event') end
  local source = text(event.source, 'source', '^[^%c]+$', 4 * 255)
  if type(event.time) ~= 'string' or not string.match(event.time, '^%d%d%d%d%-%d%d%-%d%d[Tt ]%d%d:%d%d') then
    refused('time', 'is missing, or has not the form of RFC 3339', 'give the time of the event: it is the date on the drive')
  end
  local data = object(event.data, 'data')
  local vm = object(data.vm, 'data.vm')
  local uuid = string.lower(text(vm.uuid, 'data.vm.uuid', '^%x+%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x+$', 36))
  if #uuid ~= 36 or string.find(uuid, '-', 1, true) ~= 9 then refused('data.vm.uuid', 'is not a uuid') end
  local name = text(vm.instance_name, 'data.vm.instance_name', '^[^%c]+$', 4 * 255)
  if optional(event.subject) and string.lower(tostring(event.subject)) ~= uuid then
    refused('subject', "differs from 'data.vm.uuid'", 'give the same uuid or leave it out')
  end
  local hypervisor = string.lower(text(data.hypervisor, 'data.hypervisor', '^[A-Za-z][A-Za-z0-9_%-]*$', 32))
  if not HYPERVISORS[hypervisor] then
    refused('data.hypervisor', "no driver is called '" .. hypervisor .. "'", known(HYPERVISORS), 'UNKNOWN_HYPERVISOR')
  end
  local sequence = data.sequence
  if type(sequence) ~= 'number' or sequence < 0 or sequence > 9007199254740991 or sequence % 1 ~= 0 then
    refused('data.sequence', 'must be an integer from 0 to 9007199254740991')
  end
  if optional(data.guest) then
    refused('data.guest', 'stands in the clear', "seal it into 'data.sealed': see `configdrive keys public`")
  end
  if optional(data.sealed) then
    if not CONTENT[kind] then refused('data.sealed', 'is not a field of this type of event') end
    if type(data.sealed) ~= 'string' or not string.match(data.sealed, '^v1%.%x+%.[A-Za-z0-9_%-]+=?=?$') then
      refused('data.sealed', 'has not the form v1.<key id>.<base64url>', 'seal it as the contract says')
    end
  end
  local traceparent = optional(event.traceparent)
  if traceparent then text(traceparent, 'traceparent', '^%x%x%-%x+%-%x+%-%x%x$', 55) end
  local zone = optional(data.zone)
  local queue = 'configdrive.' .. hypervisor .. (ZONES[zone] and '.' .. zone or '')
  return source, id, kind, uuid, queue, sequence, traceparent, name
end

-- By hand: cjson would round a large number; every other value has been held against a pattern without quotation marks.
local function header_of(key, source, id, kind, uuid, queue, sequence, traceparent, name)
  return '{"key":"' .. key .. '","id":"' .. id .. '","source":' .. cjson.encode(source) .. ',"type":"' .. kind .. '","vm":"' .. uuid .. '","queue":"' .. queue
    .. '","sequence":' .. string.format('%.0f', sequence)
    .. (traceparent and ',"traceparent":"' .. traceparent .. '"' or '') .. ',"name":' .. cjson.encode(name) .. '}'
end

local function put_event(raw)
  local source, id, kind, uuid, queue, sequence, traceparent, name = check(raw)
  local key = event_key(source, id)
  local header = header_of(key, source, id, kind, uuid, queue, sequence, traceparent, name)
  local keys = {PREFIX .. 'vm:' .. uuid, PREFIX .. 'mail:' .. uuid, PREFIX .. 'body:' .. uuid, PREFIX .. 'seen:' .. key,
    PREFIX .. 'queues', PREFIX .. 'parked'}
  local time = redis.call('TIME')
  local nonce = 'fcall.' .. time[1] .. '.' .. time[2]
  local answer = put(keys, {PREFIX, uuid, key, header, raw, kind, queue, nonce, MAILBOX_BYTES})
  if answer[1] == 'duplicate' then return {'duplicate', answer[2] == '' and 'waiting' or 'published'} end
  if answer[1] == 'full' then error({err = 'MAILBOX_FULL ' .. answer[2] .. ' (' .. answer[3] .. ')'}) end
  if answer[1] == 'conflict' then
    local other, vm, number = string.match(answer[2], '^(.-):(.-):(.*)$')
    refused('id', 'that of ' .. other .. ' #' .. number .. ' of VM ' .. vm .. ', of the same source',
      'give each event an id of its own', 'ID_CONFLICT')
  end
  return answer
end

redis.register_function(PUT_NAME, function(_, arguments)
  if #arguments ~= 1 then
    return {err = 'INVALID_EVENT event: give one argument behind the number of keys (FCALL ' .. PUT_NAME .. ' 0 <event JSON>)'}
  end
  local fine, answer = pcall(put_event, arguments[1])
  if fine then return answer end
  return type(answer) == 'table' and answer or {err = tostring(answer)}
end)
