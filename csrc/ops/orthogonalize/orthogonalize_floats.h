// Newton-Schulz iterations where the CPU multiplies no pairs of bfloat16: in float32, all of them
// on the Gram matrix.
//
//   R_0 = x x^T    Z_t = a_t I + b_t R_t + c_t R_t^2    R_t+1 = Z_t R_t Z_t    result (Z_2 Z_1 Z_0)
//   x
//
// x is multiplied twice instead of six times, and everything between is K x K and symmetric, so
// that half of it is computed: a third of the products less for a 1:3 matrix, as many for a square
// one. In bfloat16 the small eigenvalues of R would drown in the rounding of the large ones; in
// float32 they have 1e-4 of the largest to its 6e-8.
#pragma once

#include "common/squares.h"
#include "common/workspace.h"
#include "ops/orthogonalize/orthogonalize_scale.h"
#include "ops/products/products_block.h"

namespace snakelm::SNAKELM_ISA {

class FloatIterations {
 public:
  FloatIterations(const OrthogonalizeProblem& problem, int64_t matrix)
      : p(problem), tall(p.rows > p.columns), k(tall ? p.columns : p.rows),
        n(tall ? p.rows : p.columns),
        given(static_cast<const BFloat16*>(p.x) + matrix * p.rows * p.columns),
        out(static_cast<BFloat16*>(p.out) + matrix * p.rows * p.columns),
        memory((2 * k * n + 4 * k * k + ProductBlock::PACKED) * sizeof(float) + 7 * 64),
        x(memory.take<float>(k * n)), y(memory.take<float>(k * n)), gram(memory.take<float>(k * k)),
        polynomial(memory.take<float>(k * k)), all(memory.take<float>(k * k)),
        spare(memory.take<float>(k * k)), packed(memory.take<float>(ProductBlock::PACKED)) {}

  void run() {
    load_matrix();
    multiply_halves({x, n, 1}, {x, 1, n}, n, gram);
    mirror(gram);
    for (int64_t t = 0; t < p.step_count; ++t) {
      evaluate_polynomial(t ? p.steps[t] : scaled_by_norm(p.steps[0]));
      if (t == 0) {
        swap(all, polynomial);
      } else {
        multiply_symmetric(polynomial, all, spare);
        swap(all, spare);
      }
      if (t + 1 == p.step_count) break;
      const float* const z = t ? polynomial : all;
      multiply_symmetric(z, gram, spare);
      multiply_symmetric(spare, z, gram);
    }
    multiply({k, n, {{{all, k, 1}, {x, n, 1}, k}}, y}, 0, k, 0, n);
    store_matrix();
  }

 private:
  static constexpr int64_t BAND = 64;  // columns of which a symmetric product has one height

  static void swap(float*& a, float*& b) {
    float* const kept = a;
    a = b, b = kept;
  }

  // ---- from and to the caller's bfloat16 ------------------------------------------------------

  void load_matrix() const {
    const Vec scale = splat(scale_of(given, k * n));
    float* const dense = tall ? y : x;
    along(k * n,
          [&](int64_t j, auto lanes) { write(read(given + j, lanes) * scale, dense + j, lanes); });
    if (tall) turn(y, n, k, x);
  }

  void store_matrix() const {
    if (tall) turn(y, k, n, x);
    const float* const dense = tall ? x : y;
    along(k * n, [&](int64_t j, auto lanes) { write(read(dense + j, lanes), out + j, lanes); });
  }

  // from [rows, columns] → to [columns, rows].
  static void turn(const float* from, int64_t rows, int64_t columns, float* to) {
    for (int64_t i = 0; i < rows; i += LANES)
      for (int64_t j = 0; j < columns; j += LANES)
        turn_block(from + i * columns + j, columns, smaller(LANES, rows - i),
                   smaller(LANES, columns - j), to + j * rows + i, rows);
  }
  SNAKELM_INLINE static void turn_block(const float* from, int64_t from_row, int64_t height,
                                        int64_t width, float* to, int64_t to_row) {
    if (height < LANES || width < LANES) {
      for (int64_t i = 0; i < height; ++i)
        for (int64_t j = 0; j < width; ++j) to[j * to_row + i] = from[i * from_row + j];
      return;
    }
    transpose_square(from, from_row, to, to_row);
  }

