// Products of float32 matrices: pointers and sizes.
//
//   out [M, N] = sum over summands s of left_s [M, K_s] right_s [K_s, N]
//
// Both factors have any strides, so x w^T, g w and g^T x are the same thing. Numbers are added in
// an order that follows from the K_s alone.
//
// For CPUs whose best are vectors of eight floats: there these products are faster than torch's
// (docs/EXPERIMENTS.md), and the whole training step is made of them.
#pragma once

#include <vector>

#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

// Number (i, j) lies at data[i * row + j * column].
struct Factor {
  const float* data = nullptr;
  int64_t row = 0, column = 0;
};

struct Summand {
  Factor left, right;  // [rows, depth], [depth, columns]
  int64_t depth = 0;
};

struct Product {
  int64_t rows = 0, columns = 0;
  std::vector<Summand> summands;  // at least one
  float* out = nullptr;           // [rows, columns], dense
};

// Rows [first_row, last_row) and at most PRODUCT_COLUMNS columns [first, last) of a product.
struct ProductItem {
  int64_t product, first_row, last_row, first, last;
};
constexpr int64_t PRODUCT_COLUMNS = 256;

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* products_cpu(const std::vector<Product>& products, int level, int threads,
                         ParallelFor parallel_for);

// In products_kernel.cpp. Throws bad_alloc.
SNAKELM_DECLARE_KERNEL(void, product, (const Product& product, const ProductItem& item))

}  // namespace snakelm
