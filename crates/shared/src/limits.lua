-- Counts limits, on the server's clock, many questions in one call: see `call.rs`, which writes the questions and
-- reads the answers. The same arithmetic is in Rust in `steadfast-core`'s `limit/`, where it is explained; a test holds
-- the two against each other. All numbers are whole and in microseconds, which a double holds exactly to 2^53.
--
-- KEYS      the keys of all parts of all questions, in their order
-- ARGV[1]   the questions: verb, number of parts, and each part
-- ARGV[2]   what time it is, in tests only: what is kept then outlives its time by an hour of the server's clock

if redis.replicate_commands then redis.replicate_commands() end
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local pack, unpack_at = struct.pack, struct.unpack

local now
if ARGV[2] then
  now = tonumber(ARGV[2])
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local TOKEN_BUCKET, LEAKY_BUCKET, FIXED, SLIDING = 0, 1, 2, 3
local TAKE, CHARGE, GIVE_BACK, LOOK, FORGET = 0, 1, 2, 3, 4
local MONTH, DAY = -1, 86400000000
local MONTH_LENGTH = 30 * DAY
local SLOTS = 8
local TOKENS_MAX = 2 ^ 50

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

-- A bucket: what is missing from it in tokens, in parts of one, and as of when.
local bucket = { bytes = 24 }

function bucket.new() return { 0, 0, 0 } end
function bucket.read(text)
  local tokens, parts, at = unpack_at('<ddd', text)
  return { tokens, parts, at }
end
function bucket.write(state) return pack('<ddd', state[1], state[2], state[3]) end

function bucket.length(quota)
  return quota.period == MONTH and MONTH_LENGTH or quota.period
end
function bucket.debt(state, quota)
  local length = bucket.length(quota)
  return state[1] * length + min(state[2], length - 1)
end
function bucket.enter(state, quota)
  local elapsed = max(now - state[3], 0)
  state[3] = max(state[3], now)
  local length = bucket.length(quota)
  local left = bucket.debt(state, quota) - elapsed * quota.count
  if left <= 0 then
    state[1], state[2] = 0, 0
  else
    state[1] = floor(left / length)
    state[2] = left - state[1] * length
  end
end
function bucket.ask(state, quota, cost, wait_max)
  local length = bucket.length(quota)
  local room = max(quota.burst - state[1] - (state[2] > 0 and 1 or 0), 0)
  local needed = max(cost, 1)
  if needed > quota.burst then return false, room, -1, 0 end
  local debt = bucket.debt(state, quota)
  if needed > room then
    return false, room, ceil((debt + (needed - quota.burst) * length) / quota.count), 0
  end
  local wait = quota.algorithm == LEAKY_BUCKET and ceil(debt / quota.count) or 0
  if wait > wait_max then return false, room, wait - wait_max, 0 end
  return true, room - min(cost, room), ceil((debt + cost * length) / quota.count), wait
end
function bucket.charge(state, _, cost)
  state[1] = min(state[1] + cost, TOKENS_MAX)
end
function bucket.give_back(state, _, cost)
  if cost > state[1] then state[2] = 0 end
  state[1] = max(state[1] - cost, 0)
end
function bucket.idle_in(state, quota)
  local debt = bucket.debt(state, quota)
  return debt > 0 and state[3] - now + ceil(debt / quota.count) or 0
end

-- A window of the clock: what was used in it, and when it began.
local fixed = { bytes = 16 }

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
local sliding = { bytes = 40 }

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
  return ceil(bucket.length(quota) / (SLOTS - 1))
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

local kinds = { [TOKEN_BUCKET] = bucket, [LEAKY_BUCKET] = bucket, [FIXED] = fixed, [SLIDING] = sliding }

-- A key that several questions name is read once, and written once at the end.
local texts = redis.call('MGET', unpack(KEYS))
local held = {}

local function state_of(index, quota)
  local name = KEYS[index]
  local kind = kinds[quota.algorithm]
  local found = held[name]
  if not found or found.kind ~= kind then
    local text = not found and texts[index]
    -- What was counted in another way is of another length, and means nothing.
    local state = text and #text == kind.bytes and kind.read(text) or kind.new()
    local is_other = text and #text ~= kind.bytes
    found = { kind = kind, state = state, was_there = text or found and found.was_there, is_other = is_other }
    held[name] = found
  end
  found.quota = quota
  kind.enter(found.state, quota)
  return found
end

local answers, count = {}, 0
local questions, at, index = ARGV[1], 1, 0
while at <= #questions do
  local verb, parts
  verb, parts, at = unpack_at('<dd', questions, at)
  local asked, may_go = {}, true
  for part = 1, parts do
    local algorithm, much, period, burst, cost, wait_max, enforced
    algorithm, much, period, burst, cost, wait_max, enforced, at = unpack_at('<ddddddd', questions, at)
    index = index + 1
    local quota = { algorithm = algorithm, count = much, period = period, burst = burst }
    local found = state_of(index, quota)
    local kind = found.kind
    if verb == TAKE or verb == LOOK or verb == FORGET then
      local allowed, remaining, time, wait = kind.ask(found.state, quota, cost, wait_max)
      if not allowed and enforced == 1 then may_go = false end
      asked[part] = { found, quota, cost, allowed }
      count = count + 1
      answers[count] = pack('<dddd', allowed and 1 or 0, remaining, time, wait)
      if verb == FORGET then
        found.state, found.is_changed = kind.new(), true
        kind.enter(found.state, quota)
      end
    elseif found.is_other then
      -- It is counted in another way since: what was asked in this one means nothing to it.
    elseif verb == CHARGE then
      kind.charge(found.state, quota, cost)
      found.is_changed = true
    else
      kind.give_back(found.state, quota, cost)
      found.is_changed = true
    end
  end
  if verb == TAKE and may_go then
    for part = 1, parts do
      local found, quota, cost, allowed = unpack(asked[part])
      if allowed and cost > 0 then
        found.kind.charge(found.state, quota, cost)
        found.is_changed = true
      end
    end
  end
end

for name, found in pairs(held) do
  if found.is_changed then
    local idle_in = found.kind.idle_in(found.state, found.quota)
    if idle_in > 0 then
      local spare = ARGV[2] and 3600000 or 0
      redis.call('SET', name, found.kind.write(found.state), 'PX', ceil(idle_in / 1000) + 1 + spare)
    elseif found.was_there then
      redis.call('DEL', name)
    end
  end
end
return table.concat(answers)
