#!lua name=infinitic_2
-- What the storage asks of a Redis: each function is one atomic step in one bucket.
--
-- A function is given one key, the beginning P of all keys of its bucket, which is itself no key. (So a cluster that is
-- moving the bucket elsewhere refuses the call as a whole, and none is cut short.) Of an instance there are
--   P h:ID      the head: what the compare-and-set compares, what is filtered on; a map as MessagePack
--   P r:ID      the state record, as JSON
--   P t:ID      a list, the turns of its current run (which a client reads itself: here each turn would be copied twice)
--   P f:N:ID    a list, the turns of a former run, its N-th
--   P i:ID      a hash, the inbox: key -> "ordinal:body"
--   P w:ID      a hash, the timers: member (id, run, position) -> the whole row, both as MessagePack
-- and of all instances of the bucket there are sorted sets. In those where all scores are 0 members are in the order
-- of their bytes; a place is the start, newest first, in 8 bytes, and the id.
--   P o:STATUS:WORKFLOW   places; either name may be empty, which stands for all
--   P g:LABEL             places
--   P e                   places by the instant at which they ended
--   P ids                 id, NUL, start
--   P x                   when a finished instance expires, in 8 bytes, id, NUL, start
--   P n:WORKFLOW          fingerprint, NUL, id, of those with something in the inbox
--   P b:WORKFLOW          ids by the instant since when the mark stands where it stands, while it is behind
--   P d:WORKFLOW          timers by the instant from which on they may be claimed
-- In the first bucket, P schema is the version of all this.
-- Strings are never compared by < here: that would go by the server's locale.

local NARROW = 256   -- so many ids with the wanted prefix are all looked at, instead of all instances by start
local MOST = 1000    -- so many instances are looked at in one step
local CHUNK = 1000   -- so many arguments go into one command

