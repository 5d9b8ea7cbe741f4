// Chooses the instruction set and cuts the weights into blocks for threads.
#include "ops/weight_gradients/weight_gradients.h"

#include <algorithm>

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, weight_gradients);

constexpr int64_t SIDE = 32;                   // rows of a strip
constexpr int64_t MOST_ROWS = 3 * BLOCK_ROWS;  // of an item: their sums stay in the cache
constexpr int64_t WORTH_A_THREAD = 1 << 20;    // multiplications

// Items of about `each` rows of the weights one below the other, by columns [first, last).
void add_items(const WeightGradientsProblem& problem, int64_t each, int64_t first, int64_t last,
               std::vector<WeightGradientsItem>& items) {
  int64_t room = 0;
  for (size_t w = 0; w < problem.weights.size(); ++w) {
    const int64_t rows = problem.weights[w].rows;
    for (int64_t row = 0; row < rows;) {
      if (room == 0) items.push_back({{}, first, last}), room = each;
      const int64_t end = std::min({rows, row + room, row + BLOCK_ROWS});
      items.back().blocks.push_back({static_cast<int64_t>(w), row, end});
      room = std::max<int64_t>(0, room - (end - row + SIDE - 1) / SIDE * SIDE);
      row = end;
    }
  }
}

std::vector<WeightGradientsItem> items_of(const WeightGradientsProblem& problem, int threads) {
  if (!problem.width) return {};
  int64_t rows = 0;
  for (const WeightGradient& weight : problem.weights) rows += weight.rows;
  const int64_t bands = (problem.width + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
  const int64_t parts = threads == 1 ? 1 : (2 * threads + bands - 1) / bands;
  const int64_t share = ((rows + parts - 1) / parts + SIDE - 1) / SIDE * SIDE;
  const int64_t each = std::clamp(share, SIDE, MOST_ROWS);

  std::vector<WeightGradientsItem> items;
  for (int64_t first = 0; first < problem.width; first += BLOCK_COLUMNS)
    add_items(problem, each, first, std::min(problem.width, first + BLOCK_COLUMNS), items);
  return items;
}

}  // namespace

const char* weight_gradients_cpu(const WeightGradientsProblem& problem, int level, int threads,
                                 ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(KERNELS, static_cast<Isa>(isa));
  const auto items = items_of(problem, threads);
  const bool done = for_each_item(static_cast<int64_t>(items.size()), threads, parallel_for,
                                  [&](int64_t i) { kernel(problem, items[i]); });
  return done ? nullptr : "out of memory for the blocks of a weight";
}

}  // namespace snakelm
