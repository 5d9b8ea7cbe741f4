// Byte-level BPE training: counts the pieces of a corpus, then merges the most frequent
// neighbouring pair, again and again. Ids 0..255 are the bytes; merge m makes id 256 + m.
//
// Definition (trainer's tests hold a 40-line Python version): the count of a pair is the number of
// its adjacent positions in all pieces, overlaps included ("aaa" holds "aa" twice). The pair with
// the highest count merges, of equals the one with the smaller left id, then the smaller right id;
// its occurrences in a piece merge from left to right. Nothing depends on the order of texts or on
// the number of threads, because only sums of counts enter.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "text/bpe.h"

namespace snakelm::text {

// Distinct pieces and how often each occurs.
class PieceCounts {
 public:
  PieceCounts();
  void add(Bytes p, size_t length, uint64_t count);
  size_t size() const { return entries_.size(); }
  View piece(size_t i) const { return {bytes_.data() + entries_[i].offset, entries_[i].length}; }
  uint64_t count(size_t i) const { return entries_[i].count; }

 private:
  struct Entry {
    uint64_t hash, offset, count;
    uint32_t length;
  };
  void grow();

  std::vector<uint8_t> bytes_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // entry + 1, or 0; power of two, at most half full
};

// Safe to use from several threads: they take turns.
class Trainer {
 public:
  Trainer(Pattern pattern, int threads);
  void add(const std::vector<View>& texts);

  // At most `limit` merges as (left id, right id); fewer where no pair is left.
  std::vector<std::pair<uint32_t, uint32_t>> train(size_t limit);

  uint64_t bytes() const { return locked(bytes_); }
  uint64_t pieces() const { return locked(pieces_); }
  size_t distinct_pieces();

 private:
  void collect();  // moves all threads' counts into counts_[0]
  uint64_t locked(const uint64_t& number) const {
    const std::lock_guard<std::mutex> guard(lock_);
    return number;
  }

  mutable std::mutex lock_;
  Pattern pattern_;
  std::vector<PieceCounts> counts_;  // one per thread
  uint64_t bytes_ = 0, pieces_ = 0;
};

}  // namespace snakelm::text
