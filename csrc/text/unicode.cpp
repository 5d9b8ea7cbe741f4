// Expansion of the generated class runs, and the non-ASCII half of the UTF-8 reader.
#include "text/unicode.h"

#include <cstring>
#include <iterator>

namespace snakelm::text {
namespace {

constexpr uint32_t CODE_POINTS = 0x110000;
constexpr uint32_t RUNS[] = {
#include "text/unicode_ranges.h"
};

uint8_t storage[CODE_POINTS];

const uint8_t* expand() {
  for (size_t i = 0; i < std::size(RUNS); ++i) {
    const uint32_t first = RUNS[i] >> 3;
    const uint32_t last = i + 1 < std::size(RUNS) ? RUNS[i + 1] >> 3 : CODE_POINTS;
    std::memset(storage + first, static_cast<int>(RUNS[i] & 7), last - first);
  }
  return storage;
}

bool is_continuation(uint8_t b) { return (b & 0xC0) == 0x80; }

}  // namespace

const uint8_t* const class_of_code_point = expand();

Char read_multibyte(const uint8_t* p, const uint8_t* end) {
  constexpr Char invalid{OTHER, 1};
  const uint8_t lead = *p;
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
    if (!is_continuation(p[i])) return invalid;
    code = code << 6 | (p[i] & 0x3F);
  }

  const bool surrogate = code >= 0xD800 && code < 0xE000;
  if (code < least || code >= CODE_POINTS || surrogate) return invalid;
  return {static_cast<Class>(class_of_code_point[code]), length};
}

}  // namespace snakelm::text
