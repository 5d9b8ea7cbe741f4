// Squares of LANES by LANES words of 32 bits, of whatever type, transposed in registers. For
// kernels only (common/isa.h).
#pragma once

#include "common/simd.h"

namespace snakelm::SNAKELM_ISA {

// One step of an in-register transposition: rows `STEP` apart exchange blocks of STEP lanes.
template <int STEP, size_t... I>
SNAKELM_INLINE void transpose_step(WordVec* rows, std::index_sequence<I...>) {
#pragma GCC unroll 16
  for (int i = 0; i < LANES; ++i) {
    if (i & STEP) continue;
    const WordVec low = rows[i], high = rows[i + STEP];
    rows[i] = shuffle(low, high, std::index_sequence<((I & STEP) ? LANES + I - STEP : I)...>{});
    rows[i + STEP] =
        shuffle(low, high, std::index_sequence<((I & STEP) ? LANES + I : I + STEP)...>{});
  }
}

// rows[i][j] <-> rows[j][i], LANES x LANES words of 32 bits.
template <int STEP = LANES / 2>
SNAKELM_INLINE void transpose(WordVec* rows) {
  if constexpr (STEP > 0) {
    transpose_step<STEP>(rows, std::make_index_sequence<LANES>{});
    transpose<STEP / 2>(rows);
  }
}

// Rows of a square lie `row` words apart in memory.
template <class Word>
SNAKELM_INLINE void load_square(WordVec* rows, const Word* from, int64_t row) {
  static_assert(sizeof(Word) == sizeof(WordVec) / LANES);
#pragma GCC unroll 16
  for (int i = 0; i < LANES; ++i) std::memcpy(&rows[i], from + i * row, sizeof rows[i]);
}

template <class Word>
SNAKELM_INLINE void store_square(const WordVec* rows, Word* to, int64_t row) {
  static_assert(sizeof(Word) == sizeof(WordVec) / LANES);
#pragma GCC unroll 16
  for (int i = 0; i < LANES; ++i) std::memcpy(to + i * row, &rows[i], sizeof rows[i]);
}

// to[j][i] = from[i][j].
template <class Word>
SNAKELM_INLINE void transpose_square(const Word* from, int64_t row, Word* to, int64_t to_row) {
  WordVec rows[LANES];
  load_square(rows, from, row);
  transpose(rows);
  store_square(rows, to, to_row);
}

}  // namespace snakelm::SNAKELM_ISA
