// The ids of words met before: what most of a text is made of.
//
// WordCache has the words of up to 15 bytes, LongWords longer ones. Both belong to one
// thread, so there is no lock; they begin with a few kilobytes and grow with the text, so a short
// text pays nothing for them; and they are bounded in bytes. Nothing but speed depends on what they
// hold. Hashes are seeded (hash.h), so nobody can choose words that collide.
//
// Decision: an entry is 32 bytes, word and ids together, and a bucket is the two entries of one
// cache line: a lookup touches one line, asked for some words ahead. Ids have the width that the
// caller wants (16 bits or 32), so they are copied as they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "common/texts.h"
#include "text/hash.h"
#include "text/ids.h"
#include "text/word_keys.h"

namespace snakelm::text {

template <class Id>
struct WordEntry {
  static constexpr size_t INLINE_IDS = 16 / sizeof(Id) - 1;

  WordKey key;  // of length 0 where the entry is empty
  // More than INLINE_IDS lie elsewhere; ids then has the place, in 32 bits.
  Id ids[INLINE_IDS];
  Id count;

  bool spilled() const { return count > INLINE_IDS; }
  uint32_t place() const {
    uint32_t place;
    std::memcpy(&place, ids, sizeof place);
    return place;
  }
};

struct CacheLimits {
  size_t word_bytes = size_t{64} << 20;  // of WordCache's table, and a quarter of it besides
  size_t long_bytes = size_t{32} << 20;  // of LongWords
  uint64_t hash_mask = ~uint64_t{0};     // of every hash: for tests that want collisions
};

template <class Id>
class WordCache {
 public:
  using Entry = WordEntry<Id>;

  // A word has no more ids than bytes; writing all of MOST_IDS costs less than a loop.
  static constexpr size_t MOST_IDS = 16;

  explicit WordCache(const CacheLimits& limits);

  // Which places words have; valid until the next insert.
  WordHash hash() const { return {SECRET_0 | 1, SECRET_1, shift_, bucket_mask_ & hash_mask_}; }
  // The bucket of two entries at a place; valid until the next insert.
  const Entry* bucket(uint32_t place) const {
    return reinterpret_cast<const Entry*>(reinterpret_cast<const char*>(table_.get()) + place);
  }

  // The word's entry wherever it is, or nullptr; valid until the next insert.
  const Entry* find(const WordKey& key) const;

  // Writes the entry's ids and up to MOST_IDS in all; returns behind the last one that counts.
  Id* write(const Entry& entry, Id* out) const {
    if (entry.spilled()) [[unlikely]]
      std::memcpy(out, spilled_.data() + entry.place(), MOST_IDS * sizeof *out);
    else
      std::memcpy(out, reinterpret_cast<const char*>(&entry) + sizeof entry.key,
                  sizeof entry - sizeof entry.key);
    return out + entry.count;
  }

  // Remembers the ids of a word that isn't there.
  void insert(const WordKey& key, const uint32_t* ids, uint32_t count);

  size_t entries() const { return 2 * (bucket_mask_ + 1); }  // that there is room for
  size_t bytes() const { return entries() * sizeof(Entry) + spilled_.capacity() * sizeof(Id); }

 private:
  struct Free {
    void operator()(Entry* p) const { std::free(p); }
  };
  using Table = std::unique_ptr<Entry[], Free>;

  Table replace_table(size_t entries);  // by an empty one; gives the old one
  Entry* at(size_t bucket) const { return table_.get() + 2 * (bucket & bucket_mask_); }
  Entry* room_for(const WordKey& key) const;
  void grow();

  Table table_;
  uint64_t bucket_mask_, hash_mask_;
  uint32_t shift_;
  size_t used_ = 0;
  size_t most_entries_, most_spilled_;
  std::vector<Id> spilled_;  // MOST_IDS each
};

template <class Id>
class LongWords {
 public:
  struct Entry {
    uint64_t hash;
    uint32_t word, length;  // in words_
    uint32_t ids, count;    // in ids_
  };
  static constexpr size_t LONGEST = 256;  // longer ones hardly ever come again

  explicit LongWords(const CacheLimits& limits) : limits_(limits) {}

  uint64_t hash(View word) const { return hash_bytes(word.data, word.length) & limits_.hash_mask; }
  // The ids of a word, or nullptr; valid until the next insert.
  const Entry* find(View word, uint64_t hash) const;
  const Id* ids(const Entry& entry) const { return ids_.data() + entry.ids; }
  // Remembers a word that isn't there. At the bound everything is forgotten first.
  void insert(View word, uint64_t hash, const uint32_t* ids, uint32_t count);

  size_t bytes() const;  // allocated

 private:
  size_t content() const;
  void clear();
  void grow();

  CacheLimits limits_;
  std::vector<uint32_t> slots_;  // entry + 1, or 0
  std::vector<Entry> entries_;
  std::vector<uint8_t> words_;
  std::vector<Id> ids_;
};

extern template class WordCache<uint16_t>;
extern template class WordCache<uint32_t>;
extern template class LongWords<uint16_t>;
extern template class LongWords<uint32_t>;

}  // namespace snakelm::text
