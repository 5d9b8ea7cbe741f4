// Lists of arrays in pieces for threads: what the optimizer's passes walk along.
//
// The pieces follow from the sizes alone, so neither the threads nor who took which piece change a
// bit of what is added up piece by piece.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/parallel.h"

namespace snakelm {

struct Chunk {
  int64_t array, first, count;
};

class Chunks {
 public:
  static constexpr int64_t MOST = 1 << 15;  // numbers of a piece; waking a thread costs as much

  explicit Chunks(const std::vector<int64_t>& sizes) {
    for (size_t array = 0; array < sizes.size(); ++array) {
      for (int64_t first = 0; first < sizes[array]; first += MOST) {
        list_.push_back({static_cast<int64_t>(array), first, std::min(MOST, sizes[array] - first)});
      }
    }
  }

  int64_t count() const { return static_cast<int64_t>(list_.size()); }

  // Calls work(index, chunk) once for each, on the caller's pool.
  template <class Work>
  void run(int threads, ParallelFor parallel_for, const Work& work) const {
    for_each_item(count(), threads, parallel_for, [&](int64_t i) { work(i, list_[i]); });
  }

 private:
  std::vector<Chunk> list_;
};

}  // namespace snakelm
