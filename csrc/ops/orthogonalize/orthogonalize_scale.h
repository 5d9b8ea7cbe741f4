// How a matrix comes to numbers of ordinary size.
#pragma once

#include "common/rows.h"
#include "ops/orthogonalize/orthogonalize.h"

namespace snakelm::SNAKELM_ISA {

// What makes the largest of them less than 1, or 1 where all are zero: a power of two.
inline float scale_of(const BFloat16* x, int64_t count) {
  Vec largest{};
  along(count, [&](int64_t j, auto lanes) {
    const Vec size = (Vec)((WordVec)read(x + j, lanes) & 0x7FFFFFFF);
    largest = maximum(size, largest);  // passes over NaN, which the product keeps
  });
  uint32_t bits;
  const float found = reduce_maximum(largest);
  std::memcpy(&bits, &found, sizeof bits);
  const uint32_t exponent = bits >> 23;  // 2^(exponent - 127) <= found
  const uint32_t inverse = exponent < 4 ? 249 : exponent > 250 ? 3 : 253 - exponent;
  bits = found == 0.0f ? 127u << 23 : inverse << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return scale;
}

}  // namespace snakelm::SNAKELM_ISA
