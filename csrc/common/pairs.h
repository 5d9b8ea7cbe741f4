// Products of words that are two neighbouring bfloat16, where there are no tiles for them. For
// kernels only (common/isa.h).
#pragma once

#include "common/simd.h"

namespace snakelm::SNAKELM_ISA {

// sum + left right, words of two bfloat16: both products of each lane.
SNAKELM_INLINE Vec add_products(uint32_t left, WordVec right, Vec sum) {
#if defined(__AVX512BF16__)
  return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(left)),
                               (__m512bh)right);
#else
  const WordVec words = left - WordVec{};
  sum = multiply_add((Vec)(words << 16), (Vec)(right << 16), sum);
  return multiply_add((Vec)(words & 0xFFFF0000u), (Vec)(right & 0xFFFF0000u), sum);
#endif
}

}  // namespace snakelm::SNAKELM_ISA
