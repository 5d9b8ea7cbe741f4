// The classes of characters that the split patterns tell apart. Apart from unicode.h because the
// splitting kernels may include no inline functions (common/isa.h).
#pragma once

#include <cstdint>

namespace snakelm::text {

// Numbers are shared with generate_unicode.py. Letters come last.
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

}  // namespace snakelm::text
