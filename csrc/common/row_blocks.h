// Rows cut into blocks for threads, and what blocks add up.
//
// The cut follows from the number of rows alone, and a sum over rows is taken within each block
// first, then over the blocks in their order: so neither the threads nor who took which block
// change a bit of the result.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "common/parallel.h"

namespace snakelm {

struct RowBlocks {
  static constexpr int64_t FEWEST_ROWS = 32, MOST_BLOCKS = 128;
  static constexpr int64_t WORTH_A_THREAD = 1 << 15;  // numbers; waking one costs microseconds

  explicit RowBlocks(int64_t rows)
      : rows(rows), each(std::max(FEWEST_ROWS, (rows + MOST_BLOCKS - 1) / MOST_BLOCKS)) {}

  int64_t count() const { return (rows + each - 1) / each; }

  // Calls work(block, first row, last row) for each block. `numbers` are those of all rows
  // together. False when out of memory.
  template <class Work>
  bool run(int64_t numbers, int threads, ParallelFor parallel_for, const Work& work) const {
    const int64_t worth = std::max<int64_t>(1, numbers / WORTH_A_THREAD);
    const int some = static_cast<int>(std::min<int64_t>(threads, worth));
    return for_each_item(count(), some, parallel_for, [&](int64_t block) {
      work(block, block * each, std::min(rows, (block + 1) * each));
    });
  }

  int64_t rows, each;
};

// A vector of `width` floats for each block, zeros at first, and their sum in order of the blocks.
class BlockSums {
 public:
  BlockSums(const RowBlocks& blocks, int64_t width)
      : width_(width), count_(blocks.count()),
        values_(new (std::nothrow) float[std::max<int64_t>(1, count_ * width)]) {}

  bool allocated() const { return values_ != nullptr; }

  // Zeroed by the thread that is to fill it.
  float* start(int64_t block) {
    float* const sums = values_.get() + block * width_;
    std::memset(sums, 0, width_ * sizeof(float));
    return sums;
  }

  // Of numbers [first, first + count) of the vector.
  void total(int64_t first, int64_t count, float* to) const {
    std::fill(to, to + count, 0.0f);
    for (int64_t block = 0; block < count_; ++block) {
      const float* const sums = values_.get() + block * width_ + first;
      for (int64_t i = 0; i < count; ++i) to[i] += sums[i];
    }
  }

 private:
  int64_t width_, count_;
  std::unique_ptr<float[]> values_;
};

}  // namespace snakelm
