-- What the scripts share: it stands in front of each of them (`configdrive.client.scripts`).

local MOST_DEAD_LETTERS = 10000

local function clock()  -- Redis' own, in ms
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether a VM is still theirs who have claimed or held it. The epoch alone does not tell: a Redis that lost its newest
-- writes hands an epoch out twice.
local function is_theirs(vm, epoch, owner)
  local known = redis.call('HMGET', vm, 'epoch', 'owner')
  return known[1] == epoch and known[2] == owner
end

local function give_back(vm, owner)  -- who asks again (a reply was lost) is known by `ended`
  redis.call('HDEL', vm, 'owner', 'until', 'lease')
  redis.call('HSET', vm, 'ended', owner)
end

-- Forget what was about to be done with a VM, those of `arguments` from `first` to `last`: whoever has the VM has looked there.
-- Not when somebody who had lost it has noted since that it may have done just that: then the VM is verified.
local function looked_at(prefix, uuid, arguments, first, last)
  if first > last or redis.call('HEXISTS', prefix .. 'vm:' .. uuid, 'late') == 1 then return end
  redis.call('SREM', prefix .. 'intents:' .. uuid, unpack(arguments, first, last))
end

-- Let a VM be forgotten after a while of which nothing is to be remembered: neither a state nor what was about to be done.
local function may_vanish(prefix, uuid, seconds)
  local vm = prefix .. 'vm:' .. uuid
  local kept = redis.call('HMGET', vm, 'state', 'gone')
  if (kept[2] or not kept[1]) and redis.call('EXISTS', prefix .. 'intents:' .. uuid) == 0 then
    redis.call('EXPIRE', vm, seconds)
  else
    redis.call('PERSIST', vm)
  end
end

-- When a VM's lease ("until", as long as "lease" says) or back-off ("retry_at", "delay") ends; 0 when it has none. One that
-- is longer than it was made to be was made before the clock was set back, and is cut to its length.
local function end_of(vm, name, length, now)
  local known = redis.call('HMGET', vm, name, length)
  local ends, most = tonumber(known[1] or 0) or 0, tonumber(known[2] or '')
  if not most or ends <= now + most then return ends end
  redis.call('HSET', vm, name, now + most)
  return now + most
end

local function read(text)  -- {} when it is no header: a stranger has written to our keys
  local readable, found = pcall(cjson.decode, text or '')
  return readable and type(found) == 'table' and found or {}
end

local function is_text(value, pattern, most)
  return type(value) == 'string' and #value <= most and string.match(value, pattern) ~= nil
end

local function is_header(header, uuid)
  return header.vm == uuid and is_text(header.key, '^[A-Za-z0-9_%-]+$', 22) and #header.key == 22
    and is_text(header.id, '^[A-Za-z0-9][A-Za-z0-9%._:@%+=~%-]*$', 128) and is_text(header.source, '^[^%c]+$', 1020)
    and is_text(header.type, '^[a-z_]+$', 64) and is_text(header.queue, '^configdrive%.[A-Za-z0-9%._%-]+$', 200)
    and type(header.sequence) == 'number' and header.sequence >= 0 and header.sequence <= 9007199254740991
    and header.sequence % 1 == 0
end

-- What a header says, as strings: whatever else a stranger has written beside it, Python reads it as well.
local function fields_of(header)
  local trace = is_text(header.traceparent, '^[%x%-]+$', 64) and header.traceparent or ''
  return header.key, header.id, header.source, header.type, header.queue, string.format('%.0f', header.sequence), trace
end

-- What tells another event under the same key. Sealing makes every byte of two events differ, but not type, VM and sequence
-- of one that comes again.
local function content_of(header)
  return header.type .. ':' .. header.vm .. ':' .. string.format('%.0f', header.sequence)
end

local function content_in(outcome)  -- as `Outcome.to_json` writes it; "" when it says none
  local kind, vm, sequence = string.match(outcome, '"event_type":"([^"]*)","vm_uuid":"([^"]*)","sequence":(%d+),')
  return kind and kind .. ':' .. vm .. ':' .. sequence or ''
end

-- What is remembered of an event by its key (`seen:<key>`): the nonce of the call that stored it (nil: nothing is known),
-- its content, and its outcome so far ("" while it waits).
local function seen_of(key)
  local nonce, content, outcome = string.match(redis.call('GET', key) or '', '^(%S+) (%S+) (.*)$')
  if content == '=' then content = content_in(outcome) end
  return nonce, content, outcome
end

-- The same to be written; "=" stands for a content that the outcome says, as millions of these may be kept. Where nothing
-- was known any more, no call is the one that stored it.
local function seen_as(nonce, header, outcome)
  local content = content_of(header)
  return (nonce or '-') .. ' ' .. (content_in(outcome) == content and '=' or content) .. ' ' .. outcome
end

local function dead_letter(prefix, letter)
  redis.call('LPUSH', prefix .. 'dead', letter)
  redis.call('LTRIM', prefix .. 'dead', 0, MOST_DEAD_LETTERS - 1)
end

