-- Counts limits, on the server's clock, many questions in one call: see `call.rs`, which writes the questions and
-- reads the answers. The same arithmetic is in Rust in `steadfast-core`'s `limit/`, where it is explained; a test holds
-- the two against each other. All numbers are whole and in microseconds, which a double holds exactly to 2^53.
--
-- KEYS      the keys that are asked for, each once
-- ARGV[1]   numbers: how many quotas there are; each of them; and the questions: verb, number of parts, and each part,
--           which names its key and its quota by their numbers
-- ARGV[2]   what time it is, in tests only: what is kept then outlives its time by an hour of the server's clock
--
-- It is written to make little: to call commands, to make tables and functions and to read numbers one by one would be
-- most of what a request costs the server.

if redis.replicate_commands then redis.replicate_commands() end
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local pack, unpack_at = struct.pack, struct.unpack
local call, rep = redis.call, string.rep

local now
if ARGV[2] then
  now = tonumber(ARGV[2])
else
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local TOKEN_BUCKET, LEAKY_BUCKET, FIXED, SLIDING = 0, 1, 2, 3
local TAKE, CHARGE, GIVE_BACK, LOOK, FORGET, TAKE_ALONE = 0, 1, 2, 3, 4, 5
local MONTH, DAY = -1, 86400000000
local MONTH_LENGTH = 30 * DAY
local SLOTS = 8
local TOKENS_MAX = 2 ^ 50
-- How many numbers are unpacked or packed in one go: all of them lie on Lua's stack, which has 8,000 places.
local TOGETHER = 2000

-- A bucket: what is missing from it in tokens, in parts of one, and as of when. Last what is missing in parts, which is
-- not kept.
local bucket = { bytes = 32 }

function bucket.new() return { 0, 0, 0, 0 } end
function bucket.read(text)
  local tokens, parts, at = unpack_at('<ddd', text)
  return { tokens, parts, at, 0 }
end
function bucket.write(state) return pack('<ddd', state[1], state[2], state[3]) end

-- The same now; and what is missing in parts.
local function drained(tokens, parts, at, quota)
  local length, elapsed = quota.length, now - at
  if parts >= length then parts = length - 1 end
  local debt = tokens * length + parts
  if elapsed > 0 then
    at = now
    debt = debt - elapsed * quota.count
  end
  if debt <= 0 then return 0, 0, at, 0 end
  tokens = floor(debt / length)
  return tokens, debt - tokens * length, at, debt
end
-- What it says to a cost: whether it may go, what is left then, when all is back or when it may go, how long it waits.
local function said_by(tokens, parts, debt, quota, cost, wait_max)
  local length, burst, count = quota.length, quota.burst, quota.count
  local room, needed = burst - tokens, cost
  if parts > 0 then room = room - 1 end
  if room < 0 then room = 0 end
  if needed < 1 then needed = 1 end
  if needed > burst then return false, room, -1, 0 end
  if needed > room then return false, room, ceil((debt + (needed - burst) * length) / count), 0 end
  local wait = 0
  if quota.algorithm == LEAKY_BUCKET then
    wait = ceil(debt / count)
    if wait > wait_max then return false, room, wait - wait_max, 0 end
  end
  return true, room - cost, ceil((debt + cost * length) / count), wait
end
function bucket.enter(state, quota)
  state[1], state[2], state[3], state[4] = drained(state[1], state[2], state[3], quota)
end
function bucket.ask(state, quota, cost, wait_max)
  return said_by(state[1], state[2], state[4], quota, cost, wait_max)
end
function bucket.charge(state, _, cost)
  local tokens = state[1] + cost
  state[1] = tokens < TOKENS_MAX and tokens or TOKENS_MAX
end
function bucket.give_back(state, _, cost)
  if cost > state[1] then state[2] = 0 end
  state[1] = max(state[1] - cost, 0)
end
function bucket.idle_in(state, quota)
  local debt = state[1] * quota.length + state[2]
  return debt > 0 and state[3] - now + ceil(debt / quota.count) or 0
end

