// Byte-level BPE training: counts the pieces of a corpus, then merges the most frequent
// neighbouring pair, again and again. Ids 0..255 are the bytes; merge m makes id 256 + m.
//
// Definition (trainer's tests hold a 40-line Python version): the count of a pair is the number of
// its adjacent positions in all pieces, overlaps included ("aaa" holds "aa" twice). The pair with
// the highest count merges, of equals the one with the smaller left id, then the smaller right id;
// its occurrences in a piece merge from left to right. Nothing depends on the order of texts or on
// the number of threads, because only sums of counts enter.
//
// Memory grows with the distinct pieces. Where training over them would take more than was allowed,
// it refuses: leaving rare pieces out would change the merges.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "text/bpe.h"
#include "text/piece_counts.h"
#include "text/word_corpus.h"

namespace snakelm::text {

using Merges = std::vector<std::pair<uint32_t, uint32_t>>;  // (left id, right id)

// Safe to use from several threads: they take turns.
class Trainer {
 public:
  // most_memory: bytes.
  Trainer(Pattern pattern, int threads, uint64_t most_memory);

  // std::length_error where the distinct pieces of all texts until now need more memory than
  // allowed.
  void add(const std::vector<View>& texts);
  // A piece that occurs `count` times more.
  void add_piece(View piece, uint64_t count);

  // At most `limit` merges; fewer where no pair is left.
  Merges train(size_t limit);

  // Merges beyond those of `base`, whose pattern is `whole`: pieces begin as its tokens, and merge
  // m makes id first + m. A pair that spells a token, or part of one that merging in `base` never
  // reaches, is passed over: otherwise an old token could appear where none was.
  Merges extend(const Encoder& base, uint32_t first, size_t limit);

  uint64_t bytes() const { return locked(bytes_); }
  uint64_t pieces() const { return locked(pieces_); }
  uint64_t distinct_pieces();

 private:
  uint64_t count_pieces(View text, PieceCounts& counts) const;
  void collect();  // moves all threads' counts into counts_[0]
  uint64_t memory() const;
  void check_memory();
  uint64_t locked(const uint64_t& number) const {
    const std::lock_guard<std::mutex> guard(lock_);
    return number;
  }

  mutable std::mutex lock_;
  PieceFinder finder_;
  std::vector<PieceCounts> counts_;  // one per thread
  uint64_t most_memory_, bytes_ = 0, pieces_ = 0;
};

}  // namespace snakelm::text
