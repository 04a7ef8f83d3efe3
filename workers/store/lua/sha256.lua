-- SHA-256 (FIPS 180-4), and the key of an event: Redis' own Lua has SHA-1 only.

local ROUNDS = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
local BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

-- The digest's eight words.
local function sha256(text)
  -- Here, as there is no `bit` yet when a library is loaded.
  local band, bnot, bxor, ror, shr, tobit = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit
  local state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
  local padded = text .. '\128' .. string.rep('\0', (55 - #text) % 64) .. '\0\0\0\0'
  for shift = 24, 0, -8 do padded = padded .. string.char(band(shr(#text * 8, shift), 255)) end
  local words = {}
  for start = 1, #padded, 64 do
    for index = 1, 16 do
      local a, b, c, d = string.byte(padded, start + 4 * index - 4, start + 4 * index - 1)
      words[index] = tobit(a * 0x1000000 + b * 0x10000 + c * 0x100 + d)
    end
    for index = 17, 64 do
      local x, y = words[index - 15], words[index - 2]
      words[index] = tobit(words[index - 16] + bxor(ror(x, 7), ror(x, 18), shr(x, 3))
        + words[index - 7] + bxor(ror(y, 17), ror(y, 19), shr(y, 10)))
    end
    local a, b, c, d, e, f, g, h = unpack(state)
    for index = 1, 64 do
      local first = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g))
        + ROUNDS[index] + words[index]
      local second = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + first), c, b, a, tobit(first + second)
    end
    for index, word in ipairs({a, b, c, d, e, f, g, h}) do state[index] = tobit(state[index] + word) end
  end
  return state
end

-- The first 22 characters of the digest's base64url (`configdrive.contract.event_key`).
local function event_key(source, id)
  local key, state = '', sha256(source .. '\n' .. id)
  for index = 0, 21 do
    local digit = 0
    for place = 6 * index, 6 * index + 5 do
      digit = 2 * digit + bit.band(bit.rshift(state[math.floor(place / 32) + 1], 31 - place % 32), 1)
    end
    key = key .. string.sub(BASE64URL, digit + 1, digit + 1)
  end
  return key
end

