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
  const uint8_t lead = *p;
  const Decoded invalid{CODE_POINTS + lead, 1};
  const size_t left = static_cast<size_t>(end - p);
  uint32_t code = 0;
  uint8_t length = 0;
  uint32_t least = 0;  // smallest code point that needs this length: below it the form is overlong
  if (lead >= 0xC2 && lead < 0xE0) {
    code = lead & 0x1F, length = 2, least = 0x80;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    code = lead & 0x0F, length = 3, least = 0x800;
  } else if (lead >= 0xF0 && lead < 0xF5) {
    code = lead & 0x07, length = 4, least = 0x10000;
  } else {
    return invalid;
  }

  if (left < length) return invalid;
  for (uint8_t i = 1; i < length; ++i) {
    if ((p[i] & 0xC0) != 0x80) return invalid;
    code = code << 6 | (p[i] & 0x3F);
  }

  const bool surrogate = code >= 0xD800 && code < 0xE000;
  return code < least || code >= CODE_POINTS || surrogate ? invalid : Decoded{code, length};
}

}  // namespace snakelm
