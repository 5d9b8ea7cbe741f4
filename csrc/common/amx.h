// AMX: eight tiles of sixteen rows of 64 bytes, and their one product,
//
//   C[16, 16] (float) += A[16, 32] (bfloat16) B[32, 16] (bfloat16)
//
// A lies by rows. B's rows hold pairs: word (i, n) is B[2i, n] and B[2i + 1, n]. Inline assembly,
// since GCC's intrinsics don't say which memory they touch.
#pragma once

#include "common/simd.h"

namespace snakelm::SNAKELM_ISA {

#if defined(__AMX_BF16__)

// Full tiles while it lives; one at a time on a thread. Released at the end: other code on the same
// thread (oneDNN) sets shapes of its own.
class FullTiles {
 public:
  FullTiles() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shapes;
    for (int i = 0; i < 8; ++i) shapes.row_bytes[i] = 64, shapes.rows[i] = 16;
    asm volatile("ldtilecfg %0" : : "m"(shapes));
  }
  ~FullTiles() { asm volatile("tilerelease"); }
  FullTiles(const FullTiles&) = delete;
  FullTiles& operator=(const FullTiles&) = delete;
};

// `row`: bytes from one of the sixteen rows to the next; 0 repeats one row.
template <int TILE>
SNAKELM_INLINE void load_tile(const void* from, int64_t row) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row), "i"(TILE) : "memory");
}
template <int TILE>
SNAKELM_INLINE void store_tile(void* to, int64_t row) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row), "i"(TILE) : "memory");
}
template <int TILE>
SNAKELM_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(TILE));
}
template <int C, int A, int B>
SNAKELM_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

// The sums of a product two by two tiles wide, 32 rows of 32 floats `row` floats apart: tiles 0
// to 3.
SNAKELM_INLINE void load_sums(const float* from, int64_t row) {
  load_tile<0>(from, row * 4), load_tile<1>(from + 16, row * 4);
  load_tile<2>(from + 16 * row, row * 4), load_tile<3>(from + 16 * row + 16, row * 4);
}
SNAKELM_INLINE void store_sums(float* to, int64_t row) {
  store_tile<0>(to, row * 4), store_tile<1>(to + 16, row * 4);
  store_tile<2>(to + 16 * row, row * 4), store_tile<3>(to + 16 * row + 16, row * 4);
}
SNAKELM_INLINE void zero_sums() { zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>(); }

#else

struct FullTiles {
  FullTiles() {}  // so that one that is only held is no unused variable
};

#endif

}  // namespace snakelm::SNAKELM_ISA
