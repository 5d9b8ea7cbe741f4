// Slots of a hash table of token ids, whose keys lie elsewhere.
//
// A slot is 32 bits: an id, and 8 bits of its key's hash that tell most other keys apart without
// reading them. The table of a vocabulary is half a megabyte then, and stays in the second-level
// cache; with its keys beside the ids it waits for the third.
#pragma once

#include <cstddef>
#include <cstdint>

#include "text/array.h"

namespace snakelm::text {

constexpr uint32_t NO_TOKEN = 0xFFFFFFFF;
constexpr size_t MOST_TOKENS = size_t{1} << 24;  // of a vocabulary: what a slot has room for

class IdSlots {
 public:
  IdSlots() = default;
  // For up to `ids`.
  explicit IdSlots(size_t ids) : slots_(std::vector<uint32_t>(size_for(ids), EMPTY)) {}
  // Those of another table: a power of two, some of them empty.
  explicit IdSlots(Array<uint32_t> slots) : slots_(std::move(slots)) {}

  // The id whose key has this hash and of which is_it(id) is true; NO_TOKEN where there is none.
  template <class IsIt>
  uint32_t find(uint64_t hash, const IsIt& is_it) const {
    const uint32_t tag = tag_of(hash);
    for (uint64_t i = hash & mask();; i = (i + 1) & mask()) {
      const uint32_t slot = slots_[i];
      if (slot == EMPTY) return NO_TOKEN;
      if ((slot & TAG) == tag && is_it(slot >> TAG_BITS)) return slot >> TAG_BITS;
    }
  }
  // Asks for what find will read first.
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & mask()]); }

  // Adds an id whose key isn't there.
  void insert(uint64_t hash, uint32_t id) {
    uint64_t i = hash & mask();
    while (slots_[i] != EMPTY) i = (i + 1) & mask();
    slots_.own(i) = id << TAG_BITS | tag_of(hash);
  }

  // Whether every id is below `ids` and every search ends soon.
  bool is_sound(size_t ids) const {
    size_t empty = 0;
    bool known = true;
    for (const uint32_t slot : slots_) {
      empty += slot == EMPTY;
      known &= slot == EMPTY || slot >> TAG_BITS < ids;
    }
    return known && empty >= slots_.size() / 2;
  }

  const Array<uint32_t>& slots() const { return slots_; }

 private:
  static constexpr uint32_t EMPTY = 0, TAG_BITS = 8, TAG = 0xFF;

  static size_t size_for(size_t ids) {
    size_t size = 1024;
    while (size < 2 * ids) size *= 2;
    return size;
  }
  // Never 0, so that no id is an empty slot.
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 56) | 1; }
  uint64_t mask() const { return slots_.size() - 1; }

  Array<uint32_t> slots_;  // a power of two, at most half full
};

}  // namespace snakelm::text
