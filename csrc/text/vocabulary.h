// Token bytes by id, and id by token bytes.
//
// Here a whole piece is looked up, once a piece that no cache knows; merging looks up pairs of ids
// (merge_table.h). Keys are bounded by the longest token, so a lookup is O(1).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/hash.h"
#include "text/id_slots.h"

namespace snakelm::text {

class Vocabulary {
 public:
  // tokens[id]: the token's bytes; empty where the id is a special token or unused. Throws
  // std::invalid_argument on a repeated token, and on more than MOST_TOKENS.
  explicit Vocabulary(const std::vector<std::string_view>& tokens, const Seeds& seeds = {});

  struct Parts {
    Array<uint8_t> bytes;
    Array<uint32_t> offsets;  // [size + 1]
    IdSlots ids;              // by the hash of their bytes
  };
  // Of the parts of another one with these seeds; offsets ascend to the number of bytes.
  Vocabulary(Parts parts, const Seeds& seeds);

  uint32_t find(const uint8_t* p, size_t length) const;
  uint32_t size() const { return static_cast<uint32_t>(parts_.offsets.size() - 1); }
  const Parts& parts() const { return parts_; }
  std::string_view token(uint32_t id) const {
    return {reinterpret_cast<const char*>(parts_.bytes.data()) + parts_.offsets[id],
            parts_.offsets[id + 1] - parts_.offsets[id]};
  }

 private:
  Parts parts_;
  size_t longest_ = 0;
  Seeds seeds_;
};

}  // namespace snakelm::text
