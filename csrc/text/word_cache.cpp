#include "text/word_cache.h"

#include <algorithm>
#include <new>

#include "common/huge_pages.h"

namespace snakelm::text {
namespace {

constexpr size_t FIRST_ENTRIES = 512;            // 16 KB
constexpr size_t FEW_ENTRIES = size_t{1} << 19;  // 16 MB: up to here a table grows in larger steps
constexpr size_t MOST_BYTES = size_t{1} << 31;   // of a table: places have 32 bits
constexpr size_t MOST_BUCKETS = 8;               // looked at before a word counts as unknown

size_t power_of_two_up_to(size_t n) {
  size_t power = 4;
  while (power * 2 <= n) power *= 2;
  return power;
}

// Zeroed.
void* zeroed(size_t bytes) {
  const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
  void* const memory = std::aligned_alloc(alignment, bytes);
  if (!memory) throw std::bad_alloc();
  ask_for_huge_pages(memory, bytes);
  std::memset(memory, 0, bytes);
  return memory;
}

}  // namespace

template <class Id>
WordCache<Id>::WordCache(const CacheLimits& limits)
    : hash_mask_(limits.hash_mask),
      most_entries_(power_of_two_up_to(std::min(limits.word_bytes, MOST_BYTES) / sizeof(Entry))),
      most_spilled_(limits.word_bytes / 4 / sizeof(Id)) {
  static_assert(2 * sizeof(Entry) == BUCKET_BYTES);
  replace_table(std::min(FIRST_ENTRIES, most_entries_));
}

template <class Id>
typename WordCache<Id>::Table WordCache<Id>::replace_table(size_t entries) {
  Table table(static_cast<Entry*>(zeroed(entries * sizeof(Entry))));
  std::swap(table, table_);
  bucket_mask_ = entries / 2 - 1;
  shift_ = static_cast<uint32_t>(__builtin_clzll(bucket_mask_));
  return table;
}

template <class Id>
const WordEntry<Id>* WordCache<Id>::find(const WordKey& key) const {
  const size_t first = hash().place(key) / BUCKET_BYTES;
  for (size_t i = 0; i < MOST_BUCKETS; ++i) {
    const Entry* const found = at(first + i);
    for (int j = 0; j < 2; ++j) {
      if (found[j].key == key) return found + j;
      if (found[j].key.high == 0) return nullptr;
    }
  }
  return nullptr;
}

// The first empty entry that find would come to; where there is none, one that goes.
template <class Id>
WordEntry<Id>* WordCache<Id>::room_for(const WordKey& key) const {
  const size_t first = hash().place(key) / BUCKET_BYTES;
  for (size_t i = 0; i < MOST_BUCKETS; ++i) {
    Entry* const found = at(first + i);
    for (int j = 0; j < 2; ++j) {
      if (found[j].key.high == 0) return found + j;
    }
  }
  return at(first) + 1;
}

template <class Id>
void WordCache<Id>::insert(const WordKey& key, const uint32_t* ids, uint32_t count) {
  if (count > Entry::INLINE_IDS && spilled_.size() + MOST_IDS > most_spilled_) return;
  if (2 * (used_ + 1) > entries() && entries() < most_entries_) grow();

  Entry entry{key, {}, static_cast<Id>(count)};
  if (count <= Entry::INLINE_IDS) {
    copy_ids(ids, count, entry.ids);
  } else {
    const auto place = static_cast<uint32_t>(spilled_.size());
    std::memcpy(entry.ids, &place, sizeof place);
    spilled_.resize(spilled_.size() + MOST_IDS);
    copy_ids(ids, count, spilled_.data() + place);
  }

  Entry* const room = room_for(key);
  if (room->key.high == 0) ++used_;
  *room = entry;
}

template <class Id>
void WordCache<Id>::grow() {
  const size_t before = entries();
  const size_t larger = std::min(before * (before < FEW_ENTRIES ? 4 : 2), most_entries_);
  const Table old = replace_table(larger);
  for (size_t i = 0; i < before; ++i) {
    if (old[i].key.high != 0) *room_for(old[i].key) = old[i];
  }
}

template <class Id>
const typename LongWords<Id>::Entry* LongWords<Id>::find(View word, uint64_t hash) const {
  if (slots_.empty()) return nullptr;
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask, seen = 0; slots_[i] && seen < MOST_BUCKETS;
       i = (i + 1) & mask, ++seen) {
    const Entry& entry = entries_[slots_[i] - 1];
    if (entry.hash == hash && entry.length == word.length &&
        std::memcmp(words_.data() + entry.word, word.data, word.length) == 0)
      return &entry;
  }
  return nullptr;
}

template <class Id>
void LongWords<Id>::insert(View word, uint64_t hash, const uint32_t* ids, uint32_t count) {
  // Vectors may have room for as much again as they hold.
  const size_t more = word.length + count * sizeof *ids + sizeof(Entry);
  if (2 * (content() + more) > limits_.long_bytes) clear();
  if (2 * (entries_.size() + 1) > slots_.size()) grow();

  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask, seen = 0;
  for (; slots_[i] && seen < MOST_BUCKETS; i = (i + 1) & mask) ++seen;
  if (seen == MOST_BUCKETS) return;  // find wouldn't look there

  // The entry last: if memory runs out before, nothing refers to what isn't there.
  const Entry entry{hash, static_cast<uint32_t>(words_.size()), static_cast<uint32_t>(word.length),
                    static_cast<uint32_t>(ids_.size()), count};
  words_.insert(words_.end(), word.data, word.data + word.length);
  ids_.resize(ids_.size() + count);
  copy_ids(ids, count, ids_.data() + entry.ids);
  entries_.push_back(entry);
  slots_[i] = static_cast<uint32_t>(entries_.size());
}

template <class Id>
size_t LongWords<Id>::content() const {
  return slots_.size() * sizeof(uint32_t) + entries_.size() * sizeof(Entry) + words_.size() +
         ids_.size() * sizeof(Id);
}

template <class Id>
size_t LongWords<Id>::bytes() const {
  return slots_.capacity() * sizeof(uint32_t) + entries_.capacity() * sizeof(Entry) +
         words_.capacity() + ids_.capacity() * sizeof(Id);
}

template <class Id>
void LongWords<Id>::clear() {
  *this = LongWords(limits_);
}

template <class Id>
void LongWords<Id>::grow() {
  slots_.assign(std::max(size_t{256}, slots_.size() * 2), 0);
  const size_t mask = slots_.size() - 1;
  for (size_t entry = 0; entry < entries_.size(); ++entry) {
    size_t i = entries_[entry].hash & mask;
    while (slots_[i]) i = (i + 1) & mask;
    slots_[i] = static_cast<uint32_t>(entry + 1);
  }
}

template class WordCache<uint16_t>;
template class WordCache<uint32_t>;
template class LongWords<uint16_t>;
template class LongWords<uint32_t>;

}  // namespace snakelm::text