-- Windows are made only where somebody asks for one: to make a function costs more than to run it.
local function windows()
  -- A month as a period: when the one of now began, and when it ends.
  local function first_day_of(year, month)
    if month <= 2 then year = year - 1 end
    local from_march = month > 2 and month - 3 or month + 9
    local era = floor(year / 400)
    local of_era = year - era * 400
    local day = floor((153 * from_march + 2) / 5)
    return era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + day - 719468
  end

  local function month_around()
    local day = floor(now / DAY) + 719468
    local era = floor(day / 146097)
    local of_era = day - era * 146097
    local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
    local from_march = floor((5 * of_year + 2) / 153)
    local month = from_march < 10 and from_march + 3 or from_march - 9
    year = year + era * 400
    if month <= 2 then year = year + 1 end
    local next_year, next_month = year, month + 1
    if month == 12 then next_year, next_month = year + 1, 1 end
    return first_day_of(year, month) * DAY, first_day_of(next_year, next_month) * DAY
  end

  -- A window of the clock: what was used in it, and when it began.
  local fixed = { bytes = 24 }

  function fixed.new() return { 0, 0, 0 } end
  function fixed.read(text)
    local used, began = unpack_at('<dd', text)
    return { used, began, 0 }
  end
  function fixed.write(state) return pack('<dd', state[1], state[2]) end

  function fixed.enter(state, quota)
    local began, ends
    if quota.period == MONTH then
      began, ends = month_around()
    else
      began = now - now % quota.period
      ends = began + quota.period
    end
    if began > state[2] then state[1], state[2] = 0, began end
    state[3] = ends
  end
  function fixed.ask(state, quota, cost)
    local room = max(quota.count - state[1], 0)
    local reset = max(state[3] - now, 0)
    local needed = max(cost, 1)
    if needed > room then return false, room, needed <= quota.count and reset or -1, 0 end
    return true, room - min(cost, room), reset, 0
  end
  function fixed.charge(state, _, cost) state[1] = state[1] + cost end
  function fixed.give_back(state, _, cost) state[1] = max(state[1] - cost, 0) end
  function fixed.idle_in(state) return state[1] > 0 and state[3] - now or 0 end

  -- A window that slides: when its newest slot began, and what was used in each of them, the newest first.
  local sliding = { bytes = 48 }

  function sliding.new() return { began = 0, 0, 0, 0, 0, 0, 0, 0, 0 } end
  function sliding.read(text)
    local began, a, b, c, d, e, f, g, h = unpack_at('<dI4I4I4I4I4I4I4I4', text)
    return { began = began, a, b, c, d, e, f, g, h }
  end
  function sliding.write(state)
    return pack('<dI4I4I4I4I4I4I4I4', state.began, state[1], state[2], state[3], state[4], state[5], state[6], state[7],
      state[8])
  end

  local function slot_length(quota)
    return ceil(quota.length / (SLOTS - 1))
  end
  -- By how much a count is divided so that it fits a slot.
  local function unit_of(quota)
    local unit = 1
    while quota.count / unit >= 2 ^ 30 do unit = unit * 2 end
    return unit
  end
  function sliding.enter(state, quota)
    local slot = slot_length(quota)
    local began = now - now % slot
    if began > state.began then
      local gone = min(floor((began - state.began) / slot), SLOTS)
      for age = SLOTS, gone + 1, -1 do state[age] = state[age - gone] end
      for age = 1, gone do state[age] = 0 end
      state.began = began
    end
  end
  function sliding.ask(state, quota, cost)
    local slot, unit = slot_length(quota), unit_of(quota)
    local count, used = floor(quota.count / unit), 0
    for age = 1, SLOTS do used = used + state[age] end
    local room = max(count - used, 0)
    local needed = ceil(max(cost, 1) / unit)
    if needed > count then return false, room * unit, -1, 0 end
    if needed > room then
      local left = used
      for age = SLOTS, 1, -1 do
        left = left - state[age]
        if left + needed <= count then
          return false, room * unit, max(state.began + (SLOTS - age + 1) * slot - now, 0), 0
        end
      end
    end
    return true, max(room * unit - cost, 0), max(state.began + SLOTS * slot - now, 0), 0
  end
  function sliding.charge(state, quota, cost)
    state[1] = min(state[1] + ceil(cost / unit_of(quota)), 2 ^ 32 - 1)
  end
  function sliding.give_back(state, quota, cost)
    local left = ceil(cost / unit_of(quota))
    for age = 1, SLOTS do
      local given = min(left, state[age])
      state[age] = state[age] - given
      left = left - given
    end
  end
  function sliding.idle_in(state, quota)
    for age = 1, SLOTS do
      if state[age] > 0 then return state.began + SLOTS * slot_length(quota) - now end
    end
    return 0
  end

  return { [FIXED] = fixed, [SLIDING] = sliding }
end

local kinds = { [TOKEN_BUCKET] = bucket, [LEAKY_BUCKET] = bucket }

