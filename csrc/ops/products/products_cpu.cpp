// Chooses the instruction set and cuts results into blocks for threads.
#include "ops/products/products.h"

#include <algorithm>
#include <numeric>

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, product);

constexpr int64_t LEAST_ROWS = 96;           // of an item: it packs its columns for them
constexpr int64_t ITEMS = 4;                 // for each thread, or more
constexpr int64_t ROW_STEP = 6;              // of an item's rows: kernels take as many at a time
constexpr int64_t WORTH_A_THREAD = 1 << 20;  // multiplications

int64_t up_to(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

int64_t bands_of(const Product& product) {
  return product.rows ? (product.columns + PRODUCT_COLUMNS - 1) / PRODUCT_COLUMNS : 0;
}

// Into how many parts to cut the rows of each product: so many that all threads get as many items,
// which are of about one size where the products are.
int64_t parts_of(const std::vector<Product>& products, int threads) {
  int64_t bands = 0;
  for (const Product& product : products) bands += bands_of(product);
  if (threads == 1 || !bands) return 1;
  return up_to((ITEMS * threads + bands - 1) / bands, threads / std::gcd<int64_t>(threads, bands));
}

std::vector<ProductItem> items_of(const std::vector<Product>& products, int threads) {
  std::vector<ProductItem> items;
  const int64_t wanted = parts_of(products, threads);
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& product = products[i];
    if (!bands_of(product)) continue;
    const int64_t parts = std::clamp<int64_t>(product.rows / LEAST_ROWS, 1, wanted);
    const int64_t each = up_to((product.rows + parts - 1) / parts, ROW_STEP);
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
