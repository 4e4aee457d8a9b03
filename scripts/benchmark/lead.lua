-- The load: POST requests with ordinary leads, each with a unique key.
-- wrk -s lead.lua URL -- SEED PATH [body]   (`body`: put the key into the body too, for peers without a header for it)

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local format, random = string.format, math.random
local count, head, key_in_body = 0, nil, false

function init(args)
  math.randomseed(tonumber(args[1]) * 64 + number)
  random()
  key_in_body = args[3] == "body"
  head = "POST " .. args[2] .. " HTTP/1.1\r\n"
    .. "Host: leads.example\r\n"
    .. "User-Agent: lead-sender/1.0\r\n"
    .. "Accept: */*\r\n"
    .. "Content-Type: application/json\r\n"
end

local function word()
  return format("%08x", random(0, 0xffffffff))
end

function request()
  count = count + 1
  -- 64 characters, like a SHA-256; random first, so that no index receives them in order.
  local key = word() .. word() .. word() .. word() .. word() .. word() .. format("%04x%012x", number, count)
  local person = random(1, 9999999)
  local body = format(
    '{"click_id":"%s","country":"LV","creo":"banner-%d","description":"Interested in trading, call after work",'
      .. '"domain":"landing-%d.example.com","email":"user%d@example.com","firstName":"John","ip":"192.168.%d.%d",'
      .. '"lang":"lv","lastName":"Doe","marker":"Pureshka","offer":"Baltic Capital Native","phone":"+371%08d",'
      .. '"sourcetype":"web"%s}',
    word() .. word(), person % 40, person % 300, person, person % 256, person % 251, person,
    key_in_body and ',"idempotency_key":"' .. key .. '"' or ""
  )
  return head
    .. "Idempotency-Key: " .. key .. "\r\n"
    .. "X-Request-Id: " .. word() .. word() .. "\r\n"
    .. "Content-Length: " .. #body .. "\r\n\r\n"
    .. body
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(format(
    'RESULT {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"worst_ms":%.3f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
