// Products of float32 matrices on one CPU core, for any vector width. For kernels only
// (common/isa.h).
//
//   right   [columns / PANEL][DEPTH][PANEL]   packed, zeros beyond the last column
//   left    as it lies where its rows are dense; else packed, [rows / ROWS][DEPTH][ROWS]
//
// DEPTH of a sum at a time: a panel of `right`, 16 KB with AVX2, then stays in the first-level
// cache while the rows of a block of `left` pass by from the second.
#pragma once

#include "common/multiply.h"
#include "common/squares.h"
#include "ops/products/products.h"

namespace snakelm::SNAKELM_ISA {

// Rows of a block of `left`: few where they are only read, more where packing walks over them.
constexpr int64_t DEPTH = 256, READ_ROWS = 48, PACKED_ROWS = 96;
constexpr int64_t LINE = 16;  // floats of a cache line
constexpr int64_t AHEAD = 8;  // rows of a left factor that are fetched before they are packed
static_assert(READ_ROWS % ROWS == 0 && PACKED_ROWS % ROWS == 0 && PRODUCT_COLUMNS % PANEL == 0);

SNAKELM_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

SNAKELM_INLINE void add_step(const float* a, int64_t a_row, const float* b,
                             Vec (&sum)[ROWS][VECTORS]) {
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v)
      sum[r][v] = multiply_add(splat(a[r * a_row]), load(b + v * LANES), sum[r][v]);
  }
}

// ROWS by PANEL numbers of the result, held in registers; numbers of a row of a are STEP apart.
// `next`: what the following call reads in a's place; it is fetched meanwhile, line by line, since
// the CPU's own prefetching loses track of so many rows.
template <int64_t STEP>
SNAKELM_INLINE void multiply_tile(const float* a, int64_t a_row, const float* b, int64_t depth,
                                  const float* next, float* to, int64_t to_row, bool add) {
  Vec sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) sum[r][v] = Vec{};
    __builtin_prefetch(to + r * to_row, 1, 3);
    __builtin_prefetch(to + r * to_row + PANEL - 1, 1, 3);
  }
  int64_t k = 0;
  for (; k + LINE <= depth; k += LINE) {
    if (STEP == 1) {
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r) __builtin_prefetch(next + r * a_row + k, 0, 3);
    }
#pragma GCC unroll 4
    for (int64_t i = 0; i < LINE; ++i, a += STEP, b += PANEL) add_step(a, a_row, b, sum);
  }
  for (; k < depth; ++k, a += STEP, b += PANEL) add_step(a, a_row, b, sum);
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      float* const at = to + r * to_row + v * LANES;
      store(at, add ? load(at) + sum[r][v] : sum[r][v]);
    }
  }
}

class ProductBlock {
 public:
  static constexpr int64_t PACKED = (PRODUCT_COLUMNS + PACKED_ROWS) * DEPTH;

  // packed: PACKED floats of scratch memory.
  ProductBlock(const Product& product, const ProductItem& item, float* packed)
      : p(product), item(item), panels((item.last - item.first + PANEL - 1) / PANEL), right(packed),
        left(packed + PRODUCT_COLUMNS * DEPTH) {}

  void run() const {
    bool add = false;
    for (const Summand& summand : p.summands) {
      const int64_t tall = summand.left.column == 1 ? READ_ROWS : PACKED_ROWS;
      for (int64_t k = 0; k < summand.depth || !add; k += DEPTH, add = true) {
        const int64_t depth = smaller(DEPTH, summand.depth - k);
        if (depth) pack_right(summand.right, k, depth);
        for (int64_t row = item.first_row; row < item.last_row; row += tall)
          add_rows(summand.left, k, depth, row, smaller(row + tall, item.last_row), add);
      }
    }
  }

 private:
  SNAKELM_INLINE int64_t width(int64_t panel) const {
    return smaller(PANEL, item.last - item.first - panel * PANEL);
  }

  // ---- packing ------------------------------------------------------------------------------

