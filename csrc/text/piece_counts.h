// Distinct pieces of text and how often each occurs, in 64 bits.
//
// Decision: nearly all pieces are shorter than 16 bytes, so those are their own key: two words with
// the length in the last byte, compared and hashed in a few instructions, beside their count in one
// table. Longer ones are kept in an arena, in a table of their own. Additions wait in a short queue
// while the slot of each is fetched, since a rare word's slot is in no cache.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "common/texts.h"
#include "text/hash.h"

namespace snakelm::text {

static_assert(std::endian::native == std::endian::little, "keys are loaded byte by byte");

class PieceCounts {
 public:
  PieceCounts();

  // One more of the piece [p, p + length); nothing at `end` or beyond is read.
  void add(Bytes p, size_t length, Bytes end) {
    if (length > LONGEST_KEY) return add_long(p, length, 1);
    Waiting& next = queue_[queued_++];
    next.key = key_of(p, length, end);
    next.hash = hash_of(next.key);
    __builtin_prefetch(&slots_[next.hash & mask_], 1);
    if (queued_ == queue_.size()) flush();
  }
  void add(Bytes p, size_t length, uint64_t count);
  void add(const PieceCounts& other);
  void flush();  // before anything below is called

  uint64_t size() const { return used_ + entries_.size(); }
  uint64_t text_bytes() const { return text_bytes_; }  // of the distinct pieces
  uint64_t memory() const;                             // bytes of the tables

  // Calls visit(View, count) once for each piece, in no particular order.
  template <class Visit>
  void each(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.count == 0) continue;
      uint8_t bytes[16];
      std::memcpy(bytes, &slot.key, sizeof bytes);
      visit(View{bytes, bytes[LONGEST_KEY]}, slot.count);
    }
    for (const Entry& entry : entries_)
      visit(View{bytes_.data() + entry.offset, entry.length}, entry.count);
  }

 private:
  static constexpr size_t LONGEST_KEY = 15;
  struct Key {
    uint64_t low, high;  // bytes 0..7; bytes 8..14 and the length
    bool operator==(const Key&) const = default;
  };
  struct Slot {
    Key key;
    uint64_t count;  // 0: free
  };
  struct Waiting {
    Key key;
    uint64_t hash;
  };
  struct Entry {
    uint64_t hash, offset, length, count;
  };

  static Key key_of(Bytes p, size_t length, Bytes end) {
    Key key{0, 0};
    if (end - p >= 16) {
      // Both masks are of 0..8 bytes; a shift by 64 is none.
      const size_t low = length < 8 ? length : 8, high = length - low;
      key.low = load(p, 8) & ~uint64_t{0} >> (64 - 8 * low);
      key.high = load(p + 8, 8) & ((uint64_t{1} << (8 * high)) - 1);
    } else {
      std::memcpy(&key, p, length);
    }
    key.high |= static_cast<uint64_t>(length) << 56;
    return key;
  }
  static uint64_t hash_of(const Key& key) { return mix(key.low ^ SECRET_0, key.high ^ SECRET_1); }

  void add_key(const Key& key, uint64_t hash, uint64_t count);
  void add_long(Bytes p, size_t length, uint64_t count);
  void grow();
  void grow_long();

  std::vector<Slot> slots_;  // a power of two, at most two thirds full
  uint64_t mask_ = 0, used_ = 0, text_bytes_ = 0;
  std::array<Waiting, 16> queue_;
  size_t queued_ = 0;

  std::vector<uint8_t> bytes_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> long_slots_;  // entry + 1, or 0; a power of two, at most half full
};

}  // namespace snakelm::text
