// What a tensor's numbers are, and rows of them: how the pointwise operators are handed memory.
#pragma once

#include <cstdint>

namespace snakelm {

enum class Element : int { float32 = 0, bfloat16 = 1 };

// Rows of dense numbers, `row` elements apart.
struct Rows {
  const void* data = nullptr;
  int64_t row = 0;
};

}  // namespace snakelm
