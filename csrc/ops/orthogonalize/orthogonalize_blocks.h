// Newton-Schulz iterations where the CPU multiplies pairs of bfloat16, on blocks of tiles
// (orthogonalize_tiles.h):
//
//   x <- (a I + b R + c R^2) x,   R = x x^T
//
// R and the polynomial are symmetric: half of their blocks are computed, each is written twice.
// x is K x N, K <= N: a tall matrix is read and written transposed. Block (i, n) of a layout with
// `count` blocks a row lies at i * count + n.
#pragma once

#include "common/workspace.h"
#include "ops/orthogonalize/orthogonalize_scale.h"
#include "ops/orthogonalize/orthogonalize_tiles.h"

namespace snakelm::SNAKELM_ISA {

struct Matrix {
  const BFloat16* x;
  BFloat16* out;
  int64_t rows, columns;  // as the caller has them
  bool tall;
  int64_t k, n;  // blocks of the shorter side and of the longer one

  Word* rows_of_x;   // [k, n]
  Word* turned_x;    // [k, n]
  Word* pairs_of_x;  // [n, k]: a column of blocks together, as the product reads them
  Word* next_pairs;  // [n, k]
  Word* rows_of_r;   // [k, k]
  Word* turned_r;    // [k, k]
  Word* polynomial;  // [k, k], rows
};

// ---- to tiles and back --------------------------------------------------------------------------

// Block (i, n) of the caller's matrix to floats, zeros beyond its edge.
inline void load_block(const Matrix& m, int64_t i, int64_t n, float scale, Sums& to) {
  const int64_t top = i * SIDE, first = n * SIDE;
  const int64_t height = m.rows - top < SIDE ? m.rows - top : SIDE;
  const int64_t width = m.columns - first < SIDE ? m.columns - first : SIDE;
  std::memset(&to, 0, sizeof to);
  for (int64_t r = 0; r < height; ++r) {
    const BFloat16* const from = m.x + (top + r) * m.columns + first;
    along(width, [&](int64_t j, auto lanes) {
      write(read(from + j, lanes) * splat(scale), to.at[r] + j, lanes);
    });
  }
}

inline void load_matrix(const Matrix& m) {
  const float scale = scale_of(m.x, m.rows * m.columns);
  Sums sums;
  for (int64_t i = 0; i < m.k; ++i) {
    for (int64_t n = 0; n < m.n; ++n) {
      Word* const rows = m.rows_of_x + (i * m.n + n) * BLOCK_WORDS;
      Word* const turned = m.turned_x + (i * m.n + n) * BLOCK_WORDS;
      Word* const pairs = m.pairs_of_x + (n * m.k + i) * BLOCK_WORDS;
      if (!m.tall) {
        load_block(m, i, n, scale, sums);
        to_rows(sums, rows), turn(rows, turned), to_pairs(sums, pairs);
      } else {  // the layouts of the transposed block
        load_block(m, n, i, scale, sums);
        to_pairs(sums, turned), turn(turned, rows);
        alignas(64) Word own[BLOCK_WORDS];
        to_rows(sums, own), turn(own, pairs);
      }
    }
  }
}

// Sums are block (i, n) of the result.
inline void store_block(const Matrix& m, int64_t i, int64_t n, const Sums& sums) {
  alignas(64) Word block[BLOCK_WORDS], pairs[BLOCK_WORDS];
  if (m.tall) {
    to_pairs(sums, pairs), turn(pairs, block);
  } else {
    to_rows(sums, block);
  }
  const int64_t top = (m.tall ? n : i) * SIDE, first = (m.tall ? i : n) * SIDE;
  const int64_t height = m.rows - top < SIDE ? m.rows - top : SIDE;
  const int64_t width = m.columns - first < SIDE ? m.columns - first : SIDE;
  for (int64_t r = 0; r < height; ++r) {
    std::memcpy(m.out + (top + r) * m.columns + first, block + r * TILE, width * sizeof(BFloat16));
  }
}

// ---- one step -----------------------------------------------------------------------------------

inline Vec squares_of(const Sums& sums) {
  const float* const all = sums.at[0];
  return sum_along<Vec>(SIDE * SIDE, [&](int64_t j, auto lanes, Vec& squares) {
    const Vec v = read(all + j, lanes);
    squares = multiply_add(v, v, squares);
  });
}

// R = x x^T, block (j, i) from block (i, j); returns its Frobenius norm.
inline float gram(const Matrix& m) {
  Sums sums;
  Vec squares{};
  for (int64_t i = 0; i < m.k; ++i) {
    for (int64_t j = i; j < m.k; ++j) {
      multiply_blocks(m.rows_of_x + i * m.n * BLOCK_WORDS, m.turned_x + j * m.n * BLOCK_WORDS, m.n,
                      sums);
      const Vec own = squares_of(sums);
      squares = squares + own + (i == j ? Vec{} : own);

      const int64_t here = (i * m.k + j) * BLOCK_WORDS, there = (j * m.k + i) * BLOCK_WORDS;
      to_rows(sums, m.rows_of_r + here), turn(m.rows_of_r + here, m.turned_r + here);
      if (i == j) continue;
      to_pairs(sums, m.turned_r + there), turn(m.turned_r + there, m.rows_of_r + there);
    }
  }
  return __builtin_sqrtf(reduce_sum(squares));
}

// a I + b R + c R^2, of which the sums of block (i, j) are R^2.
SNAKELM_INLINE void add_lower_powers(const Matrix& m, int64_t i, int64_t j, Quintic step,
                                     Sums& sums) {
  const BFloat16* const r =
      reinterpret_cast<const BFloat16*>(m.rows_of_r + (i * m.k + j) * BLOCK_WORDS);
  float* const all = sums.at[0];
  for (int64_t at = 0; at < SIDE * SIDE; at += LANES) {
    store(all + at, multiply_add(load(all + at), splat(step.c), load_wide(r + at) * splat(step.b)));
  }
  if (i != j) return;
  for (int64_t d = 0; d < SIDE; ++d) sums.at[d][d] += step.a;
}

inline void evaluate_polynomial(const Matrix& m, Quintic step) {
  Sums sums;
  alignas(64) Word pairs[BLOCK_WORDS];
  for (int64_t i = 0; i < m.k; ++i) {
    for (int64_t j = i; j < m.k; ++j) {
      multiply_blocks(m.rows_of_r + i * m.k * BLOCK_WORDS, m.turned_r + j * m.k * BLOCK_WORDS, m.k,
                      sums);
      add_lower_powers(m, i, j, step, sums);
      to_rows(sums, m.polynomial + (i * m.k + j) * BLOCK_WORDS);
      if (i == j) continue;
      to_pairs(sums, pairs), turn(pairs, m.polynomial + (j * m.k + i) * BLOCK_WORDS);
    }
  }
}

// x <- polynomial x, in tiles again or, the last time, as the caller has it.
inline void apply_polynomial(Matrix& m, bool last) {
  Sums sums;
  for (int64_t n = 0; n < m.n; ++n) {
    for (int64_t i = 0; i < m.k; ++i) {
      multiply_blocks(m.polynomial + i * m.k * BLOCK_WORDS, m.pairs_of_x + n * m.k * BLOCK_WORDS,
                      m.k, sums);
      if (last) {
        store_block(m, i, n, sums);
        continue;
      }
      Word* const rows = m.rows_of_x + (i * m.n + n) * BLOCK_WORDS;
      to_rows(sums, rows), turn(rows, m.turned_x + (i * m.n + n) * BLOCK_WORDS);
      to_pairs(sums, m.next_pairs + (n * m.k + i) * BLOCK_WORDS);
    }
  }
  Word* const read = m.pairs_of_x;
  m.pairs_of_x = m.next_pairs, m.next_pairs = read;
}

inline void orthogonalize_in_tiles(const OrthogonalizeProblem& p, int64_t matrix) {
  Matrix m;
  m.rows = p.rows, m.columns = p.columns, m.tall = p.rows > p.columns;
  m.x = static_cast<const BFloat16*>(p.x) + matrix * p.rows * p.columns;
  m.out = static_cast<BFloat16*>(p.out) + matrix * p.rows * p.columns;
  const int64_t row_blocks = (p.rows + SIDE - 1) / SIDE;
  const int64_t column_blocks = (p.columns + SIDE - 1) / SIDE;
  m.k = m.tall ? column_blocks : row_blocks, m.n = m.tall ? row_blocks : column_blocks;

  const size_t wide = m.k * m.n * BLOCK_WORDS, square = m.k * m.k * BLOCK_WORDS;
  Workspace workspace((4 * wide + 3 * square) * sizeof(Word));
  for (Word** const part : {&m.rows_of_x, &m.turned_x, &m.pairs_of_x, &m.next_pairs})
    *part = workspace.take<Word>(wide);
  for (Word** const part : {&m.rows_of_r, &m.turned_r, &m.polynomial})
    *part = workspace.take<Word>(square);

  load_matrix(m);
  const FullTiles shapes;
  for (int64_t i = 0; i < p.step_count; ++i) {
    Quintic step = p.steps[i];
    const float norm = gram(m);
    if (i == 0) {
      // The norm bounds R's eigenvalues: the polynomial is that of R / norm, times the root that
      // brings x down with it. Zero stays zero.
      const float inverse = norm > 0.0f ? 1.0f / norm : norm == norm ? 0.0f : norm;
      const float root = __builtin_sqrtf(inverse);
      step = {step.a * root, step.b * root * inverse, step.c * root * inverse * inverse};
    }
    evaluate_polynomial(m, step);
    apply_polynomial(m, i + 1 == p.step_count);
  }
}

}  // namespace snakelm::SNAKELM_ISA