  // ---- products -------------------------------------------------------------------------------

  void multiply(const Product& product, int64_t first_row, int64_t last_row, int64_t first,
                int64_t last) const {
    for (int64_t c = first; c < last; c += PRODUCT_COLUMNS) {
      const ProductItem item{0, first_row, last_row, c, smaller(c + PRODUCT_COLUMNS, last)};
      ProductBlock(product, item, packed).run();
    }
  }

  // The upper half of a symmetric product [k, k], and what the bands' corners have below it.
  void multiply_halves(const Factor& left, const Factor& right, int64_t depth, float* to) const {
    const Product product{k, k, {{left, right, depth}}, to};
    for (int64_t c = 0; c < k; c += BAND) {
      const int64_t end = smaller(c + BAND, k);
      multiply(product, 0, end, c, end);
    }
  }

  // The lower half from the upper one.
  void mirror(float* matrix) const {
    for (int64_t i = 0; i < k; i += LANES) {
      const int64_t height = smaller(LANES, k - i);
      for (int64_t r = i; r < i + height; ++r)
        for (int64_t c = r + 1; c < i + height; ++c) matrix[c * k + r] = matrix[r * k + c];
      for (int64_t j = i + LANES; j < k; j += LANES)
        turn_block(matrix + i * k + j, k, height, smaller(LANES, k - j), matrix + j * k + i, k);
    }
  }

  // Of symmetric matrices that commute.
  void multiply_symmetric(const float* a, const float* b, float* to) const {
    multiply_halves({a, k, 1}, {b, k, 1}, k, to);
    mirror(to);
  }

  // ---- a step ---------------------------------------------------------------------------------

  // The Frobenius norm of R bounds its eigenvalues: the polynomial is that of R / norm, times the
  // root that brings x down with it. Zero stays zero.
  Quintic scaled_by_norm(Quintic step) const {
    const Vec squares = sum_along<Vec>(k * k, [&](int64_t j, auto lanes, Vec& sum) {
      const Vec v = read(gram + j, lanes);
      sum = multiply_add(v, v, sum);
    });
    const float norm = __builtin_sqrtf(reduce_sum(squares));
    const float inverse = norm > 0.0f ? 1.0f / norm : norm == norm ? 0.0f : norm;
    const float root = __builtin_sqrtf(inverse);
    return {step.a * root, step.b * root * inverse, step.c * root * inverse * inverse};
  }

  // polynomial = a I + b R + c R^2.
  void evaluate_polynomial(Quintic step) const {
    multiply_halves({gram, k, 1}, {gram, k, 1}, k, polynomial);
    for (int64_t i = 0; i < k; ++i) {
      const float* const r = gram + i * k;
      float* const to = polynomial + i * k;
      along(k - i, [&](int64_t j, auto lanes) {
        const Vec lower = read(r + i + j, lanes) * splat(step.b);
        write(multiply_add(read(to + i + j, lanes), splat(step.c), lower), to + i + j, lanes);
      });
      to[i] += step.a;
    }
    mirror(polynomial);
  }

  const OrthogonalizeProblem& p;
  const bool tall;
  const int64_t k, n;  // the shorter side and the longer one
  const BFloat16* const given;
  BFloat16* const out;
  Workspace memory;
  float *x, *y;                            // [k, n]
  float *gram, *polynomial, *all, *spare;  // [k, k]; all: the product of the polynomials so far
  float* packed;
};

}  // namespace snakelm::SNAKELM_ISA