  void pack_right(const Factor& from, int64_t k, int64_t depth) const {
    for (int64_t panel = 0; panel < panels; ++panel) {
      const float* const at = from.data + k * from.row + (item.first + panel * PANEL) * from.column;
      float* const to = right + panel * PANEL * DEPTH;
      if (width(panel) < PANEL) {
        gather_panel(at, from, 0, depth, width(panel), to);
      } else if (from.column == 1) {
        for (int64_t i = 0; i < depth; ++i)
          std::memcpy(to + i * PANEL, at + i * from.row, PANEL * sizeof(float));
      } else {
        const int64_t turned = from.row == 1 ? turn_panel(at, from.column, depth, to) : 0;
        gather_panel(at, from, turned, depth, PANEL, to);
      }
    }
  }

  // Of columns `column` apart that are dense; returns how much of the depth, in whole vectors.
  SNAKELM_INLINE static int64_t turn_panel(const float* at, int64_t column, int64_t depth,
                                           float* to) {
    const int64_t whole = depth / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
      for (int64_t j = 0; j < PANEL; j += LANES)
        transpose_square(at + j * column + i, column, to + i * PANEL + j, PANEL);
    }
    return whole;
  }

  static void gather_panel(const float* at, const Factor& from, int64_t first, int64_t depth,
                           int64_t width, float* to) {
    for (int64_t i = first; i < depth; ++i) {
      for (int64_t j = 0; j < PANEL; ++j)
        to[i * PANEL + j] = j < width ? at[i * from.row + j * from.column] : 0.0f;
    }
  }

  // Rows [first, last); of the last ROWS, what lies beyond is not read.
  void pack_left(const Factor& from, int64_t k, int64_t depth, int64_t first, int64_t last) const {
    const int64_t whole = from.row == 1 ? (last - first) / ROWS * ROWS : 0;
    for (int64_t i = 0; i < depth; ++i) {
      const float* const at = from.data + first * from.row + (k + i) * from.column;
      float* const to = left + i * ROWS;
      for (int64_t r = 0; r < whole; r += LINE)
        __builtin_prefetch(at + r + AHEAD * from.column, 0, 3);
      for (int64_t r = 0; r < whole; r += ROWS)
        std::memcpy(to + r * DEPTH, at + r, ROWS * sizeof(float));
      for (int64_t r = whole; r < last - first; ++r)
        to[r / ROWS * ROWS * DEPTH + r % ROWS] = at[r * from.row];
    }
  }

  // ---- products -----------------------------------------------------------------------------

  void add_rows(const Factor& from, int64_t k, int64_t depth, int64_t first, int64_t last,
                bool add) const {
    const bool dense = from.column == 1 && depth;  // an empty factor may have no address
    if (!dense && depth) pack_left(from, k, depth, first, last);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const float* const b = right + panel * PANEL * DEPTH;
      for (int64_t r = first; r < last; r += ROWS) {
        float* const to = p.out + r * p.columns + item.first + panel * PANEL;
        const float* const a = dense ? from.data + r * from.row + k : left + (r - first) * DEPTH;
        const int64_t height = smaller(ROWS, last - r);
        if (height < ROWS || width(panel) < PANEL) {
          add_part(a, dense ? from.row : 1, dense ? 1 : ROWS, b, depth, height, width(panel), to,
                   add);
        } else if (dense) {
          const float* const next = last - r >= 2 * ROWS ? a + ROWS * from.row : a;
          multiply_tile<1>(a, from.row, b, depth, next, to, p.columns, add);
        } else {
          multiply_tile<ROWS>(a, 1, b, depth, nullptr, to, p.columns, add);
        }
      }
    }
  }

  // Fewer rows or columns: row by row, through a spare one.
  void add_part(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t depth,
                int64_t height, int64_t width, float* to, bool add) const {
    alignas(64) float spare[PANEL] = {};
    for (int64_t r = 0; r < height; ++r) {
      float* const row = to + r * p.columns;
      if (add) std::memcpy(spare, row, width * sizeof(float));
      multiply<false, 1>(VECTORS, a + r * a_row, a_row, a_step, b, PANEL, static_cast<int>(depth),
                         spare, PANEL, add ? ONES : nullptr);
      std::memcpy(row, spare, width * sizeof(float));
    }
  }

  const Product& p;
  const ProductItem& item;
  const int64_t panels;
  float *const right, *const left;
};

}  // namespace snakelm::SNAKELM_ISA
