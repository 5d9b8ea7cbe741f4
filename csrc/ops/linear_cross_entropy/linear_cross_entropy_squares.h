// What both passes share on AMX's tiles (common/amx.h): packing and the two products of
//
//   logits[f, m] = <fixed_f, streamed_m>        sums[f, c] += sum_m terms[f, m] streamed_mc
//
// Rows of one matrix are fixed, those of the other stream by, STREAMED at a time. All that a
// product reads lies in tiles of consecutive kilobytes, in the order in which it is read: rows that
// are a power of two apart would fight for the same lines of the cache. A square, 32 x 32 numbers,
// is two tiles of bfloat16 or four of floats; 32 fixed rows are a strip.
//
//   fixed   [F / 32][C / 32]  by rows                        left of the logits
//   across  [M / 32][C / 32]  transposed word by word        right of the logits
//   pairs   [C / 32][M / 32]  two rows to a row of words     right of the sums
//   terms   [M / 32]          by rows, of one strip          left of the sums
//   sums    [F / 32][C / 32]  floats
//
// One strip and its terms stay in the first-level cache, all else in the second: for F = 512 and
// C = 256 these are 256, 128, 128, 16 and 512 KB.
#pragma once

#include "common/amx.h"
#include "common/squares.h"
#include "common/workspace.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_row.h"

namespace snakelm::SNAKELM_ISA {

#if defined(__AMX_BF16__)

constexpr int64_t SIDE = 32, TILE = 256;  // of a square; words or floats of a tile
constexpr int64_t STREAMED = 256, MOST_SQUARES = STREAMED / SIDE;

// A product of squares, a step of 32 summed numbers after the other: tiles 0 to 3 have the sums.
struct SquareProduct {
  const uint32_t *left, *right;
  float* to;
  int64_t done, steps;

  SNAKELM_INLINE void advance(int64_t until) {
    for (; done < until; ++done, left += 2 * TILE, right += 2 * TILE) {
      load_tile<6>(right, 64), load_tile<4>(left, 64);
      multiply_tiles<0, 4, 6>();
      load_tile<7>(right + TILE, 64);
      multiply_tiles<1, 4, 7>();
      load_tile<5>(left + TILE, 64);
      multiply_tiles<2, 5, 6>();
      multiply_tiles<3, 5, 7>();
    }
  }
  SNAKELM_INLINE void load() const {
    load_tile<0>(to, 64), load_tile<1>(to + TILE, 64);
    load_tile<2>(to + 2 * TILE, 64), load_tile<3>(to + 3 * TILE, 64);
  }
  SNAKELM_INLINE void store() const {
    store_tile<0>(to, 64), store_tile<1>(to + TILE, 64);
    store_tile<2>(to + 2 * TILE, 64), store_tile<3>(to + 3 * TILE, 64);
  }
};

// W: of the tensor weight; x is bfloat16.
template <class W>
struct Squares {
  using X = BFloat16;
  using Word = uint32_t;

  const int64_t width, strips, steps;  // steps: C / 32, at least one
  Word *fixed, *across, *pairs, *staged, *terms;
  float *logits, *sums;  // logits: two squares

  static size_t bytes(int64_t width, int64_t count) {
    const int64_t strips = strips_of(count), steps = steps_of(width);
    const int64_t squares = strips * steps + 2 * MOST_SQUARES * steps + MOST_SQUARES;
    return (squares * 2 + (strips * steps + 2) * 4) * TILE * 4 + SIDE * steps * 64 + 7 * 64;
  }

  Squares(Workspace& memory, int64_t width, int64_t count)
      : width(width), strips(strips_of(count)), steps(steps_of(width)),
        fixed(memory.take<Word>(strips * steps * 2 * TILE)),
        across(memory.take<Word>(MOST_SQUARES * steps * 2 * TILE)),
        pairs(memory.take<Word>(MOST_SQUARES * steps * 2 * TILE)),
        staged(memory.take<Word>(SIDE * steps * 16)),
        terms(memory.take<Word>(MOST_SQUARES * 2 * TILE)), logits(memory.take<float>(8 * TILE)),
        sums(memory.take<float>(strips * steps * 4 * TILE)) {
    std::memset(sums, 0, strips * steps * 4 * TILE * sizeof(float));
  }

  static int64_t strips_of(int64_t count) { return (count + SIDE - 1) / SIDE; }
  static int64_t steps_of(int64_t width) { return width ? (width + SIDE - 1) / SIDE : 1; }

  // ---- packing ------------------------------------------------------------------------------

  // `n` of the chosen rows from `at` on, as SIDE rows of bfloat16 with zeros around them.
  void stage(const Chosen& from, int64_t at, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      BFloat16* const to = reinterpret_cast<BFloat16*>(staged + i * steps * 16);
      if (from.as_x) {
        copy_row(row<X>(from.rows, from.at(at + i)), to);
      } else {
        copy_row(row<W>(from.rows, from.at(at + i)), to);
      }
      if (width < steps * SIDE)
        std::memset(to + width, 0, (steps * SIDE - width) * sizeof(BFloat16));
    }
    if (n < SIDE) std::memset(staged + n * steps * 16, 0, (SIDE - n) * steps * 64);
  }
  template <class From>
  SNAKELM_INLINE void copy_row(const From* from, BFloat16* to) const {
    if constexpr (sizeof(From) == sizeof(BFloat16)) {
      if (width) std::memcpy(to, from, width * sizeof(From));  // no row has an address then
    } else {
      along(width, [&](int64_t c, auto lanes) { write(read(from + c, lanes), to + c, lanes); });
    }
  }
  SNAKELM_INLINE WordVec staged_words(int64_t i, int64_t step) const {
    WordVec words;
    std::memcpy(&words, staged + (i * steps + step) * 16, sizeof words);
    return words;
  }

