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

namespace snakelm::text {

// Numbers are shared with generate_unicode.py.
enum Class : uint8_t {
  OTHER = 0,
  SPACE = 1,     // \s
  NUMBER = 2,    // \p{N}
  MARK = 3,      // \p{M}
  UPPER = 4,     // \p{Lu} \p{Lt}
  LOWER = 5,     // \p{Ll}
  CASELESS = 6,  // \p{Lm} \p{Lo}
};

extern const uint8_t* const class_of_code_point;  // [0x110000]

inline bool is_letter(Class c) { return c >= UPPER; }
// [^\s\p{L}\p{N}]: marks count as punctuation there.
inline bool is_symbol(Class c) { return c == OTHER || c == MARK; }

struct Char {
  Class kind;
  uint8_t length;  // bytes; 0 only at the end of the text
};

Char read_multibyte(const uint8_t* p, const uint8_t* end);

// The character at p; {OTHER, 0} where p == end.
inline Char read_char(const uint8_t* p, const uint8_t* end) {
  if (p == end) return {OTHER, 0};
  if (*p < 0x80) return {static_cast<Class>(class_of_code_point[*p]), 1};
  return read_multibyte(p, end);
}

}  // namespace snakelm::text
