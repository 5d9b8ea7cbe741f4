// Token bytes by id, and id by token bytes.
//
// Decision: a merge looks up the bytes of the two parts together, as tiktoken does, instead of a
// table of id pairs: the table is a tenth of the size, is built in one pass at load, and ranks
// alone define the encoding (a token that can be spelled by several pairs needs no special case).
// Keys are bounded by the longest token, so a lookup is O(1).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/merge_table.h"

namespace snakelm::text {

class Vocabulary {
 public:
  // tokens[id]: the token's bytes; empty where the id is a special token or unused. Throws
  // std::invalid_argument on a repeated token or a missing byte.
  explicit Vocabulary(const std::vector<std::string_view>& tokens);

  uint32_t find(const uint8_t* p, size_t length) const;
  uint32_t size() const { return static_cast<uint32_t>(offsets_.size() - 1); }
  std::string_view token(uint32_t id) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + offsets_[id],
            offsets_[id + 1] - offsets_[id]};
  }

 private:
  struct Slot {
    uint32_t
        check;  // upper half of the hash: most misses end here without touching the token's bytes
    uint32_t id;
  };

  std::vector<uint8_t> bytes_;
  std::vector<uint32_t> offsets_;  // [size + 1]
  std::vector<Slot> slots_;        // power of two, at most half full
  uint64_t mask_ = 0;
  size_t longest_ = 0;
};

}  // namespace snakelm::text
