// Gradients of weights on one CPU core, for any vector width; compiled once for each instruction
// set (common/isa.h).
//
// A word is two bfloat16, neighbours along N. A step is 32 of N, a square 32 x 32 of the result:
//
//   left   [R / 32][steps][32][16]   word (r, p) of a step = g[2p, r], g[2p + 1, r]
//   right  [C / 32][steps][16][32]   word (p, c) of a step = x[2p, c], x[2p + 1, c]
//
// Zeros beyond every edge. DEPTH of N at a time, so that a strip of `left` stays in the first-level
// cache while `right` passes by from the second, and squares are read and written once for each.
#include "ops/weight_gradients/weight_gradients.h"

#include "common/amx.h"
#include "common/pairs.h"
#include "common/rows.h"
#include "common/workspace.h"

namespace snakelm::SNAKELM_ISA {

using Word = uint32_t;
constexpr int64_t SIDE = 32, PAIRS = SIDE / 2, STEP_WORDS = SIDE * PAIRS;
constexpr int64_t DEPTH = 512, STEPS = DEPTH / SIDE, STRIP_WORDS = STEPS * STEP_WORDS;
static_assert(BLOCK_ROWS % SIDE == 0 && BLOCK_COLUMNS % SIDE == 0);

// A square of bfloat16 [32, 32], rows `row` apart.
struct Square {
  const BFloat16* at;
  int64_t row;
};

// Rows [n, n + 32) and columns [c, c + 32) of a matrix that ends at `rows` and `columns`; through
// `spare` [32, 32], with zeros, where it ends before.
SNAKELM_INLINE Square square_of(const Rows& from, int64_t n, int64_t rows, int64_t c,
                                int64_t columns, BFloat16* spare) {
  const BFloat16* const at = row<BFloat16>(from, n) + c;
  if (n + SIDE <= rows && c + SIDE <= columns) return {at, from.row};
  const int64_t height = rows - n < SIDE ? rows - n : SIDE;
  const int64_t width = columns - c < SIDE ? columns - c : SIDE;
  std::memset(spare, 0, SIDE * SIDE * sizeof(BFloat16));
  for (int64_t i = 0; i < height; ++i)
    std::memcpy(spare + i * SIDE, at + i * from.row, width * sizeof(BFloat16));
  return {spare, SIDE};
}

#if defined(__AVX512BW__)

SNAKELM_INLINE __m512i eight_of_four_rows(const BFloat16* from, int64_t row) {
  const auto eight = [&](int64_t i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * row));
  };
  __m512i v = _mm512_castsi128_si512(eight(0));
  v = _mm512_mask_broadcast_i32x4(v, 0x00F0, eight(8));
  v = _mm512_mask_broadcast_i32x4(v, 0x0F00, eight(16));
  return _mm512_mask_broadcast_i32x4(v, 0xF000, eight(24));
}

// One step of `left`: the square transposed, eight of its columns at a time. Loads put rows n,
// n + 8, n + 16 and n + 24 side by side, so that three interleavings within lanes do the rest.
inline void pack_left(Square from, Word* to) {
  for (int64_t r = 0; r < SIDE; r += 8, to += 8 * PAIRS) {
    __m512i a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) a[i] = eight_of_four_rows(from.at + i * from.row + r, from.row);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // b[i]: r 0 to 3; b[4 + i]: r 4 to 7
      b[i] = _mm512_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
      b[4 + i] = _mm512_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {  // a[i], a[i + 1]: r i and i + 1; a[i + 2], a[i + 3]: the next
      a[i] = _mm512_unpacklo_epi32(b[i], b[i + 1]);
      a[i + 1] = _mm512_unpacklo_epi32(b[i + 2], b[i + 3]);
      a[i + 2] = _mm512_unpackhi_epi32(b[i], b[i + 1]);
      a[i + 3] = _mm512_unpackhi_epi32(b[i + 2], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      _mm512_storeu_si512(to + i * PAIRS, _mm512_unpacklo_epi64(a[i], a[i + 1]));
      _mm512_storeu_si512(to + (i + 1) * PAIRS, _mm512_unpackhi_epi64(a[i], a[i + 1]));
    }
  }
}

