-- What wrk sends and tells: `wrk ... URL -- METHOD BODY-BYTES [varied | ids ID...]`.
-- The headers are given to wrk itself.

function init(args)
  wrk.method = args[1]
  local length = tonumber(args[2])
  if length > 0 then
    wrk.body = ("x"):rep(length)
  end
  if args[3] == "varied" then
    local number = 0
    request = function()
      number = number + 1
      wrk.headers["X-Request-Id"] = ("%016x"):format(number)
      return wrk.format()
    end
  elseif args[3] == "ids" then
    local requests, turn = {}, 0
    for place = 4, #args do
      wrk.headers["e2b-sandbox-id"] = args[place]
      requests[place - 3] = wrk.format()
    end
    request = function()
      turn = turn % #requests + 1
      return requests[turn]
    end
  end
end

-- One line of JSON, times in microseconds.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration": %d, "bytes": %d, "p50": %d, "p99": %d, "errors": ' ..
    '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status
  ))
end