-- The clock, in microseconds: this server's unless a caller has its own.
local function now(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function in_chunks(values, write)
  for first = 1, #values, CHUNK do
    write(unpack(values, first, math.min(first + CHUNK - 1, #values)))
  end
end

local function head_of(p, id)
  local packed = redis.call('GET', p .. 'h:' .. id)
  return packed and cmsgpack.unpack(packed)
end

local function write_head(p, id, head)
  redis.call('SET', p .. 'h:' .. id, cmsgpack.pack(head))
end

-- Where a run is among those that are kept, from 1 on.
local function index_of(head, run)
  for index, one in ipairs(head.runs) do
    if one == run then return index end
  end
end

local function turns_key(p, id, head, index)
  if index == #head.runs then return p .. 't:' .. id end
  return string.format('%sf:%d:%s', p, head.first + index - 1, id)
end

------------------------------------------------------------------------------------------------ indexes

-- Sorted set -> member.
local function filed(p, id, head)
  local found, place = {[p .. 'ids'] = id .. '\0' .. head.at}, head.at .. id
  for _, status in ipairs({'', head.status}) do
    for _, workflow in ipairs({'', head.workflow}) do
      found[p .. 'o:' .. status .. ':' .. workflow] = place
    end
  end
  for _, label in ipairs(head.labels) do found[p .. 'g:' .. label] = place end
  if head.ended ~= '0' then found[p .. 'e'] = place end
  if head.expires ~= '' then found[p .. 'x'] = head.expires .. id .. '\0' .. head.at end
  if head.items > 0 then found[p .. 'n:' .. head.workflow] = head.fingerprint .. '\0' .. id end
  return found
end

local function is_filed_alike(old, new)
  return old.at == new.at and old.status == new.status and old.expires == new.expires and old.ended == new.ended
    and (old.items > 0) == (new.items > 0) and (new.items == 0 or old.fingerprint == new.fingerprint)
    and table.concat(old.labels, '\0') == table.concat(new.labels, '\0')
end

local function refile(p, id, old, new)
  if old and is_filed_alike(old, new) then return end
  local before, after = old and filed(p, id, old) or {}, filed(p, id, new)
  for key, member in pairs(before) do
    if after[key] ~= member then redis.call('ZREM', key, member) end
  end
  for key, member in pairs(after) do
    if key == p .. 'e' then
      redis.call('ZADD', key, new.ended, member)
    elseif before[key] ~= member then
      redis.call('ZADD', key, 0, member)
    end
  end
end

-- Moves the mark. One that is behind and does not move keeps its instant.
local function move_mark(p, id, head, run, turns, clock)
  local moved = head.mark_run ~= run or head.mark_turns ~= turns
  local was_behind = head.behind
  head.mark_run, head.mark_turns = run, turns
  if run == head.run and turns == head.turns then
    head.behind = 0
    if was_behind > 0 then redis.call('ZREM', p .. 'b:' .. head.workflow, id) end
  elseif moved or was_behind == 0 then
    head.behind = now(clock)
    redis.call('ZADD', p .. 'b:' .. head.workflow, head.behind, id)
  end
end

------------------------------------------------------------------------------------------------ appending

-- Gives the arguments, one or several at a time.
local function reader(args)
  local at = 0
  local function take()
    at = at + 1
    return args[at]
  end
  local function several(each)
    local found = {}
    for number = 1, take() * (each or 1) do found[number] = take() end
    return found
  end
  return take, several
end

local function begin_run(p, id, head, run)
  local last, key = #head.runs, p .. 't:' .. id
  table.insert(head.runs, run)
  if redis.call('EXISTS', key) == 1 then redis.call('RENAME', key, turns_key(p, id, head, last)) end
end

local function write_turns(p, id, head, take, several)
  local run, bodies = take(), several()
  if not index_of(head, run) then begin_run(p, id, head, run) end
  local key = turns_key(p, id, head, index_of(head, run))
  in_chunks(bodies, function(...) redis.call('RPUSH', key, ...) end)
end

-- Drops the turns of runs that are older than the one before the current, and sent.
local function drop_old_runs(p, id, head)
  local keep = math.min(index_of(head, head.run) - 1, index_of(head, head.mark_run) or 0)
  for _ = 2, keep do
    redis.call('UNLINK', turns_key(p, id, head, 1))
    table.remove(head.runs, 1)
    head.first = head.first + 1
  end
end

local function remove_timers(p, id, head, members)
  in_chunks(members, function(...)
    redis.call('HDEL', p .. 'w:' .. id, ...)
    redis.call('ZREM', p .. 'd:' .. head.workflow, ...)
  end)
end

local function timers_of(p, id, run)
  local found, all = {}, redis.call('HGETALL', p .. 'w:' .. id)
  for at = 1, #all, 2 do
    if cmsgpack.unpack(all[at + 1])[3] == run then table.insert(found, all[at]) end
  end
  return found
end

local function write_timers(p, id, head, several)
  for _, run in ipairs(several()) do remove_timers(p, id, head, timers_of(p, id, run)) end
  remove_timers(p, id, head, several())
  local rows = several(3)
  for at = 1, #rows, 3 do
    local free, member, row = rows[at], rows[at + 1], rows[at + 2]
    redis.call('HSET', p .. 'w:' .. id, member, row)
    redis.call('ZADD', p .. 'd:' .. head.workflow, free, member)
  end
end

local function write_inbox(p, id, head, several)
  local key, removed, added = p .. 'i:' .. id, several(), several(2)
  if #removed + #added == 0 then return end
  in_chunks(removed, function(...) redis.call('HDEL', key, ...) end)
  for at = 1, #added, 2 do
    head.last_item = head.last_item + 1
    redis.call('HSETNX', key, added[at], string.format('%d:', head.last_item) .. added[at + 1])
  end
  head.items = redis.call('HLEN', key)
end

local function write_record(p, id, head, take, several)
  if take() == '0' then return end
  redis.call('SET', p .. 'r:' .. id, take())
  head.at, head.status, head.ended, head.fingerprint, head.labels = take(), take(), take(), take(), several()
end

local function is_at(head, run, turns, inbox)
  return head.run == run and head.turns == turns and head.inbox == inbox
end

local function created(workflow)
  return {workflow = workflow, mark_run = '', mark_turns = '', behind = 0, items = 0, last_item = 0, first = 0, runs = {}}
end

local function check_turns(p, id, head)
  local there = redis.call('LLEN', turns_key(p, id, head, index_of(head, head.run)))
  if there ~= tonumber(head.turns) then
    error({err = string.format('ERR %s has %d turns where its head counts %s: keys were lost', id, there, head.turns)})
  end
end

-- 1 when it was written, 0 when another version is there. Of an append that is sent *again*, because nobody knows
-- whether it arrived, what the first wrote is known by its token.
local function append(keys, args)
  local p = keys[1]
  local take, several = reader(args)
  local id, again, clock, workflow = take(), take(), take(), take()
  local old_run, old_turns, old_inbox = take(), take(), take()
  local run, turns, inbox, token = take(), take(), take(), take()
  local mark_run, mark_turns, expires, changes = take(), take(), take(), take()
  local old = head_of(p, id)
  if not old and old_turns ~= '' then return 0 end
  if old and not is_at(old, old_run, old_turns, old_inbox) then
    return (again == '1' and is_at(old, run, turns, inbox) and old.token == token) and 1 or 0
  end
  local head = old and head_of(p, id) or created(workflow)
  if changes == '1' then
    if old then check_turns(p, id, old) end
    head.run, head.turns, head.inbox, head.token, head.expires = run, turns, inbox, token, expires
    write_record(p, id, head, take, several)
    for _ = 1, take() do write_turns(p, id, head, take, several) end
    if not index_of(head, run) then begin_run(p, id, head, run) end
    write_timers(p, id, head, several)
    write_inbox(p, id, head, several)
  elseif old.mark_run == mark_run and old.mark_turns == mark_turns then
    return 1
  end
  move_mark(p, id, head, mark_run, mark_turns, clock)
  if not old or old.run ~= head.run then drop_old_runs(p, id, head) end
  refile(p, id, old, head)
  write_head(p, id, head)
  return 1
end

------------------------------------------------------------------------------------------------ loading

-- The turns of former runs that the mark has not passed: run, first number, bodies; oldest run first.
local function unsent(p, id, head)
  local found, marked = {}, index_of(head, head.mark_run)
  for index = marked or 1, #head.runs do
    local run = head.runs[index]
    if run ~= head.run then
      local first = index == marked and head.mark_turns or '0'
      table.insert(found, {run, first, redis.call('LRANGE', turns_key(p, id, head, index), first, -1)})
    end
  end
  return found
end

-- All but the turns of the current run.
local function load(keys, args)
  local p, id = keys[1], args[1]
  local head = head_of(p, id)
  if not head then return false end
  return {
    head.workflow, {head.run, head.turns, head.inbox}, {head.mark_run, head.mark_turns}, head.token,
    redis.call('GET', p .. 'r:' .. id),
    head.run == head.mark_run and {} or unsent(p, id, head),
    head.items > 0 and redis.call('HGETALL', p .. 'i:' .. id) or {},
    redis.call('HVALS', p .. 'w:' .. id),
  }
end

local function current_run(keys, args)
  local head = head_of(keys[1], args[1])
  return head and head.run
end

-- The list that holds the turns of a run.
local function where_turns_are(keys, args)
  local p, id, run = keys[1], args[1], args[2]
  local head = head_of(p, id)
  local index = head and index_of(head, run)
  return index and turns_key(p, id, head, index)
end

------------------------------------------------------------------------------------------------ finding

local function begins(text, prefix)
  return string.sub(text, 1, #prefix) == prefix
end

-- Whether the 8 bytes *a* come before the 8 bytes *b*.
local function before(a, b)
  for at = 1, 8 do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x < y end
  end
  return false
end

-- The places that may fit lie behind the first and up to the second.
local function limits(where)
  local newest = where.before == '' and '-' or '(' .. where.before .. '\255'
  return newest, where.since == '' and '+' or '(' .. where.since .. '\255'
end

-- Whether the instance at this place is what is looked for, but for the one sorted set that it was found in.
local function fits(p, at, id, where, found_in)
  local place = at .. id
  if not begins(id, where.prefix) then return false end
  if where.since ~= '' and before(where.since, at) then return false end
  if where.before ~= '' and not before(where.before, at) then return false end
  for _, key in ipairs(where.sets) do
    if key ~= found_in and not redis.call('ZSCORE', key, place) then return false end
  end
  if where.first == '' then return true end
  local ended = tonumber(redis.call('ZSCORE', p .. 'e', place))
  return ended and ended >= tonumber(where.first) and ended <= tonumber(where.last)
end

-- The filter. Its *sets* hold places, all of which must have what fits; that with the fewest is the first.
local function where_of(p, take, several)
  local workflow, status = take(), take()
  local where = {since = take(), before = take(), prefix = take(), first = take(), last = take(), sets = {}}
  for _, label in ipairs(several()) do table.insert(where.sets, p .. 'g:' .. label) end
  if #where.sets == 0 or workflow .. status ~= '' then
    table.insert(where.sets, p .. 'o:' .. status .. ':' .. workflow)
  end
  if #where.sets > 1 then
    local sizes = {}
    for _, key in ipairs(where.sets) do sizes[key] = redis.call('ZCARD', key) end
    table.sort(where.sets, function(a, b) return sizes[a] < sizes[b] end)
  end
  return where
end

local function ids_range(where)
  return '[' .. where.prefix, '(' .. where.prefix .. '\255'
end

-- Calls *each* with what is in the sorted set *key* after *from*, until that says that it is enough, or many were looked
-- at. Up to where was looked, '' at the end.
local function scan(key, from, to, limit, each)
  local looked = 0
  repeat
    local members = redis.call('ZRANGEBYLEX', key, from, to, 'LIMIT', 0, limit)
    for _, member in ipairs(members) do
      if each(member) then return member end
    end
    looked = looked + #members
    if #members < limit then return '' end
    from = '(' .. members[limit]
  until looked >= MOST
  return string.sub(from, 2)
end

-- Calls *each* with place and id of all that fits after the place *from*, by start.
local function scan_places(p, from, where, limit, each)
  local key, newest, oldest = where.sets[1], limits(where)
  if #where.sets > 1 or where.prefix .. where.first ~= '' then limit = math.max(limit, 50) end
  return scan(key, from == '' and newest or '(' .. from, oldest, limit, function(place)
    local at, id = string.sub(place, 1, 8), string.sub(place, 9)
    return fits(p, at, id, where, key) and each(place, id)
  end)
end

-- The places that have the wanted prefix, or ended in the wanted time, in any order; nothing when they are many.
local function few(p, where)
  local first, last = ids_range(where)
  local found = {}
  if where.prefix ~= '' and redis.call('ZLEXCOUNT', p .. 'ids', first, last) <= NARROW then
    for _, member in ipairs(redis.call('ZRANGEBYLEX', p .. 'ids', first, last)) do
      table.insert(found, string.sub(member, -8) .. string.sub(member, 1, -10))
    end
    return found
  end
  if where.first ~= '' and redis.call('ZCOUNT', p .. 'e', where.first, where.last) <= NARROW then
    return redis.call('ZRANGEBYSCORE', p .. 'e', where.first, where.last)
  end
end

-- Calls *each* with all that fits, in any order and from the first on, where few ids or ends do. Whether few do.
local function scan_few(p, where, each)
  local places = few(p, where)
  for _, place in ipairs(places or {}) do
    local at, id = string.sub(place, 1, 8), string.sub(place, 9)
    if fits(p, at, id, where) then each(place, id) end
  end
  return places ~= nil
end

-- (place up to which was looked, place, record, place, record ...); of very many in no order the records are left out.
local function find(keys, args)
  local p, take, several = keys[1], reader(args)
  local from, limit, where = take(), tonumber(take()), where_of(p, take, several)
  local found = {''}
  local function add(place, id)
    table.insert(found, place)
    table.insert(found, #found > 2 * limit and '' or redis.call('GET', p .. 'r:' .. id))
    return #found > 2 * limit
  end
  if not scan_few(p, where, add) then found[1] = scan_places(p, from, where, limit, add) end
  return found
end

-- How many, where one sorted set tells: by its size, and by nothing else that is asked.
local function told(p, where)
  local timed, key = where.since .. where.before ~= '', where.sets[1]
  local all = key == p .. 'o::' and not timed
  if #where.sets > 1 then return nil end
  if where.prefix .. where.first == '' then return redis.call('ZLEXCOUNT', key, limits(where)) end
  if all and where.first == '' then return redis.call('ZLEXCOUNT', p .. 'ids', ids_range(where)) end
  if all and where.prefix == '' then return redis.call('ZCOUNT', p .. 'e', where.first, where.last) end
end

local function count(keys, args)
  local p, take, several = keys[1], reader(args)
  local from, where = take(), where_of(p, take, several)
  local total = told(p, where)
  if total then return {'', total} end
  total = 0
  local function add() total = total + 1 end
  if from == '' and scan_few(p, where, add) then return {'', total} end
  return {scan_places(p, from, where, MOST, add), total}
end

-- (expiry up to which was looked, expiry, id, record, run, turns, inbox, behind, expiry ...)
local function ended(keys, args)
  local p, take, several = keys[1], reader(args)
  local from, limit, where = take(), tonumber(take()), where_of(p, take, several)
  local found = {''}
  found[1] = scan(p .. 'x', from == '' and '-' or '(' .. from, '+', math.max(limit, 50), function(member)
    local id, at = string.sub(member, 9, -10), string.sub(member, -8)
    if not fits(p, at, id, where) then return false end
    local head, record = head_of(p, id), redis.call('GET', p .. 'r:' .. id)
    local behind = head.behind > 0 and 1 or 0
    for _, one in ipairs({member, id, record, head.run, head.turns, head.inbox, behind}) do
      table.insert(found, one)
    end
    return #found > 7 * limit
  end)
  return found
end

local function remove(keys, args)
  local p, id = keys[1], args[1]
  local head = head_of(p, id)
  if not head or not is_at(head, args[2], args[3], args[4]) or head.expires == '' or head.behind > 0 then return 0 end
  for key, member in pairs(filed(p, id, head)) do redis.call('ZREM', key, member) end
  remove_timers(p, id, head, redis.call('HKEYS', p .. 'w:' .. id))
  for index in ipairs(head.runs) do redis.call('UNLINK', turns_key(p, id, head, index)) end
  redis.call('UNLINK', p .. 'h:' .. id, p .. 'r:' .. id, p .. 'i:' .. id)
  return 1
end

------------------------------------------------------------------------------------------------ sweeps

-- The clock, then the rows of timers that are due and free, *limit* of each workflow at most.
local function due(keys, args)
  local p, take, several = keys[1], reader(args)
  local clock, ahead, limit, workflows = now(take()), take(), take(), several()
  local found, last = {string.format('%.0f', clock)}, string.format('%.0f', clock + ahead)
  for _, workflow in ipairs(workflows) do
    local key, start, most = p .. 'd:' .. workflow, '0', #found + limit
    repeat
      local members = redis.call('ZRANGEBYSCORE', key, '-inf', last, 'LIMIT', start, limit)
      for _, member in ipairs(members) do
        local row = redis.call('HGET', p .. 'w:' .. cmsgpack.unpack(member)[1], member)
        if cmsgpack.unpack(row)[7] <= clock and #found < most then table.insert(found, row) end
      end
      start = start + limit
    until #members < tonumber(limit) or #found >= most
  end
  return found
end

-- Replaces the row of each timer that is still as it was seen: workflow, id, member, row, claimed row, claimed until.
local function claim(keys, args)
  local p, won = keys[1], {}
  for at = 1, #args, 6 do
    local workflow, id, member, row, claimed, free = unpack(args, at, at + 5)
    if redis.call('HGET', p .. 'w:' .. id, member) == row then
      redis.call('HSET', p .. 'w:' .. id, member, claimed)
      redis.call('ZADD', p .. 'd:' .. workflow, free, member)
      table.insert(won, 1)
    else
      table.insert(won, 0)
    end
  end
  return won
end

-- (workflow, id) of instances with something in the inbox that other code could not continue, or a mark behind. What
-- somebody suspended ('~') is none of these.
local function offers(keys, args)
  local p, behind, limit, found = keys[1], args[1], args[2], {}
  for at = 3, #args, 2 do
    local workflow, mine = args[at], args[at + 1]
    local key = p .. 'n:' .. workflow
    for _, range in ipairs({{'-', '(' .. mine .. '\0'}, {'[' .. mine .. '\1', '(~'}}) do
      for _, member in ipairs(redis.call('ZRANGEBYLEX', key, range[1], range[2], 'LIMIT', 0, limit)) do
        table.insert(found, {workflow, string.sub(member, string.find(member, '\0', 1, true) + 1)})
      end
    end
    local late = redis.call('ZRANGEBYSCORE', p .. 'b:' .. workflow, '-inf', '(' .. behind, 'LIMIT', 0, limit)
    for _, id in ipairs(late) do table.insert(found, {workflow, id}) end
  end
  return found
end

------------------------------------------------------------------------------------------------ versions

-- Notes the next version of what the namespace holds, unless somebody did.
local function advance(keys, args)
  local key = keys[1] .. 'schema'
  if (redis.call('GET', key) or '0') == args[1] then redis.call('SET', key, args[2]) end
  return 1
end

-- From version 1 to 2: the *tags* of an instance become *labels*, and its end is noted. 0 when its record is another by
-- now.
local function label(keys, args)
  local p, take, several = keys[1], reader(args)
  local id, record, finished, labels = take(), take(), take(), several()
  local head = head_of(p, id)
  if not head or not head.tags then return 1 end
  if redis.call('GET', p .. 'r:' .. id) ~= record then return 0 end
  for _, tag in ipairs(head.tags) do redis.call('ZREM', p .. 'g:' .. tag, head.at .. id) end
  head.tags, head.ended, head.labels = nil, finished, labels
  for key, member in pairs(filed(p, id, head)) do
    redis.call('ZADD', key, key == p .. 'e' and finished or 0, member)
  end
  write_head(p, id, head)
  return 1
end

local function register(name, callback, ...)
  redis.register_function({function_name = 'infinitic_2_' .. name, callback = callback, flags = {...}})
end

register('append', append)
register('advance', advance)
register('label', label)
register('claim', claim)
register('remove', remove, 'allow-oom')
register('load', load, 'no-writes')
register('run', current_run, 'no-writes')
register('where', where_turns_are, 'no-writes')
register('find', find, 'no-writes')
register('count', count, 'no-writes')
register('ended', ended, 'no-writes')
register('due', due, 'no-writes')
register('offers', offers, 'no-writes')
