// The one inner loop of the CPU kernels: C[R, vectors] = C * keep + A[R, k] B[k, vectors], C held
// in registers.
//
// C enters only at the end: k products are summed on their own first, so a sum over thousands is
// one of partial sums. R rows by up to PANEL / LANES vectors of accumulators hide the latency of
// the multiply-add and use each loaded B vector R times, each broadcast A word once a vector. A is
// addressed by two strides, so a transposed A costs nothing.
#pragma once

#include "common/simd.h"

namespace snakelm::SNAKELM_ISA {

constexpr int ROWS = 6;
constexpr int VECTORS =
    LANES == 16 ? 4 : 2;  // 6 x 4 of 32 registers with AVX-512, 6 x 2 of 16 otherwise
constexpr int PANEL = VECTORS * LANES;
alignas(64) constexpr float ONES[ROWS] = {1, 1, 1, 1, 1, 1};

template <bool PAIRS>
struct Multiply {
  using Word = float;
  SNAKELM_INLINE static Vec step(Word a, const Word* b, Vec sum) {
    return multiply_add(splat(a), load(b), sum);
  }
};

#if defined(__AVX512BF16__)
// A word is two bfloat16, neighbours in k: both products are added, in float, by one instruction.
template <>
struct Multiply<true> {
  using Word = uint32_t;
  SNAKELM_INLINE static Vec step(Word a, const Word* b, Vec sum) {
    __m512i vector;
    std::memcpy(&vector, b, sizeof vector);
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)vector);
  }
};
#endif

// a [R] rows a_row words apart, k words a_step apart; b [k] rows b_step words apart; c [R] rows
// c_row floats apart. keep: null to overwrite C, else what each of its rows is multiplied by first.
template <bool PAIRS, int R, int N, class Word = typename Multiply<PAIRS>::Word>
SNAKELM_INLINE void multiply_fixed(const Word* a, int64_t a_row, int64_t a_step, const Word* b,
                                   int64_t b_step, int k, float* c, int64_t c_row,
                                   const float* keep) {
  Vec sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[r][n] = Vec{};
  }
  // By fours, and with the strides known where this is inlined: counting and addresses are a sixth
  // of the instructions otherwise, and a core that shares its front end has none to spare.
#pragma GCC unroll 4
  for (int i = 0; i < k; ++i, a += a_step, b += b_step) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n)
        sum[r][n] = Multiply<PAIRS>::step(a[r * a_row], b + n * LANES, sum[r][n]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      float* const to = c + r * c_row + n * LANES;
      store(to, keep ? multiply_add(load(to), splat(keep[r]), sum[r][n]) : sum[r][n]);
    }
  }
}

template <bool PAIRS, int R, class Word = typename Multiply<PAIRS>::Word>
SNAKELM_INLINE void multiply(int vectors, const Word* a, int64_t a_row, int64_t a_step,
                             const Word* b, int64_t b_step, int k, float* c, int64_t c_row,
                             const float* keep) {
  switch (vectors) {
    case 1: return multiply_fixed<PAIRS, R, 1>(a, a_row, a_step, b, b_step, k, c, c_row, keep);
    case 2: return multiply_fixed<PAIRS, R, 2>(a, a_row, a_step, b, b_step, k, c, c_row, keep);
    case 3:
      if constexpr (VECTORS > 2)
        return multiply_fixed<PAIRS, R, 3>(a, a_row, a_step, b, b_step, k, c, c_row, keep);
      break;
    case 4:
      if constexpr (VECTORS > 3)
        return multiply_fixed<PAIRS, R, 4>(a, a_row, a_step, b, b_step, k, c, c_row, keep);
      break;
  }
}

}  // namespace snakelm::SNAKELM_ISA
