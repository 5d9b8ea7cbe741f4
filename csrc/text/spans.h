// Which of some spans of tokens occur in a stream of tokens, by rolling hash.
//
// The hash is Karp and Rabin's (1987): a polynomial over a random number per token, modulo 2^64,
// as snakelm/data/tokens/overlap.py defines it. Nearly every hash of the stream ends at a bitmap
// with one bit in sixteen set; what passes it is looked up in a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace snakelm::text {

class Spans {
 public:
  // `known`: hashes of spans of `length` tokens, each once. `numbers`: one per token id; `base`:
  // the polynomial's, odd.
  Spans(const std::vector<uint64_t>& known, size_t length, std::vector<uint64_t> numbers,
        uint64_t base);

  // Marks the known spans that occur in tokens[0, count), of uint16_t or uint32_t. Throws
  // std::out_of_range for an id without a number.
  template <class Token>
  void look(const Token* tokens, size_t count);

  // Of each known hash, in the constructor's order: whether it occurred.
  const std::vector<uint8_t>& occurred() const { return occurred_; }

 private:
  struct Slot {
    uint64_t hash;
    uint32_t number;  // of the span + 1; 0: free
  };

  void mark(const uint64_t* hashes, size_t count);

  size_t length_;
  std::vector<uint64_t> numbers_;
  uint64_t base_, power_;         // base ^ length
  std::vector<uint64_t> bitmap_;  // a bit for each number that the upper bits of a hash can be
  int bitmap_shift_;
  std::vector<Slot> slots_;  // a power of two, at most half full
  int slot_shift_;
  std::vector<uint8_t> occurred_;
};

}  // namespace snakelm::text