// One step of `right`: rows in pairs.
inline void pack_right(Square from, Word* to) {
  const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
  for (int64_t p = 0; p < PAIRS; ++p, to += SIDE) {
    const BFloat16* const at = from.at + 2 * p * from.row;
    const __m512i a = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(at));
    const __m512i b = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(at + from.row));
    _mm512_storeu_si512(to, _mm512_unpacklo_epi16(a, b));
    _mm512_storeu_si512(to + 16, _mm512_unpackhi_epi16(a, b));
  }
}

#else

SNAKELM_INLINE Word pair_at(Square from, int64_t p, int64_t column) {
  const BFloat16* const at = from.at + 2 * p * from.row + column;
  return at->bits | static_cast<Word>(at[from.row].bits) << 16;
}
inline void pack_left(Square from, Word* to) {
  for (int64_t p = 0; p < PAIRS; ++p)
    for (int64_t r = 0; r < SIDE; ++r) to[r * PAIRS + p] = pair_at(from, p, r);
}
inline void pack_right(Square from, Word* to) {
  for (int64_t p = 0; p < PAIRS; ++p)
    for (int64_t c = 0; c < SIDE; ++c) to[p * SIDE + c] = pair_at(from, p, c);
}

#endif

#if defined(__AMX_BF16__)

// c [32, 32] += (ADD) or = a strip of left times one of right.
template <bool ADD>
SNAKELM_INLINE void multiply_strips(const Word* left, const Word* right, int64_t steps, float* c,
                                    int64_t c_row) {
  if constexpr (ADD) {
    load_sums(c, c_row);
  } else {
    zero_sums();
  }
  for (int64_t s = 0; s < steps; ++s, left += STEP_WORDS, right += STEP_WORDS) {
    load_tile<6>(right, SIDE * 4), load_tile<4>(left, 64);
    multiply_tiles<0, 4, 6>();
    load_tile<7>(right + 16, SIDE * 4);
    multiply_tiles<1, 4, 7>();
    load_tile<5>(left + 16 * PAIRS, 64);
    multiply_tiles<2, 5, 6>();
    multiply_tiles<3, 5, 7>();
  }
  store_sums(c, c_row);
}

#else

// R rows by as many columns as are held in registers.
template <bool ADD>
SNAKELM_INLINE void multiply_strips(const Word* left, const Word* right, int64_t steps, float* c,
                                    int64_t c_row) {
  constexpr int R = LANES == 16 ? 8 : 4, VECTORS = LANES == 16 ? 2 : 1;
  for (int64_t r = 0; r < SIDE; r += R) {
    for (int64_t first = 0; first < SIDE; first += VECTORS * LANES) {
      float* const to = c + r * c_row + first;
      Vec sum[R][VECTORS];
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v)
          sum[i][v] = ADD ? load(to + i * c_row + v * LANES) : Vec{};
      }
      const Word* a = left + r * PAIRS;
      const Word* b = right + first;
      for (int64_t s = 0; s < steps; ++s, a += STEP_WORDS - PAIRS) {
        for (int64_t p = 0; p < PAIRS; ++p, ++a, b += SIDE) {
#pragma GCC unroll 2
          for (int v = 0; v < VECTORS; ++v) {
            WordVec words;
            std::memcpy(&words, b + v * LANES, sizeof words);
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) sum[i][v] = add_products(a[i * PAIRS], words, sum[i][v]);
          }
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) store(to + i * c_row + v * LANES, sum[i][v]);
      }
    }
  }
}

#endif