-- The VM's next event, as a table and as it stands. What lies before it and is no header, or has no body, goes to the dead
-- letters: PUT stores both at once, so it is a stranger's, and might be for a queue that no worker takes anything from.
local function head_of(prefix, uuid)
  local mail, body = prefix .. 'mail:' .. uuid, prefix .. 'body:' .. uuid
  while true do
    local text = redis.call('LINDEX', mail, 0)
    if not text then return nil end
    local header = read(text)
    local reason = 'not a header'
    if is_header(header, uuid) then
      if redis.call('HEXISTS', body, header.key) == 1 then return header, text end
      reason = 'a header without an event'
    end
    redis.call('LPOP', mail)
    dead_letter(prefix, cjson.encode({at = clock() / 1000, origin = 'mailbox', reason = reason, vm_uuid = uuid}))
  end
end

-- What waits for a VM, in bytes (`vm`, field `bytes`): those of its headers and bodies. What strangers wrote is not counted.
local function taken_out(vm, mail, body, header, key)
  if redis.call('LLEN', mail) == 0 then
    redis.call('HDEL', vm, 'bytes')
  else
    redis.call('HINCRBY', vm, 'bytes', -#header - redis.call('HSTRLEN', body, key))
  end
  redis.call('HDEL', body, key)
end

-- Whether an event makes the head pointless: a newer one that only takes away, of whatever is not the same or more.
local function supersedes(header, head)
  if header.sequence <= head.sequence or head.type == 'destroy' then return false end
  return header.type == 'destroy' or header.type == 'stop' and head.type ~= 'stop'
end

-- The first that supersedes the head, as it stands; those from the `first` on are looked at.
local function successor_of(mail, head, first)
  for _, text in ipairs(redis.call('LRANGE', mail, first, -1)) do
    if string.find(text, '"type":"destroy"', 1, true) or string.find(text, '"type":"stop"', 1, true) then
      local header = read(text)
      if is_header(header, head.vm) and supersedes(header, head) then return text end
    end
  end
  return nil
end

-- Messages. A Celery message on Redis is JSON in a list: no program is needed to send one. Each of a queue has a number
-- (`queue:<queue>`, field `sent`), and until a worker comes with it, its subject stands under that number in a sorted set:
-- a VM in `wakeups:<queue>`, a host in `questions:<queue>`. So each has one message on its way at most.
-- `more` is shown to people behind the arguments, and is none.
local function send(prefix, queue, flags, subject, task, id, arguments, retries, more)
  if redis.call('ZSCORE', prefix .. flags .. queue, subject) then return false end
  local number = redis.call('HINCRBY', prefix .. 'queue:' .. queue, 'sent', 1)
  redis.call('ZADD', prefix .. flags .. queue, number, subject)
  local shown = {}  -- what Flower shows of the arguments
  for index, value in ipairs(arguments) do shown[index] = type(value) == 'number' and value or "'" .. value .. "'" end
  if more then shown[#shown + 1] = "'" .. string.gsub(more, "[\\']", '\\%0') .. "'" end
  arguments[#arguments + 1] = number
  local null = cjson.null
  redis.call('LPUSH', prefix .. queue, cjson.encode({
    body = cjson.encode({arguments, {}, {callbacks = null, errbacks = null, chain = null, chord = null}}),
    ['content-type'] = 'application/json',
    ['content-encoding'] = 'utf-8',
    headers = {
      lang = 'lua', task = task, id = id, root_id = id, parent_id = null, group = null, retries = retries, eta = null,
      expires = null, timelimit = {null, null}, argsrepr = '(' .. table.concat(shown, ', ') .. ')', kwargsrepr = '{}', origin = 'redis', ignore_result = true,
    },
    properties = {
      delivery_tag = queue .. ':' .. number, delivery_mode = 2, priority = 0,
      delivery_info = {exchange = '', routing_key = queue},
    },
  }))
  return true
end

-- The task of an event is called after its type (`tasks.wakeup`), of which a stranger may have written any.
local TYPES = {deploy = 1, start = 1, stop = 1, migrate = 1, password_reset = 1, update = 1, destroy = 1}

-- Wake a worker for a VM's next event, which begins its `attempt`-th time. False when one will be woken already.
local function wake(prefix, uuid, header, attempt)
  local task = 'configdrive.' .. (TYPES[header.type] and header.type or 'lifecycle')
  return send(prefix, header.queue, 'wakeups:', uuid, task, header.key,
    {header.type, uuid, tonumber(attempt)}, attempt - 1, is_text(header.name, '^[^%c]+$', 1020) and header.name)
end

-- Wake a worker for the event that is a VM's next one now; a VM without any may be forgotten.
local function wake_next(prefix, vm, uuid, seconds)
  local head = head_of(prefix, uuid)
  if not head then return may_vanish(prefix, uuid, seconds) end
  redis.call('HSET', vm, 'queue', head.queue)
  wake(prefix, uuid, head, 1)
end

-- Note that a worker has come with a message. One that was overtaken by a newer one leaves that one's mark.
local function arrived(prefix, queue, flags, subject, number)
  local mark = redis.call('ZSCORE', prefix .. flags .. queue, subject)
  if mark and tonumber(mark) <= number then redis.call('ZREM', prefix .. flags .. queue, subject) end
  local known = redis.call('HMGET', prefix .. 'queue:' .. queue, 'sent', 'taken')
  local taken = math.min(number, tonumber(known[1] or 0))  -- a stranger's number is no larger than ours
  if taken > tonumber(known[2] or 0) then redis.call('HSET', prefix .. 'queue:' .. queue, 'taken', taken) end
end