local text, numbers = ARGV[1], {}
for from = 1, #text, TOGETHER * 8 do
  local many = min(TOGETHER, (#text - from + 1) / 8)
  local some = { unpack_at('<' .. rep('d', many), text, from) }
  if many * 8 == #text then
    numbers = some
  else
    for at = 1, many do numbers[#numbers + 1] = some[at] end
  end
end

local quotas, at = {}, 2
for number = 1, numbers[1] do
  local algorithm, period = numbers[at], numbers[at + 2]
  if not kinds[algorithm] then
    local more = windows()
    kinds[FIXED], kinds[SLIDING] = more[FIXED], more[SLIDING]
  end
  quotas[number] = {
    kind = kinds[algorithm], algorithm = algorithm, count = numbers[at + 1], period = period, burst = numbers[at + 3],
    length = period == MONTH and MONTH_LENGTH or period,
  }
  at = at + 4
end

-- What is known of each key, by its number: a key that several questions name is read once, and written once at the end.
local texts = call('MGET', unpack(KEYS))
local states, last_quotas, is_other, is_changed, ends_of = {}, {}, {}, {}, {}

local function state_of(key, quota)
  local state, last, kind = states[key], last_quotas[key], quota.kind
  if not state then
    local text = texts[key]
    -- What was counted in another way is of another length, and means nothing.
    if text and #text == kind.bytes then
      state, ends_of[key] = kind.read(text), unpack_at('<d', text, kind.bytes - 7)
    else
      state, is_other[key] = kind.new(), text
    end
    states[key] = state
  elseif last.kind ~= kind then
    state, is_other[key] = kind.new(), false
    states[key], is_changed[key], ends_of[key] = state, false, nil
  end
  last_quotas[key] = quota
  kind.enter(state, quota)
  return state
end

local spare = ARGV[2] and 3600000 or 0
-- Writes a state, which says nothing any more after `idle_in`. The key lives a second or a quarter longer than that, and
-- says at its end until when: so most writes change some bytes in place, which costs the server half as much. Its own end
-- is two milliseconds later than what it says, because the server counts from the beginning of the call, in whole ones.
local function keep(key, state, idle_in, ends)
  if ends and ends >= now + idle_in then
    call('SETRANGE', KEYS[key], '0', state)
  else
    local time = idle_in + max(floor(idle_in / 4), 1000000)
    call('SET', KEYS[key], state .. pack('<d', now + time), 'PX', ceil(time / 1000) + 2 + spare)
  end
end

local answers, said, allows = {}, 0, {}

-- Takes from one bucket, for which no other question of the call asks: nothing has to be remembered of it.
local function take_alone(key, quota, cost, wait_max)
  local text, tokens, parts, at, ends, debt = texts[key], 0, 0, 0, nil, 0
  if text and #text == bucket.bytes then tokens, parts, at, ends = unpack_at('<dddd', text) end
  tokens, parts, at, debt = drained(tokens, parts, at, quota)
  local allowed, remaining, time, wait = said_by(tokens, parts, debt, quota, cost, wait_max)
  if allowed and cost > 0 then
    tokens = tokens + cost
    if tokens > TOKENS_MAX then tokens = TOKENS_MAX end
    keep(key, pack('<ddd', tokens, parts, at), at - now + time, ends)
  end
  answers[said + 1] = allowed and 1 or 0
  answers[said + 2], answers[said + 3], answers[said + 4] = remaining, time, wait
  said = said + 4
end

local total = #text / 8
while at <= total do
  local verb, parts, first = numbers[at], numbers[at + 1], at + 2
  at = first + parts * 5
  if verb == TAKE_ALONE then
    take_alone(numbers[first], quotas[numbers[first + 1]], numbers[first + 2], numbers[first + 3])
  elseif verb == CHARGE or verb == GIVE_BACK then
    for part = first, at - 1, 5 do
      local key, quota, cost = numbers[part], quotas[numbers[part + 1]], numbers[part + 2]
      local state = state_of(key, quota)
      -- Where it is counted in another way since, what was asked in this one means nothing to it.
      if not is_other[key] then
        is_changed[key] = true
        if verb == CHARGE then
          quota.kind.charge(state, quota, cost)
        else
          quota.kind.give_back(state, quota, cost)
        end
      end
    end
  else
    local may_go = verb == TAKE
    for part = first, at - 1, 5 do
      local key, quota = numbers[part], quotas[numbers[part + 1]]
      local state, kind = state_of(key, quota), quota.kind
      local allowed, remaining, time, wait = kind.ask(state, quota, numbers[part + 2], numbers[part + 3])
      allows[part] = allowed
      if not allowed and numbers[part + 4] == 1 then may_go = false end
      answers[said + 1] = allowed and 1 or 0
      answers[said + 2], answers[said + 3], answers[said + 4] = remaining, time, wait
      said = said + 4
      if verb == FORGET then
        state = kind.new()
        states[key], is_changed[key] = state, true
        kind.enter(state, quota)
      end
    end
    if may_go then
      for part = first, at - 1, 5 do
        local key, cost = numbers[part], numbers[part + 2]
        if allows[part] and cost > 0 then
          local quota = quotas[numbers[part + 1]]
          quota.kind.charge(states[key], quota, cost)
          is_changed[key] = true
        end
      end
    end
  end
end

for key = 1, #KEYS do
  if is_changed[key] then
    local state, quota = states[key], last_quotas[key]
    local idle_in = quota.kind.idle_in(state, quota)
    if idle_in > 0 then
      keep(key, quota.kind.write(state), idle_in, ends_of[key])
    elseif texts[key] then
      call('DEL', KEYS[key])
    end
  end
end

if said <= TOGETHER then return pack('<' .. rep('d', said), unpack(answers)) end
local packed = {}
for from = 1, said, TOGETHER do
  local to = min(from + TOGETHER - 1, said)
  packed[#packed + 1] = pack('<' .. rep('d', to - from + 1), unpack(answers, from, to))
end
return table.concat(packed)
