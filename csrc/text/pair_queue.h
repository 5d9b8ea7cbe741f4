// Which pair merges next: the highest count, of equals the smaller left id, then the smaller right.
//
// A pair is queued once, under the count it had; counts only fall, so one that fell is put back
// under what it has now when its turn comes. Most pairs are rare and their turn never comes: those
// below BUCKETS wait unordered, by count, and a bucket is ordered when it is reached.
#pragma once

#include <algorithm>
#include <cstdint>
#include <queue>
#include <vector>

#include "text/pair_table.h"

namespace snakelm::text {

class PairQueue {
 public:
  static constexpr uint32_t NONE = 0xFFFFFFFF;

  explicit PairQueue(PairTable& pairs) : pairs_(pairs), buckets_(BUCKETS) {}

  void push(uint32_t number) {
    const Pair& pair = pairs_[number];
    if (pair.count == 0) return;
    if (pair.count >= level_)
      ordered_.push({pair.count, pair.key, number});
    else
      buckets_[pair.count].push_back(number);
  }

  // The number of the best pair, which leaves the queue; NONE where no pair is left.
  uint32_t pop() {
    while (true) {
      while (!ordered_.empty()) {
        const Candidate best = ordered_.top();
        ordered_.pop();
        if (pairs_[best.number].count == best.count) return best.number;
        push(best.number);
      }
      if (level_ <= 1) return NONE;
      const std::vector<uint32_t> reached = std::move(buckets_[--level_]);
      for (const uint32_t number : reached) push(number);
    }
  }

 private:
  static constexpr size_t BUCKETS = 4096;
  struct Candidate {
    uint64_t count, key;
    uint32_t number;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };

  PairTable& pairs_;
  std::priority_queue<Candidate> ordered_;      // counts of `level_` and more
  std::vector<std::vector<uint32_t>> buckets_;  // [count] pairs that had it
  size_t level_ = BUCKETS;
};

}  // namespace snakelm::text
