#include "text/piece_counts.h"

#include <algorithm>
#include <stdexcept>

namespace snakelm::text {

PieceCounts::PieceCounts()
    : slots_(size_t{1} << 12), mask_(slots_.size() - 1), long_slots_(size_t{1} << 8, 0) {}

void PieceCounts::flush() {
  for (size_t i = 0; i < queued_; ++i) add_key(queue_[i].key, queue_[i].hash, 1);
  queued_ = 0;
}

void PieceCounts::add(Bytes p, size_t length, uint64_t count) {
  if (length == 0 || count == 0) return;
  if (length > LONGEST_KEY) return add_long(p, length, count);
  const Key key = key_of(p, length, p + length);
  add_key(key, hash_of(key), count);
}

void PieceCounts::add(const PieceCounts& other) {
  other.each([&](View piece, uint64_t count) { add(piece.data, piece.length, count); });
}

uint64_t PieceCounts::memory() const {
  return slots_.size() * sizeof(Slot) + long_slots_.size() * sizeof(uint32_t) +
         entries_.capacity() * sizeof(Entry) + bytes_.capacity();
}

void PieceCounts::add_key(const Key& key, uint64_t hash, uint64_t count) {
  size_t i = hash & mask_;
  for (; slots_[i].count != 0; i = (i + 1) & mask_) {
    if (slots_[i].key == key) {
      slots_[i].count += count;
      return;
    }
  }

  slots_[i] = {key, count};
  text_bytes_ += key.high >> 56;
  if (3 * ++used_ > 2 * slots_.size()) grow();
}

void PieceCounts::grow() {
  std::vector<Slot> old(2 * slots_.size());
  old.swap(slots_);
  mask_ = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.count == 0) continue;
    size_t i = hash_of(slot.key) & mask_;
    while (slots_[i].count != 0) i = (i + 1) & mask_;
    slots_[i] = slot;
  }
}

void PieceCounts::add_long(Bytes p, size_t length, uint64_t count) {
  const uint64_t hash = hash_bytes(p, length);
  const size_t mask = long_slots_.size() - 1;
  size_t i = hash & mask;
  for (; long_slots_[i] != 0; i = (i + 1) & mask) {
    Entry& entry = entries_[long_slots_[i] - 1];
    if (entry.hash == hash && entry.length == length &&
        std::equal(p, p + length, bytes_.data() + entry.offset)) {
      entry.count += count;
      return;
    }
  }

  if (entries_.size() >= 0xFFFFFFFE) throw std::length_error("more than 4e9 long words");
  entries_.push_back({hash, bytes_.size(), length, count});
  bytes_.insert(bytes_.end(), p, p + length);
  long_slots_[i] = static_cast<uint32_t>(entries_.size());
  text_bytes_ += length;
  if (2 * entries_.size() > long_slots_.size()) grow_long();
}

void PieceCounts::grow_long() {
  long_slots_.assign(long_slots_.size() * 2, 0);
  const size_t mask = long_slots_.size() - 1;
  for (size_t entry = 0; entry < entries_.size(); ++entry) {
    size_t i = entries_[entry].hash & mask;
    while (long_slots_[i] != 0) i = (i + 1) & mask;
    long_slots_[i] = static_cast<uint32_t>(entry + 1);
  }
}

}  // namespace snakelm::text
