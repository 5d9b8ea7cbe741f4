// Which two ids merge to which: the only lookup that merging needs.
//
// Each token has at most one pair. Parts of a piece merge in one order, and inside the bytes of a
// token that order is the same wherever the token stands, up to the merge that makes it: whatever
// merges across its ends would keep it from being made. So the last two parts of a token are always
// the same, and a table of one pair a token gives what looking up the joined bytes of any two parts
// gives (tiktoken's definition), without touching the bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "text/array.h"
#include "text/hash.h"

namespace snakelm::text {

constexpr uint32_t NO_TOKEN = 0xFFFFFFFF;

class MergeTable {
 public:
  struct Slot {
    uint32_t left, right, id;
  };

  // For up to `pairs` pairs.
  MergeTable(size_t pairs, const Seeds& seeds);
  // Of the slots of another one with these seeds: a power of two, some of them empty.
  MergeTable(Array<Slot> slots, const Seeds& seeds);

  uint32_t find(uint32_t left, uint32_t right) const {
    for (uint64_t i = place(left, right);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.left == left && slot.right == right) return slot.id;
      if (slot.left == NO_TOKEN) return NO_TOKEN;
    }
  }
  // Asks for what find of the pair will read: a table is larger than the caches next to the CPU.
  void prefetch(uint32_t left, uint32_t right) const {
    __builtin_prefetch(&slots_[place(left, right)]);
  }
  void insert(uint32_t left, uint32_t right, uint32_t id);
  const Array<Slot>& slots() const { return slots_; }

 private:
  uint64_t place(uint32_t left, uint32_t right) const {
    return hash_number(static_cast<uint64_t>(left) << 32 | right, seeds_) & mask_;
  }

  Array<Slot> slots_;  // power of two, at most half full
  uint64_t mask_;
  Seeds seeds_;
};

}  // namespace snakelm::text