// A square of the result, which ends after `height` rows and `width` columns: through a spare one
// where that is before the square does.
SNAKELM_INLINE void add_square(const Word* left, const Word* right, int64_t steps, bool add,
                               float* out, int64_t height, int64_t width, int64_t row) {
  alignas(64) float spare[SIDE * SIDE];
  const bool whole = height >= SIDE && width >= SIDE;
  if (!whole) {
    height = height < SIDE ? height : SIDE, width = width < SIDE ? width : SIDE;
    std::memset(spare, 0, sizeof spare);
    for (int64_t i = 0; add && i < height; ++i)
      std::memcpy(spare + i * SIDE, out + i * row, width * sizeof(float));
  }
  float* const to = whole ? out : spare;
  const int64_t to_row = whole ? row : SIDE;
  if (add) {
    multiply_strips<true>(left, right, steps, to, to_row);
  } else {
    multiply_strips<false>(left, right, steps, to, to_row);
  }
  for (int64_t i = 0; !whole && i < height; ++i)
    std::memcpy(out + i * row, spare + i * SIDE, width * sizeof(float));
}

// ---- an item ------------------------------------------------------------------------------------

class Item {
 public:
  Item(const WeightGradientsProblem& problem, const WeightGradientsItem& item)
      : p(problem), item(item), panels((item.last - item.first + SIDE - 1) / SIDE),
        memory((BLOCK_ROWS / SIDE + panels) * STRIP_WORDS * sizeof(Word)),
        left(memory.take<Word>(BLOCK_ROWS / SIDE * STRIP_WORDS)),
        right(memory.take<Word>(panels * STRIP_WORDS)) {}

  void run() {
    for (int64_t n = 0; n == 0 || n < p.count; n += DEPTH) {
      const int64_t depth = p.count - n < DEPTH ? p.count - n : DEPTH;
      const int64_t steps = (depth + SIDE - 1) / SIDE;
      pack<pack_right>(p.x, p.width, item.first, panels, n, steps, right);
      for (const WeightBlock& block : item.blocks) {
        const WeightGradient& weight = p.weights[block.weight];
        const int64_t strips = (block.last_row - block.first_row + SIDE - 1) / SIDE;
        pack<pack_left>(weight.gradient, weight.rows, block.first_row, strips, n, steps, left);
        multiply(weight, block.first_row, strips, steps, n > 0);
      }
    }
  }

 private:
  // Columns from `first` on of `from` [N, columns], rows [n, n + 32 steps): row by row, which the
  // caches' own prefetching follows.
  template <void (*PACK)(Square, Word*)>
  void pack(const Rows& from, int64_t columns, int64_t first, int64_t strips, int64_t n,
            int64_t steps, Word* to) const {
    alignas(64) BFloat16 spare[SIDE * SIDE];
    for (int64_t s = 0; s < steps; ++s) {
      for (int64_t i = 0; i < strips; ++i) {
        const Square square =
            square_of(from, n + s * SIDE, p.count, first + i * SIDE, columns, spare);
        PACK(square, to + i * STRIP_WORDS + s * STEP_WORDS);
      }
    }
  }

  void multiply(const WeightGradient& weight, int64_t first_row, int64_t strips, int64_t steps,
                bool add) const {
    for (int64_t r = 0; r < strips; ++r) {
      for (int64_t c = 0; c < panels; ++c) {
        const int64_t top = first_row + r * SIDE, first = item.first + c * SIDE;
        add_square(left + r * STRIP_WORDS, right + c * STRIP_WORDS, steps, add,
                   weight.out + top * p.width + first, weight.rows - top, p.width - first, p.width);
      }
    }
  }

  const WeightGradientsProblem& p;
  const WeightGradientsItem& item;
  const int64_t panels;  // strips of right
  Workspace memory;
  Word *const left, *const right;
};

void weight_gradients(const WeightGradientsProblem& problem, const WeightGradientsItem& item) {
  const FullTiles shapes;
  Item(problem, item).run();
}

}  // namespace snakelm::SNAKELM_ISA
