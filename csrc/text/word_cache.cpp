#include "text/word_cache.h"

#include <algorithm>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace snakelm::text {
namespace {

constexpr size_t FIRST_ENTRIES = 512;            // 16 KB
constexpr size_t FEW_ENTRIES = size_t{1} << 15;  // up to here a table grows in larger steps
constexpr size_t MOST_BYTES = size_t{1} << 31;   // of a table: places have 32 bits
constexpr size_t HUGE_PAGE = size_t{2} << 20;    // of x86-64; elsewhere an alignment as good
constexpr size_t MOST_BUCKETS = 8;               // looked at before a word counts as unknown

size_t power_of_two_up_to(size_t n) {
  size_t power = 4;
  while (power * 2 <= n) power *= 2;
  return power;
}

// Zeroed. Large tables ask for huge pages before the first touch: a lookup is a random access, and
// with small pages most would miss the TLB besides.
void* zeroed(size_t bytes) {
  const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
  void* const memory = std::aligned_alloc(alignment, bytes);
  if (!memory) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes >= HUGE_PAGE) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  std::memset(memory, 0, bytes);
  return memory;
}

}  // namespace

WordCache::WordCache(const CacheLimits& limits)
    : hash_mask_(limits.hash_mask),
      most_entries_(
          power_of_two_up_to(std::min(limits.word_bytes, MOST_BYTES) / sizeof(WordEntry))),
      most_spilled_(limits.word_bytes / 4 / sizeof(uint32_t)) {
  static_assert(2 * sizeof(WordEntry) == BUCKET_BYTES);
  replace_table(std::min(FIRST_ENTRIES, most_entries_));
}

WordCache::Table WordCache::replace_table(size_t entries) {
  Table table(static_cast<WordEntry*>(zeroed(entries * sizeof(WordEntry))));
  std::swap(table, table_);
  bucket_mask_ = entries / 2 - 1;
  shift_ = static_cast<uint32_t>(__builtin_clzll(bucket_mask_));
  return table;
}

const WordEntry* WordCache::find(const WordKey& key) const {
  const size_t first = hash().place(key) / BUCKET_BYTES;
  for (size_t i = 0; i < MOST_BUCKETS; ++i) {
    const WordEntry* const found = at(first + i);
    for (int j = 0; j < 2; ++j) {
      if (found[j].key == key) return found + j;
      if (found[j].key.high == 0) return nullptr;
    }
  }
  return nullptr;
}

// The first empty entry that find would come to; where there is none, one that goes.
WordEntry* WordCache::room_for(const WordKey& key) const {
  const size_t first = hash().place(key) / BUCKET_BYTES;
  for (size_t i = 0; i < MOST_BUCKETS; ++i) {
    WordEntry* const found = at(first + i);
    for (int j = 0; j < 2; ++j) {
      if (found[j].key.high == 0) return found + j;
    }
  }
  return at(first) + 1;
}

void WordCache::insert(const WordKey& key, const uint32_t* ids, uint32_t count) {
  if (count > WordEntry::INLINE_IDS && spilled_.size() + MOST_IDS > most_spilled_) return;
  if (2 * (used_ + 1) > entries() && entries() < most_entries_) grow();

  WordEntry entry{key, {}};
  if (count <= WordEntry::INLINE_IDS) {
    std::memcpy(entry.ids, ids, count * sizeof *ids);
    entry.ids[0] |= (count - 1) << WordEntry::COUNT_SHIFT;
  } else {
    entry.ids[0] = WordEntry::SPILLED | count;
    entry.ids[1] = static_cast<uint32_t>(spilled_.size());
    spilled_.resize(spilled_.size() + MOST_IDS);
    std::memcpy(spilled_.data() + entry.ids[1], ids, count * sizeof *ids);
  }

  WordEntry* const room = room_for(key);
  if (room->key.high == 0) ++used_;
  *room = entry;
}

void WordCache::grow() {
  const size_t before = entries();
  const size_t larger = std::min(before * (before < FEW_ENTRIES ? 4 : 2), most_entries_);
  const Table old = replace_table(larger);
  for (size_t i = 0; i < before; ++i) {
    if (old[i].key.high != 0) *room_for(old[i].key) = old[i];
  }
}

const LongWords::Entry* LongWords::find(View word, uint64_t hash) const {
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

void LongWords::insert(View word, uint64_t hash, const uint32_t* ids, uint32_t count) {
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
  ids_.insert(ids_.end(), ids, ids + count);
  entries_.push_back(entry);
  slots_[i] = static_cast<uint32_t>(entries_.size());
}

size_t LongWords::content() const {
  return slots_.size() * sizeof(uint32_t) + entries_.size() * sizeof(Entry) + words_.size() +
         ids_.size() * sizeof(uint32_t);
}

size_t LongWords::bytes() const {
  return slots_.capacity() * sizeof(uint32_t) + entries_.capacity() * sizeof(Entry) +
         words_.capacity() + ids_.capacity() * sizeof(uint32_t);
}

void LongWords::clear() { *this = LongWords(limits_); }

void LongWords::grow() {
  slots_.assign(std::max(size_t{256}, slots_.size() * 2), 0);
  const size_t mask = slots_.size() - 1;
  for (size_t entry = 0; entry < entries_.size(); ++entry) {
    size_t i = entries_[entry].hash & mask;
    while (slots_[i]) i = (i + 1) & mask;
    slots_[i] = static_cast<uint32_t>(entry + 1);
  }
}

}  // namespace snakelm::text
