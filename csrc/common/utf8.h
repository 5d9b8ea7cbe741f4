// A bounded reader of UTF-8 for bytes that may be damaged.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snakelm {

constexpr uint32_t CODE_POINTS = 0x110000;

struct Decoded {
  uint32_t code;   // CODE_POINTS or more for a byte that is not valid UTF-8
  uint8_t length;  // bytes; 1 for such a byte
};

// The character at p < end whose first byte is above 127. Overlong forms and encoded surrogates are
// invalid, and no read passes `end`.
inline Decoded decode_multibyte(const uint8_t* p, const uint8_t* end) {
  const size_t left = static_cast<size_t>(end - p);
  const uint8_t lead = *p;
  const auto follows = [p](size_t i) { return (p[i] & 0xC0) == 0x80; };
  const auto bits = [p](size_t i) { return static_cast<uint32_t>(p[i] & 0x3F); };

  if (lead < 0xE0) {
    if (lead >= 0xC2 && left >= 2 && follows(1)) return {(lead & 0x1Fu) << 6 | bits(1), 2};
  } else if (lead < 0xF0) {
    if (left >= 3 && follows(1) && follows(2)) {
      const uint32_t code = (lead & 0x0Fu) << 12 | bits(1) << 6 | bits(2);
      const bool surrogate = code >= 0xD800 && code < 0xE000;
      if (code >= 0x800 && !surrogate) return {code, 3};
    }
  } else if (lead < 0xF5 && left >= 4 && follows(1) && follows(2) && follows(3)) {
    const uint32_t code = (lead & 0x07u) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3);
    if (code >= 0x10000 && code < CODE_POINTS) return {code, 4};
  }
  return {CODE_POINTS + lead, 1};
}

}  // namespace snakelm
