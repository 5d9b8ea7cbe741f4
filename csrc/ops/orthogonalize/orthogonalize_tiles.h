// Blocks of 32 x 32 numbers in bfloat16 tiles, as products read them, and the one product. For
// kernels only (common/isa.h).
//
// A word is two neighbouring bfloat16, a tile 16 x 16 words, a block two tiles. A block of M is
// kept in up to three layouts:
//
//   rows      tile h has rows 16 h ...;    word (r, w) = M[r, 2w], M[r, 2w + 1]     left operand
//   turned    each tile of `rows` transposed word by word                           right, of M^T
//   pairs     tile h has columns 16 h ...; word (p, q) = M[2p, q], M[2p + 1, q]     right, of M
//
// The layouts of M^T are those of M: its pairs are M's turned, its turned M's pairs.
#pragma once

#include "common/amx.h"
#include "common/pairs.h"
#include "common/rows.h"
#include "common/squares.h"

namespace snakelm::SNAKELM_ISA {

using Word = uint32_t;
constexpr int64_t SIDE = 32, TILE = 16;
constexpr int64_t TILE_WORDS = TILE * TILE, BLOCK_WORDS = 2 * TILE_WORDS;

// Sums in float: [SIDE, SIDE].
struct alignas(64) Sums {
  float at[SIDE][SIDE];
};

// ---- one layout from another --------------------------------------------------------------------

SNAKELM_INLINE WordVec load_words(const Word* from) {
  WordVec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
SNAKELM_INLINE void store_words(Word* to, WordVec v) { std::memcpy(to, &v, sizeof v); }

// Lane i: low[i] and high[i] as bfloat16, low in the low half.
SNAKELM_INLINE WordVec words_of(Vec low, Vec high) { return pair_of(low, high); }

SNAKELM_INLINE void to_rows(const Sums& sums, Word* block) {
  BFloat16* const to = reinterpret_cast<BFloat16*>(block);
  for (int64_t r = 0; r < SIDE; ++r) {
    for (int64_t q = 0; q < SIDE; q += LANES) store_narrow(load(sums.at[r] + q), to + r * SIDE + q);
  }
}

SNAKELM_INLINE void to_pairs(const Sums& sums, Word* block) {
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t p = 0; p < TILE; ++p) {
      for (int64_t q = 0; q < TILE; q += LANES) {
        const int64_t column = h * TILE + q;
        store_words(block + h * TILE_WORDS + p * TILE + q,
                    words_of(load(sums.at[2 * p] + column), load(sums.at[2 * p + 1] + column)));
      }
    }
  }
}

// Both tiles transposed word by word.
SNAKELM_INLINE void turn(const Word* block, Word* to) {
  for (int64_t tile = 0; tile < BLOCK_WORDS; tile += TILE_WORDS) {
    for (int64_t r = 0; r < TILE; r += LANES) {
      for (int64_t w = 0; w < TILE; w += LANES)
        transpose_square(block + tile + r * TILE + w, TILE, to + tile + w * TILE + r, TILE);
    }
  }
}

// ---- the product --------------------------------------------------------------------------------

#if defined(__AMX_BF16__)

// sums = left right, `blocks` blocks after each other of both. Four sums are held, so that each
// loaded tile is used twice.
SNAKELM_INLINE void multiply_blocks(const Word* left, const Word* right, int64_t blocks,
                                    Sums& sums) {
  constexpr int64_t ROW = 4 * TILE;
  zero_sums();
  for (int64_t i = 0; i < blocks; ++i, left += BLOCK_WORDS, right += BLOCK_WORDS) {
    load_tile<4>(left, ROW), load_tile<6>(right, ROW);
    multiply_tiles<0, 4, 6>();
    load_tile<7>(right + TILE_WORDS, ROW);
    multiply_tiles<1, 4, 7>();
    load_tile<5>(left + TILE_WORDS, ROW);
    multiply_tiles<2, 5, 6>();
    multiply_tiles<3, 5, 7>();
  }
  store_sums(sums.at[0], SIDE);
}

#else

// R rows by the 16 columns of a right tile.
template <int R>
SNAKELM_INLINE void multiply_rows(const Word* left, const Word* right, int64_t blocks, float* to) {
  constexpr int VECTORS = TILE / LANES;
  Vec sum[R][VECTORS];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) sum[r][v] = Vec{};
  }
  for (int64_t i = 0; i < blocks; ++i, left += BLOCK_WORDS, right += BLOCK_WORDS) {
    for (int64_t p = 0; p < TILE; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) {
        const WordVec words = load_words(right + p * TILE + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) sum[r][v] = add_products(left[r * TILE + p], words, sum[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) store(to + r * SIDE + v * LANES, sum[r][v]);
  }
}

SNAKELM_INLINE void multiply_blocks(const Word* left, const Word* right, int64_t blocks,
                                    Sums& sums) {
  constexpr int R = 16;
  for (int64_t r = 0; r < SIDE; r += R) {
    for (int64_t h = 0; h < 2; ++h) {
      multiply_rows<R>(left + r * TILE, right + h * TILE_WORDS, blocks, sums.at[r] + h * TILE);
    }
  }
}

#endif

}  // namespace snakelm::SNAKELM_ISA
