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

#include "text/hash.h"
#include "text/id_slots.h"

namespace snakelm::text {

class MergeTable {
 public:
  // What a token is merged from; {NO_TOKEN, NO_TOKEN} where it is not.
  struct Pair {
    uint32_t left, right;
  };

  // For pairs of ids below `tokens`.
  MergeTable(size_t tokens, const Seeds& seeds);
  // Of the parts of another one with these seeds.
  MergeTable(Array<Pair> pairs, IdSlots ids, const Seeds& seeds);

  uint32_t find(uint32_t left, uint32_t right) const {
    return ids_.find(hash(left, right), [&](uint32_t id) {
      return pairs_[id].left == left && pairs_[id].right == right;
    });
  }
  // Asks for what find of the pair will read: a table is larger than the caches next to the CPU.
  void prefetch(uint32_t left, uint32_t right) const { ids_.prefetch(hash(left, right)); }
  void insert(uint32_t left, uint32_t right, uint32_t id);

  const Array<Pair>& pairs() const { return pairs_; }
  const IdSlots& ids() const { return ids_; }

 private:
  uint64_t hash(uint32_t left, uint32_t right) const {
    return hash_number(static_cast<uint64_t>(left) << 32 | right, seeds_);
  }

  Array<Pair> pairs_;  // [tokens]
  IdSlots ids_;
  Seeds seeds_;
};

}  // namespace snakelm::text
