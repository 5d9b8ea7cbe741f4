// The distinct pieces of a corpus as sequences of tokens, in which training merges pairs.
//
// All pieces lie end to end, a slot for each byte, with END between them. A token has its id in the
// slot of its first byte and in that of its last, so both neighbours are found without links.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "text/pair_table.h"
#include "text/piece_counts.h"

namespace snakelm::text {

// Appends the ids that a piece begins training with.
using Start = std::function<void(View piece, std::vector<uint32_t>& ids)>;

class WordCorpus {
 public:
  // lengths[id]: bytes of every id that `start` gives.
  WordCorpus(const PieceCounts& counts, const Start& start, std::vector<uint32_t> lengths);

  // Counts the pairs there are; before the first merge.
  void count_pairs(PairTable& pairs);

  // Replaces every occurrence of pairs[merged] by the id `made`, the next one, and updates its
  // neighbours' counts; the new pairs are those added at the end of `pairs`.
  void merge(uint32_t merged, uint32_t made, PairTable& pairs);

  // Memory of training over pieces of that many bytes, separators included; pairs are far fewer.
  static uint64_t memory(uint64_t slots) {
    return slots * (sizeof(Slot) + 3 * sizeof(uint32_t));  // each slot, and its positions
  }

 private:
  static constexpr uint32_t END = 0xFFFFFFFF;   // between pieces
  static constexpr uint32_t DEAD = 0xFFFFFFFE;  // inside a merged token
  static constexpr uint32_t LARGE = 0xFFFFFFFF;

  struct Slot {
    uint32_t token;
    uint32_t weight;  // occurrences of its piece; LARGE: as large_ says
  };
  // New pairs of one merge by their other half: how often, and where.
  struct Neighbours {
    struct Sum {
      uint64_t count = 0;
      uint64_t next = 0;  // where its next position goes
      uint32_t positions = 0;
    };
    void add(uint32_t token, uint64_t weight, uint32_t at);

    std::vector<Sum> sums;                                // [ids]
    std::vector<uint32_t> touched;                        // ids with a sum
    std::vector<std::pair<uint32_t, uint32_t>> position;  // (id, position) as they came
  };

  void append(View piece, uint64_t count, const Start& start);
  uint64_t weight(uint32_t at) const {
    const uint32_t small = slots_[at].weight;
    return small != LARGE ? small : large_weight(at);
  }
  uint64_t large_weight(uint32_t at) const;
  void replace(uint32_t left, uint32_t right, uint32_t made, const Pair& pair);
  template <class KeyOf>
  void record(Neighbours& neighbours, PairTable& pairs, KeyOf key_of);

  std::vector<Slot> slots_;
  std::vector<std::pair<uint32_t, uint64_t>> large_;  // (first slot, weight) of frequent pieces
  std::vector<uint32_t> lengths_;                     // [ids] bytes
  std::vector<uint32_t> positions_;                   // of all pairs
  std::vector<uint32_t> ids_;                         // of one piece
  Neighbours before_, after_;
  uint64_t cancelled_ = 0;
};

}  // namespace snakelm::text
