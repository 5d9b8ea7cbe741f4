// Character classes of the split patterns and a bounded UTF-8 reader.
//
// Decisions
// - One flat byte table over all code points (1.1 MB, expanded from the generated runs at load,
// ~0.2 ms): a class is
//   one load, and only the cache lines of scripts that occur are ever touched.
// - Bytes that are not valid UTF-8 (overlong forms and encoded surrogates included) are one "other"
// character each,
//   like punctuation. So arbitrary bytes encode and decode back unchanged, and no read passes
//   `end`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/utf8.h"
#include "text/char_class.h"

namespace snakelm::text {

inline bool is_letter(Class c) { return c >= UPPER; }
// [^\s\p{L}\p{N}]: marks count as punctuation there.
inline bool is_symbol(Class c) { return c == OTHER || c == MARK; }

struct Char {
  Class kind;
  uint8_t length;  // bytes; 0 only at the end of the text
};

// The character at p; {OTHER, 0} where p == end.
inline Char read_char(const uint8_t* p, const uint8_t* end) {
  if (p == end) return {OTHER, 0};
  if (*p < 0x80) return {static_cast<Class>(class_of_code_point[*p]), 1};
  const Decoded c = decode_multibyte(p, end);
  return {c.code < CODE_POINTS ? static_cast<Class>(class_of_code_point[c.code]) : OTHER, c.length};
}

}  // namespace snakelm::text
