-- wrk -s post.lua URL: POSTs bodies/chat.json (or the file that $BODY names),
-- with the headers that $HDRS names ("k: v;k: v"), and prints what it measured as one
-- line of JSON after the word JSON.  With $KEYS and $TIERS, requests come from so many
-- clients, and ask for so many tiers.
local here = debug.getinfo(1, "S").source:match("@?(.*/)") or ""
local file = assert(io.open(os.getenv("BODY") or here .. "bodies/chat.json", "rb"))

wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-bench-0123456789-0"
file:close()
for name, value in (os.getenv("HDRS") or ""):gmatch("([%w-]+): ?([^;]*)") do
  wrk.headers[name] = value
end

local keys, tiers = tonumber(os.getenv("KEYS")), tonumber(os.getenv("TIERS"))
local some, next_one = {}, 0

local function several()
  next_one = next_one % #some + 1
  return some[next_one]
end

-- In an order that no cache foresees: 1,000 of them, which is more than the nearest ones hold.
function init()
  if not keys then return end
  math.randomseed(1)
  for number = 1, 1000 do
    local bearer = "Bearer sk-bench-0123456789-" .. math.random(0, keys - 1)
    local tier = tiers and "tier" .. math.random(0, tiers - 1) or "mock"
    local body = wrk.body:gsub('"mock"', '"' .. tier .. '"', 1)
    wrk.headers["Authorization"] = bearer
    some[number] = wrk.format(nil, nil, nil, body)
  end
  request = several
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'JSON {"requests":%d,"us":%d,"rps":%.1f,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,' ..
    '"max_ms":%.3f,"err":%d,"non2xx":%d}\n',
    summary.requests, summary.duration, summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(90) / 1000,
    latency:percentile(99) / 1000, latency.max / 1000,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