  void pack_fixed(const Chosen& from, int64_t first, int64_t count) const {
    for (int64_t strip = 0; strip < strips; ++strip) {
      const int64_t left = count - strip * SIDE;
      stage(from, first + strip * SIDE, left < SIDE ? left : SIDE);
      for (int64_t step = 0; step < steps; ++step) {
        Word* const to = fixed + (strip * steps + step) * 2 * TILE;
        for (int64_t i = 0; i < SIDE; ++i) {
          const WordVec words = staged_words(i, step);
          std::memcpy(to + i * 16, &words, sizeof words);
        }
      }
    }
  }

  // The next n <= STREAMED rows; `both`: for the sums too.
  void pack_streamed(const Chosen& from, int64_t at, int64_t n, bool both) const {
    for (int64_t m = 0; m < n; m += SIDE) {
      stage(from, at + m, n - m < SIDE ? n - m : SIDE);
      for (int64_t step = 0; step < steps; ++step) {
        turn(step, across + (m / SIDE * steps + step) * 2 * TILE);
        if (both) pair(step, pairs + (step * MOST_SQUARES + m / SIDE) * 2 * TILE);
      }
    }
  }
  SNAKELM_INLINE void turn(int64_t step, Word* to) const {
    for (int64_t half = 0; half < 2; ++half, to += TILE) {
      WordVec words[LANES];
#pragma GCC unroll 16
      for (int i = 0; i < LANES; ++i) words[i] = staged_words(half * 16 + i, step);
      transpose(words);
      store_square(words, to, 16);
    }
  }
  SNAKELM_INLINE void pair(int64_t step, Word* to) const {
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int64_t i = 0; i < SIDE; i += 2) {
      const Word* const even = staged + (i * steps + step) * 16;
      const Word* const odd = even + steps * 16;
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even) + half);
        const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd) + half);
        const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        const __m512i words = _mm512_permutexvar_epi16(order, both);
        std::memcpy(to + half * TILE + i / 2 * 16, &words, sizeof words);
      }
    }
  }

  // Part i of `parts` of the rows that are to be packed next, into the second-level cache.
  void fetch(const Chosen& from, int64_t at, int64_t end, int64_t i, int64_t parts) const {
    const int64_t n = end - at < STREAMED ? end - at : STREAMED;
    if (n <= 0) return;
    const int64_t bytes = width * (from.as_x ? sizeof(X) : sizeof(W));
    for (int64_t r = i * n / parts; r < (i + 1) * n / parts; ++r) {
      const int64_t chosen = from.at(at + r);
      const char* const line = from.as_x ? reinterpret_cast<const char*>(row<X>(from.rows, chosen))
                                         : reinterpret_cast<const char*>(row<W>(from.rows, chosen));
      for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(line + b, 0, 2);
    }
  }

  // ---- products -----------------------------------------------------------------------------

  SNAKELM_INLINE SquareProduct product(int64_t strip, int64_t square, float* to) const {
    return {fixed + strip * steps * 2 * TILE, across + square * steps * 2 * TILE, to, 0, steps};
  }

  SNAKELM_INLINE void add_sums(int64_t strip, int64_t squares) const {
    for (int64_t step = 0; step < steps; ++step) {
      SquareProduct product{terms, pairs + step * MOST_SQUARES * 2 * TILE,
                            sums + (strip * steps + step) * 4 * TILE, 0, squares};
      product.load();
      product.advance(squares);
      product.store();
    }
  }

  // ---- rows of squares ----------------------------------------------------------------------

  // Row f of a square of floats: LANES numbers, the others a tile further.
  SNAKELM_INLINE static float* row_of(float* square, int64_t f) {
    return square + f / 16 * 2 * TILE + f % 16 * 16;
  }
  SNAKELM_INLINE const float* sums_of(int64_t f, int64_t c) const {
    float* const square = sums + (f / SIDE * steps + c / SIDE) * 4 * TILE;
    return row_of(square, f % SIDE) + c % SIDE / 16 * TILE;
  }
  SNAKELM_INLINE BFloat16* terms_of(int64_t square, int64_t f) const {
    return reinterpret_cast<BFloat16*>(terms + square * 2 * TILE + f * 16);
  }
  SNAKELM_INLINE void store_terms(int64_t square, int64_t f, Vec low, Vec high) const {
    const __m512bh both = _mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    std::memcpy(terms_of(square, f), &both, sizeof both);
  }

  // Row f of a strip's sums, and of the terms that are to be added to them.
  void scale_row(int64_t strip, int64_t f, int64_t squares, Vec by) const {
    for (int64_t step = 0; step < steps; ++step) {
      float* const at = row_of(sums + (strip * steps + step) * 4 * TILE, f);
      store(at, load(at) * by), store(at + TILE, load(at + TILE) * by);
    }
    for (int64_t square = 0; square < squares; ++square) {
      BFloat16* const at = terms_of(square, f);
      store_terms(square, f, load_wide(at) * by, load_wide(at + LANES) * by);
    }
  }
};

#endif

}  // namespace snakelm::SNAKELM_ISA
