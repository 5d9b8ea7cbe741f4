// Chooses the instruction set and cuts results into blocks for threads.
#include "ops/products/products.h"

#include <algorithm>

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, product);

constexpr int64_t LEAST_ROWS = 192;          // of an item: it packs its columns for them
constexpr int64_t WORTH_A_THREAD = 1 << 20;  // multiplications

// Items of all products, each of about the same number of rows.
std::vector<ProductItem> items_of(const std::vector<Product>& products, int threads) {
  std::vector<ProductItem> items;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& product = products[i];
    const int64_t bands = (product.columns + PRODUCT_COLUMNS - 1) / PRODUCT_COLUMNS;
    if (!bands || !product.rows) continue;
    const int64_t wanted = threads == 1 ? 1 : (4 * threads + bands - 1) / bands;
    const int64_t parts = std::clamp<int64_t>(product.rows / LEAST_ROWS, 1, wanted);
    const int64_t share = (product.rows + parts - 1) / parts;
    const int64_t each = (share + LEAST_ROWS - 1) / LEAST_ROWS * LEAST_ROWS;
    for (int64_t row = 0; row < product.rows; row += each) {
      for (int64_t column = 0; column < product.columns; column += PRODUCT_COLUMNS) {
        items.push_back({static_cast<int64_t>(i), row, std::min(product.rows, row + each), column,
                         std::min(product.columns, column + PRODUCT_COLUMNS)});
      }
    }
  }
  return items;
}

int64_t work_of(const std::vector<Product>& products) {
  int64_t work = 0;
  for (const Product& product : products)
    for (const Summand& summand : product.summands)
      work += product.rows * product.columns * summand.depth;
  return work;
}

}  // namespace

const char* products_cpu(const std::vector<Product>& products, int level, int threads,
                         ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const int64_t worth = std::max<int64_t>(1, work_of(products) / WORTH_A_THREAD);
  threads = static_cast<int>(std::min<int64_t>(std::max(threads, 1), worth));
  const auto kernel = linked_at_most(KERNELS, static_cast<Isa>(isa));
  const auto items = items_of(products, threads);
  const bool done = for_each_item(static_cast<int64_t>(items.size()), threads, parallel_for,
                                  [&](int64_t i) { kernel(products[items[i].product], items[i]); });
  return done ? nullptr : "out of memory for the blocks of a product";
}

}  // namespace snakelm
