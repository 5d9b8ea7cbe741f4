// The pairs of neighbouring tokens that training has seen: count, and where each occurs.
//
// Every occurrence of a pair appears in one merge, the one that makes its newer half. So a pair's
// positions are written once, all together; afterwards its count only falls.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "text/hash.h"

namespace snakelm::text {

inline uint64_t pair_key(uint32_t left, uint32_t right) {
  return static_cast<uint64_t>(left) << 32 | right;
}

struct Pair {
  uint64_t key;
  uint64_t count;
  uint64_t first;      // of its positions in the arena
  uint32_t positions;  // some may have merged away since
};

class PairTable {
 public:
  PairTable() : slots_(size_t{1} << 12) {}

  // The pair's number; it must not be there yet.
  uint32_t insert(const Pair& pair) {
    if (pairs_.size() >= 0xFFFFFFFE) throw std::length_error("more than 4e9 distinct pairs");
    pairs_.push_back(pair);
    const auto number = static_cast<uint32_t>(pairs_.size() - 1);
    if (3 * pairs_.size() > 2 * slots_.size())
      grow();
    else
      place(number);
    return number;
  }

  // nullptr where there is none.
  Pair* find(uint64_t key) {
    const uint64_t hash = hash_number(key), mask = slots_.size() - 1;
    const auto check = static_cast<uint32_t>(hash >> 32);
    for (size_t i = hash & mask; slots_[i].number != 0; i = (i + 1) & mask) {
      if (slots_[i].check != check) continue;
      Pair& pair = pairs_[slots_[i].number - 1];
      if (pair.key == key) return &pair;
    }
    return nullptr;
  }

  Pair& operator[](uint32_t number) { return pairs_[number]; }
  uint32_t size() const { return static_cast<uint32_t>(pairs_.size()); }

 private:
  struct Slot {
    uint32_t number = 0;  // + 1; 0: free
    uint32_t check = 0;   // upper half of the hash
  };

  void place(uint32_t number) {
    const uint64_t hash = hash_number(pairs_[number].key), mask = slots_.size() - 1;
    size_t i = hash & mask;
    while (slots_[i].number != 0) i = (i + 1) & mask;
    slots_[i] = {number + 1, static_cast<uint32_t>(hash >> 32)};
  }
  void grow() {
    slots_.assign(slots_.size() * 2, {});
    for (uint32_t number = 0; number < pairs_.size(); ++number) place(number);
  }

  std::vector<Pair> pairs_;
  std::vector<Slot> slots_;  // a power of two, at most two thirds full
};

}  // namespace snakelm::text
